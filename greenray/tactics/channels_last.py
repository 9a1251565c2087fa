"""What convolutions read and give in channels-last order, which matrix units and many of their kernels prefer."""

from typing import TYPE_CHECKING, Any

from greenray.errors import NotApplied
from greenray.tactics.base import Context, Params, Tactic
from greenray.tactics.layers import observe

if TYPE_CHECKING:
    from torch import nn


class ChannelsLast(Tactic[Params]):
    """Every four-dimensional weight in NHWC order; a convolution with such a weight gives its result in that order too."""

    name = "channels-last"
    summary = "Stores convolution weights in channels-last order, so that convolutions work in it."
    needs = "convolutions"
    source = "https://docs.pytorch.org/tutorials/intermediate/memory_format_tutorial.html"

    def check(self, context: Context) -> None:
        context.require_torchs_kernels(self.name, what="the order of tensors")

    def apply(self, model: "nn.Module", context: Context) -> "nn.Module":
        import torch
        from torch import nn

        convolutions = {name: layer for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)}
        self._evidence: dict[str, Any] = {"convolutions": len(convolutions), "convolutions_channels_last": 0}
        if not convolutions:
            raise NotApplied("the model has no two-dimensional convolution", evidence=self._evidence)
        before = observe(model, convolutions, context.example)
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        after = observe(model, convolutions, context.example)
        self._changed = frozenset(name for name, call in after.items() if call.channels_last and not before[name].channels_last)
        self._evidence["convolutions_channels_last"] = sum(call.channels_last for call in after.values())
        if not self._changed:
            raise NotApplied("no convolution gives its result in another order than before", evidence=self._evidence)
        return model

    def end_training(self, model: "nn.Module") -> None:
        import torch

        model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]

    def evidence(self, model: "nn.Module") -> dict[str, Any]:
        return self._evidence

    def touched(self) -> frozenset[str]:
        return self._changed

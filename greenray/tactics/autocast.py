"""Mixed precision: weights stay float32, each operation runs in the lower type where torch holds that to be safe."""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, cast

from greenray.errors import NotApplied, Unsupported
from greenray.tactics.base import Context, Params, Tactic
from greenray.tactics.layers import observe, products

if TYPE_CHECKING:
    from torch import Tensor, nn

    from greenray.tasks.training_step import TrainingStep

_DTYPES = {"bf16": "bfloat16", "fp16": "float16"}


class AutocastParams(Params):
    """`dtype`: what matrix products run in; in training `fp16` scales the loss, so that small gradients do not vanish."""

    dtype: Literal["bf16", "fp16"] = "bf16"


class Autocast(Tactic[AutocastParams]):
    """`torch.autocast` around every forward pass, and around the loss in training."""

    name = "autocast"
    summary = "Runs matrix products in bf16 or fp16 and keeps float32 weights (torch.autocast, mixed precision)."
    needs = "fast where the processor has units for the type; each pass casts the weights anew"
    source = "https://arxiv.org/abs/1710.03740"
    Params = AutocastParams

    def check(self, context: Context) -> None:
        for cast_ in ("bf16", "fp16"):
            if cast_ in context.later:
                raise Unsupported(f"autocast has nothing to do in a model that {cast_} casts as a whole: use one of them")
        if "dynamic-quantization" in context.later:
            raise Unsupported("dynamic-quantization's kernels take float32 only: leave out the autocast before it")
        if "tf32" in context.later:
            raise Unsupported("tf32 rounds products of float32 tensors, and autocast leaves none: use one of the two")
        if context.precision in _DTYPES:
            raise Unsupported(
                f"the experiment trains under autocast already (precision: {context.precision}): compare autocast in one of fp32"
            )

    def apply(self, model: "nn.Module", context: Context) -> "nn.Module":
        import torch

        self._device, name = context.device, _DTYPES[self.params.dtype]
        self._dtype: torch.dtype = getattr(torch, name)
        layers = products(model)
        low = {key for key, layer in layers.items() if cast("Tensor", layer.weight).dtype == self._dtype}
        forward = model.forward

        @functools.wraps(forward)
        def in_lower_precision(*args: Any, **kwargs: Any) -> Any:
            with torch.autocast(self._device, dtype=self._dtype):
                return forward(*args, **kwargs)

        model.forward = in_lower_precision  # in place: `compile` finds it, and so does every caller
        calls = observe(model, layers, context.example)
        self._ran = ran = frozenset(key for key, call in calls.items() if call.dtype == name and key not in low)
        self._evidence = {"modules_in_lower_precision": len(ran), "modules_eligible": len(layers), "dtype": name}
        if not ran:
            raise NotApplied(f"no layer ran in {name} under autocast that did not without", evidence=self._evidence)
        return model

    def prepare_training(self, step: "TrainingStep") -> None:
        step.autocast(self._dtype, device=self._device)  # the loss too
        if self.params.dtype == "fp16":
            step.scale_loss(device=self._device)

    @contextmanager
    def evaluating(self, model: "nn.Module") -> Iterator[None]:
        lowered = model.__dict__.pop("forward")
        try:
            yield
        finally:
            model.forward = lowered

    def end_training(self, model: "nn.Module") -> None:
        del model.forward  # the class's own is found again: what was trained is evaluated as the baseline is

    def evidence(self, model: "nn.Module") -> dict[str, Any]:
        return self._evidence

    def touched(self) -> frozenset[str]:
        return self._ran  # the products of attention, which follow them, are not told by module

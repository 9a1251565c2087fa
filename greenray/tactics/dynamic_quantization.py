"""int8 in linear layers with torch.ao: weights quantised once, activations batch by batch.

torch.ao is deprecated in favour of torchao but ships with torch up to at least 2.13; its kernels (FBGEMM, oneDNN, QNNPACK)
are CPU code.
"""

import importlib.util
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from greenray.errors import NotApplied, Unsupported
from greenray.tactics.base import Context, Params, Tactic
from greenray.tactics.layers import linear_layers

if TYPE_CHECKING:
    from torch import nn


class DynamicQuantization(Tactic[Params]):
    """`torch.ao.quantization.quantize_dynamic` of every `nn.Linear` to qint8."""

    name = "dynamic-quantization"
    summary = "Replaces linear layers by int8 ones that quantise their activations as they come (torch.ao, CPU kernels)."
    devices = ("cpu",)
    needs = "a quantised engine in torch (fbgemm, onednn, qnnpack or x86)"
    source = "https://docs.pytorch.org/docs/stable/generated/torch.ao.quantization.quantize_dynamic.html"

    def check(self, context: Context) -> None:
        import torch

        if context.device != "cpu":
            raise Unsupported(
                "dynamic-quantization has CPU kernels only: measure it in an experiment with `devices: [cpu]`, "
                "or use int8-dynamic+compile (torchao), which runs on CUDA"
            )
        if context.training:
            raise Unsupported("dynamic-quantization has no gradients; use it in an inference experiment")
        context.require_nothing_for_plain_weights(self.name)
        if lower := next((name for name in context.later if name in ("autocast", "bf16", "fp16")), None):
            raise Unsupported(f"dynamic-quantization's kernels take float32 only: leave out the {lower} behind it")
        if importlib.util.find_spec("torch.ao.quantization") is None:
            raise Unsupported(f"torch {torch.__version__} no longer has torch.ao.quantization; use int8-dynamic (torchao)")
        if not _engines():
            raise Unsupported("this build of torch has no quantised engine; use int8-dynamic (torchao)")

    def apply(self, model: "nn.Module", context: Context) -> "nn.Module":
        import torch

        linear = linear_layers(model, tactic=self.name)
        if any(module.weight.dtype != torch.float32 for module in linear.values()):
            raise Unsupported("dynamic-quantization converts float32 layers only; leave out the cast before it")
        if torch.backends.quantized.engine not in _engines():
            torch.backends.quantized.engine = _engines()[0]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.simplefilter("ignore", UserWarning)
            quantize: Callable[..., nn.Module] = torch.ao.quantization.quantize_dynamic
            model = quantize(model, {torch.nn.Linear}, dtype=torch.qint8, inplace=True)
        self._eligible = len(linear)
        self._engine = str(torch.backends.quantized.engine)
        if not self.evidence(model)["modules_converted"]:
            raise NotApplied("the model has no linear layer to quantise", evidence=self.evidence(model))
        return model

    def evidence(self, model: "nn.Module") -> dict[str, Any]:
        from torch.ao.nn.quantized.dynamic import Linear

        found = {name: module for name, module in model.named_modules() if isinstance(module, Linear)}
        layers, self._converted = found.values(), frozenset(found)
        return {
            "modules_converted": len(layers),
            "modules_eligible": self._eligible,
            "weights_converted": sum(layer.in_features * layer.out_features for layer in layers),
            "engine": self._engine,
            "kernels_device": "cpu",
        }

    def touched(self) -> frozenset[str]:
        return self._converted


def _engines() -> list[str]:
    import torch

    return [engine for engine in torch.backends.quantized.supported_engines if engine != "none"]

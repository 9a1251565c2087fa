"""int8 in linear layers: weights quantised once, activations batch by batch, with torch.ao and with torchao.

torch.ao is deprecated in favour of torchao but ships with torch up to at least 2.13; its kernels (FBGEMM, oneDNN, QNNPACK)
are CPU code.
"""

import contextlib
import functools
import importlib.util
import warnings
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from greenray.errors import NotApplied, Unsupported
from greenray.tactics.base import Context, Params, Tactic
from greenray.tactics.prune import masked_layers

if TYPE_CHECKING:
    from torch import nn

# What torch._int_mm asks for on CUDA. With other shapes torchao goes to the CPU and back, or computes in float32, without a word.
_CUDA_MULTIPLE = 8
_CUDA_ROWS_ABOVE = 16


class DynamicQuantization(Tactic[Params]):
    """`torch.ao.quantization.quantize_dynamic` of every `nn.Linear` to qint8."""

    name = "dynamic-quantization"
    summary = "Replaces linear layers by int8 ones that quantise their activations as they come (torch.ao, CPU kernels)."
    devices = ("cpu",)
    needs = "a quantised engine in torch (fbgemm, onednn, qnnpack or x86)"

    def check(self, context: Context) -> None:
        import torch

        if context.device != "cpu":
            raise Unsupported(
                "dynamic-quantization has CPU kernels only: measure it in an experiment with `devices: [cpu]`, "
                "or use int8-dynamic (torchao), which runs on CUDA"
            )
        if importlib.util.find_spec("torch.ao.quantization") is None:
            raise Unsupported(f"torch {torch.__version__} no longer has torch.ao.quantization; use int8-dynamic (torchao)")
        if not _engines():
            raise Unsupported("this build of torch has no quantised engine; use int8-dynamic (torchao)")

    def apply(self, model: "nn.Module", context: Context) -> "nn.Module":
        import torch

        linear = _linear_layers(model, tactic=self.name)
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

        converted = _converted((module for module in model.modules() if isinstance(module, Linear)), eligible=self._eligible)
        return {**converted, "engine": self._engine, "kernels_device": "cpu"}


class Int8Dynamic(Tactic[Params]):
    """torchao's `Int8DynamicActivationInt8WeightConfig` on every `nn.Linear` whose shape the kernels take."""

    name = "int8-dynamic"
    summary = "int8 weights and dynamically quantised int8 activations in linear layers (torchao); faster mostly under compile."
    needs = "torchao; on CUDA a board with int8 matrix multiplication (compute capability 8.0 or later)"

    def check(self, context: Context) -> None:
        import torch

        if importlib.util.find_spec("torchao") is None:
            raise Unsupported("int8-dynamic needs the package torchao")
        if context.device == "cuda":
            a, b = (torch.ones(32, 32, dtype=torch.int8, device="cuda") for _ in range(2))
            try:
                torch._int_mm(a, b)
            except RuntimeError as error:
                raise Unsupported(
                    "this board has no int8 matrix multiplication (torch._int_mm); measure the tactic with `devices: [cpu]`"
                ) from error

    def apply(self, model: "nn.Module", context: Context) -> "nn.Module":
        from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_

        linear = _linear_layers(model, tactic=self.name)
        self._skipped = _refused_by_cuda(model, linear, context) if context.device == "cuda" else {}
        chosen = set(linear) - set(self._skipped)
        self._eligible = len(linear)
        # Inductor's settings are left to the `compile` tactic: otherwise it would not be the same compiler with and without int8.
        config = Int8DynamicActivationInt8WeightConfig(set_inductor_config=False)
        quantize_(model, config, filter_fn=lambda module, name: name in chosen)
        if not self.evidence(model)["modules_converted"]:
            reason = f"none of the {len(linear)} linear layers has a usable shape" if linear else "the model has no linear layer"
            raise NotApplied(f"{reason} to quantise", evidence=self.evidence(model))
        return model

    def evidence(self, model: "nn.Module") -> dict[str, Any]:
        from torch import nn
        from torchao.utils import TorchAOBaseTensor

        linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
        layers = [layer for layer in linear if isinstance(layer.weight, TorchAOBaseTensor)]
        devices = sorted({layer.weight.device.type for layer in layers})
        return {
            **_converted(layers, eligible=self._eligible),
            "modules_skipped": len(self._skipped),
            "skipped": dict(sorted(self._skipped.items())[:20]),
            "kernels_device": devices[0] if len(devices) == 1 else devices,
        }


def _linear_layers(model: "nn.Module", *, tactic: str) -> "dict[str, nn.Linear]":
    from torch import nn

    if masked_layers(model):
        raise Unsupported(f"{tactic} cannot follow pruning with `permanent: false`: the masks have nowhere to go")
    return {name: module for name, module in model.named_modules() if type(module) is nn.Linear}


def _converted(layers: Iterable[Any], *, eligible: int) -> dict[str, Any]:
    sizes = [layer.in_features * layer.out_features for layer in layers]
    return {"modules_converted": len(sizes), "modules_eligible": eligible, "weights_converted": sum(sizes)}


def _engines() -> list[str]:
    import torch

    return [engine for engine in torch.backends.quantized.supported_engines if engine != "none"]


def _refused_by_cuda(model: "nn.Module", linear: "dict[str, nn.Linear]", context: Context) -> dict[str, str]:
    """Layers that the CUDA kernel does not take, with the reason; row counts are seen in one pass over the example."""
    import torch

    rows: dict[str, int] = {}

    def remember(name: str, module: "nn.Module", inputs: tuple[Any, ...]) -> None:
        count = inputs[0].numel() // inputs[0].shape[-1]
        rows[name] = min(count, rows.get(name, count))

    with torch.inference_mode(), contextlib.ExitStack() as hooks:
        for name, module in linear.items():
            hooks.enter_context(module.register_forward_pre_hook(functools.partial(remember, name)))
        model(**context.example)

    refused = {}
    for name, module in linear.items():
        if module.in_features % _CUDA_MULTIPLE or module.out_features % _CUDA_MULTIPLE:
            refused[name] = f"{module.in_features}x{module.out_features} is not a multiple of {_CUDA_MULTIPLE}"
        elif name not in rows:
            refused[name] = "not called as a module"
        elif rows[name] <= _CUDA_ROWS_ABOVE:
            refused[name] = f"{rows[name]} rows, the kernel needs more than {_CUDA_ROWS_ABOVE}"
    return refused

"""int8 weights and dynamically quantised int8 activations with torchao, on CPU and CUDA."""

import importlib.util
from typing import TYPE_CHECKING, Any

from greenray.errors import NotApplied, Unsupported
from greenray.tactics.base import Context, Params, Tactic
from greenray.tactics.prune import masked_layers

if TYPE_CHECKING:
    from torch import nn

# What torch._int_mm asks for on CUDA. With other shapes torchao goes to the CPU and back, or computes in float32, without a word.
_CUDA_MULTIPLE = 8
_CUDA_ROWS_ABOVE = 16


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
        from torch import nn
        from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_

        if masked_layers(model):
            raise Unsupported("int8-dynamic cannot follow pruning with `permanent: false`: the masks have nowhere to go")
        linear = {name: module for name, module in model.named_modules() if type(module) is nn.Linear}
        self._skipped = _refused_by_cuda(model, linear, context) if context.device == "cuda" else {}
        chosen = set(linear) - set(self._skipped)
        self._eligible = len(linear)
        # Inductor's settings are left to the `compile` tactic: otherwise it would not be the same compiler with and without int8.
        config = Int8DynamicActivationInt8WeightConfig(set_inductor_config=False)
        quantize_(model, config, filter_fn=lambda module, name: name in chosen)
        if not self.evidence(model)["modules_converted"]:
            reason = (
                "the model has no linear layer" if not linear else f"none of the {len(linear)} linear layers has a usable shape"
            )
            raise NotApplied(f"{reason} to quantise", evidence=self.evidence(model))
        return model

    def evidence(self, model: "nn.Module") -> dict[str, Any]:
        layers = converted_layers(model)
        devices = sorted({layer.weight.device.type for layer in layers})
        return {
            "modules_converted": len(layers),
            "modules_eligible": self._eligible,
            "modules_skipped": len(self._skipped),
            "skipped": dict(sorted(self._skipped.items())[:20]),
            "weights_converted": sum(layer.in_features * layer.out_features for layer in layers),
            "kernels_device": devices[0] if len(devices) == 1 else devices,
        }


def converted_layers(model: "nn.Module") -> "list[nn.Linear]":
    """Linear layers whose weight is one of torchao's tensors."""
    from torch import nn
    from torchao.utils import TorchAOBaseTensor

    return [
        module for module in model.modules() if isinstance(module, nn.Linear) and isinstance(module.weight, TorchAOBaseTensor)
    ]


def _refused_by_cuda(model: "nn.Module", linear: "dict[str, nn.Linear]", context: Context) -> dict[str, str]:
    """Layers that the CUDA kernel does not take, with the reason; row counts are seen in one pass over the example."""
    import torch

    rows: dict[str, int] = {}

    def remember(name: str) -> Any:
        def hook(module: "nn.Module", inputs: tuple[Any, ...]) -> None:
            count = inputs[0].numel() // inputs[0].shape[-1]
            rows[name] = min(count, rows.get(name, count))

        return hook

    handles = [module.register_forward_pre_hook(remember(name)) for name, module in linear.items()]
    try:
        with torch.inference_mode():
            model(**context.example)
    finally:
        for handle in handles:
            handle.remove()

    refused = {}
    for name, module in linear.items():
        shape = (module.in_features, module.out_features)
        if any(size % _CUDA_MULTIPLE for size in shape):
            refused[name] = f"{shape[0]}x{shape[1]} is not a multiple of {_CUDA_MULTIPLE}"
        elif name not in rows:
            refused[name] = "not called as a module"
        elif rows[name] <= _CUDA_ROWS_ABOVE:
            refused[name] = f"{rows[name]} rows, the kernel needs more than {_CUDA_ROWS_ABOVE}"
    return refused

"""Lower floating-point precision by a cast of the whole model."""

from typing import TYPE_CHECKING, Any

from greenray.errors import NotApplied
from greenray.tactics.base import Context, Params, Tactic

if TYPE_CHECKING:
    from torch import nn


class BFloat16(Tactic[Params]):
    """Parameters, buffers and inputs to bfloat16; the inputs are cast on the device, as a part of every forward pass."""

    name = "bf16"
    summary = "Casts the model to bfloat16: half the bytes, and matrix units that are made for it."
    needs = "fast where the processor has bf16 units: Ampere and later, AVX512-BF16 or AMX"

    def apply(self, model: "nn.Module", context: Context) -> "nn.Module":
        import torch

        floating = [tensor for tensor in (*model.parameters(), *model.buffers()) if tensor.is_floating_point()]
        converted = sum(tensor.numel() for tensor in floating if tensor.dtype != torch.bfloat16)
        eligible = sum(tensor.numel() for tensor in floating)
        self._evidence = {"elements_converted": converted, "elements_eligible": eligible, "dtype": "bfloat16"}
        if not converted:
            raise NotApplied("every floating-point tensor of the model is bfloat16 already", evidence=self._evidence)
        model.register_forward_pre_hook(_cast_inputs, with_kwargs=True)
        return model.to(torch.bfloat16)

    def evidence(self, model: "nn.Module") -> dict[str, Any]:
        return self._evidence


def _cast_inputs(model: "nn.Module", args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return tuple(_cast(value) for value in args), {name: _cast(value) for name, value in kwargs.items()}


def _cast(value: Any) -> Any:
    import torch

    return value.to(torch.bfloat16) if isinstance(value, torch.Tensor) and value.is_floating_point() else value

"""Lower floating-point precision by a cast of the whole model."""

import functools
from typing import TYPE_CHECKING, Any, ClassVar

from greenray.errors import NotApplied, Unsupported
from greenray.tactics.base import WHOLE_MODEL, Context, Params, Tactic

if TYPE_CHECKING:
    import torch
    from torch import nn


class _Cast(Tactic[Params]):
    """Parameters, buffers and inputs to another type; the inputs are cast on the device, as a part of every forward pass."""

    _dtype: ClassVar[str]

    def check(self, context: Context) -> None:
        if "dynamic-quantization" in context.later:
            raise Unsupported(f"dynamic-quantization converts float32 layers only: leave out the {self.name} before it")
        if other := next((name for name in context.later if name in ("bf16", "fp16")), None):
            raise Unsupported(f"{other} casts again what {self.name} has cast: use one of the two")

    def apply(self, model: "nn.Module", context: Context) -> "nn.Module":
        import torch

        dtype: torch.dtype = getattr(torch, self._dtype)
        floating = [tensor for tensor in (*model.parameters(), *model.buffers()) if tensor.is_floating_point()]
        converted = sum(tensor.numel() for tensor in floating if tensor.dtype != dtype)
        eligible = sum(tensor.numel() for tensor in floating)
        self._evidence = {"elements_converted": converted, "elements_eligible": eligible, "dtype": self._dtype}
        if not converted:
            raise NotApplied(f"every floating-point tensor of the model is {self._dtype} already", evidence=self._evidence)
        largest = torch.finfo(dtype).max
        beyond = sum(int((parameter.detach().abs() > largest).sum()) for parameter in model.parameters())
        if beyond:
            raise Unsupported(f"{beyond} weights are beyond the range of {self._dtype} ({largest:g}); use another type")

        forward = model.forward

        @functools.wraps(forward)
        def cast_and_forward(*args: Any, **kwargs: Any) -> Any:
            return forward(
                *(_cast(value, dtype) for value in args), **{name: _cast(value, dtype) for name, value in kwargs.items()}
            )

        model.forward = cast_and_forward  # no hook: `compile` would make a graph of its own of that
        return model.to(dtype)

    def evidence(self, model: "nn.Module") -> dict[str, Any]:
        return self._evidence

    def touched(self) -> frozenset[str]:
        return WHOLE_MODEL


class BFloat16(_Cast):
    """The whole model in bfloat16. In training so are gradients and the optimizer's state, where small updates can be lost:

    `autocast`, and `precision: bf16` of an experiment, keep weights in float32.
    """

    name = "bf16"
    summary = "Casts the model to bfloat16: half the bytes, and matrix units that are made for it."
    needs = "fast where the processor has bf16 units: Ampere and later, AVX512-BF16 or AMX"
    source = "https://arxiv.org/abs/1905.12322"
    _dtype = "bfloat16"


class Float16(_Cast):
    """The whole model in float16, which has more digits than bfloat16 and a smaller range."""

    name = "fp16"
    summary = "Casts the model to float16: half the bytes, and matrix units that are made for it."
    needs = "fast where the processor has fp16 units: compute capability 7.0 and later, AVX512-FP16 or AMX-FP16"
    source = "https://arxiv.org/abs/1710.03740"
    _dtype = "float16"

    def check(self, context: Context) -> None:
        super().check(context)
        if context.training:
            raise Unsupported("gradients of a float16 model vanish: train with autocast and `dtype: fp16`, which scales the loss")


def _cast(value: Any, dtype: "torch.dtype") -> Any:
    import torch

    return value.to(dtype) if isinstance(value, torch.Tensor) and value.is_floating_point() else value

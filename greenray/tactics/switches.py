"""Switches of the process that the baseline has off: a tactic turns its own on and reads back what is set."""

from typing import TYPE_CHECKING, Any, cast

from greenray.errors import NotApplied, Unsupported
from greenray.tactics.base import WHOLE_MODEL, Context, Params, Tactic
from greenray.tactics.layers import products

if TYPE_CHECKING:
    from torch import Tensor, nn

_LOWER = ("bf16", "fp16", "autocast")
_PROBE_SIZE = 512
_TF32_ERROR_ABOVE = 1e-5  # of the largest element: TF32 keeps 11 bits of each factor (1e-4), float32 24 (1e-7)


class TensorFloat32(Tactic[Params]):
    """TF32 in matrix products and convolutions of float32 tensors."""

    name = "tf32"
    summary = "Lets tensor cores round the factors of float32 products to 11 bits (TF32); weights stay float32."
    devices = ("cuda",)
    needs = "compute capability 8.0 or later (Ampere)"
    source = "https://docs.pytorch.org/docs/stable/notes/cuda.html#tf32-on-ampere"

    def check(self, context: Context) -> None:
        import torch

        if context.device != "cuda":
            raise Unsupported("tf32 is a mode of CUDA boards: use bf16 on cpu")
        if (found := torch.cuda.get_device_capability()) < (8, 0):
            raise Unsupported(f"tf32 needs compute capability 8.0 or later, this board has {found[0]}.{found[1]}: use fp16")
        if context.precision == "tf32":
            raise NotApplied("the experiment trains in tf32 already (precision: tf32)")
        lower = next((name for name in (context.precision, *context.later) if name in _LOWER), None)
        if lower is not None:
            raise Unsupported(f"tf32 rounds products of float32 tensors, and {lower} leaves none: use one of the two")

    def apply(self, model: "nn.Module", context: Context) -> "nn.Module":
        import torch

        self._device = context.device
        torch.set_float32_matmul_precision("high")
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = True
        self.evidence(model)  # raises NotApplied
        return model

    def evidence(self, model: "nn.Module") -> dict[str, Any]:
        import torch

        eligible = [layer for layer in products(model).values() if cast("Tensor", layer.weight).dtype == torch.float32]
        found = {
            "modules_float32": len(eligible),
            "matmul_tf32": torch.backends.cuda.matmul.allow_tf32,
            "cudnn_tf32": torch.backends.cudnn.allow_tf32,
            "product_error": _product_error(self._device),
        }
        if not eligible:
            raise NotApplied("the model has no float32 layer that multiplies matrices", evidence=found)
        if found["product_error"] < _TF32_ERROR_ABOVE:  # by what is computed: the environment can overrule the switch
            raise NotApplied("products of float32 matrices are as exact as before: is NVIDIA_TF32_OVERRIDE set?", evidence=found)
        return found

    def touched(self) -> frozenset[str]:
        return WHOLE_MODEL


def _product_error(device: str) -> float:
    """Error of one product of float32 matrices, as a share of its largest element."""
    import torch

    numbers = torch.Generator().manual_seed(0)
    a, b = (torch.randn(_PROBE_SIZE, _PROBE_SIZE, generator=numbers).to(device) for _ in range(2))
    exact = torch.matmul(a.double(), b.double())
    return float((torch.matmul(a, b).double() - exact).abs().max() / exact.abs().max())


class CudnnBenchmark(Tactic[Params]):
    """`torch.backends.cudnn.benchmark`: the first call of each shape tries the algorithms that cuDNN has for it."""

    name = "cudnn-benchmark"
    summary = "Lets cuDNN try its convolution algorithms at the first call of each shape and keep the fastest."
    devices = ("cuda",)
    needs = "cuDNN, which CUDA builds of torch bring along"
    source = "https://docs.pytorch.org/docs/stable/backends.html#torch.backends.cudnn.torch.backends.cudnn.benchmark"

    def check(self, context: Context) -> None:
        import torch

        if context.device != "cuda":
            raise Unsupported("cuDNN is a library of CUDA boards: use channels-last or compile on cpu")
        if not torch.backends.cudnn.is_available():  # type: ignore[no-untyped-call]
            raise Unsupported("this torch has no cuDNN: use channels-last or compile")
        context.require_torchs_kernels(self.name, what="algorithms for convolutions")

    def apply(self, model: "nn.Module", context: Context) -> "nn.Module":
        import torch
        from torch.nn.modules.conv import _ConvNd

        torch.backends.cudnn.benchmark = True
        self._convolutions = frozenset(name for name, layer in products(model).items() if isinstance(layer, _ConvNd))
        if not self._convolutions:
            raise NotApplied("the model has no convolution", evidence=self.evidence(model))
        return model

    def evidence(self, model: "nn.Module") -> dict[str, Any]:
        import torch

        return {"convolutions": len(self._convolutions), "cudnn_benchmark": torch.backends.cudnn.benchmark}

    def touched(self) -> frozenset[str]:
        return self._convolutions

"""What a CUDA board computes in another way than the processor on which `pretend_cuda` computes: TF32, and int4 kernels.

TF32 rounds the factors of float32 products to 10 bits after the point while `torch.backends.cuda.matmul.allow_tf32` is set. The
int4 kernels (tinygemm) exist for CUDA only: weights are packed in another order of the same shape, and multiplied in float32.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

_PRODUCTS = (torch.matmul, torch.Tensor.matmul, torch.mm, torch.bmm, torch.conv2d, torch.nn.functional.linear)
_FOR_GOOD = ExitStack()  # else it would end as soon as nobody holds it


@contextmanager
def played() -> Iterator[None]:
    """Within, torch computes on the processor as it does on a board."""
    kernels = torch.library.Library("aten", "IMPL")
    kernels.impl("_convert_weight_to_int4pack", _pack, "CPU")
    kernels.impl("_weight_int4pack_mm", _multiply, "CPU")
    try:
        with _Rounding():
            yield
    finally:
        kernels._destroy()


def install() -> None:
    """The same for the rest of this process: that of a cell."""
    _FOR_GOOD.enter_context(played())


class _Rounding(TorchFunctionMode):
    def __torch_function__(self, function: Any, types: Any, arguments: Any = (), keywords: Any = None) -> Any:
        if function in _PRODUCTS and torch.backends.cuda.matmul.allow_tf32:
            arguments = (*(_tf32(factor) for factor in arguments[:2]), *arguments[2:])
        return function(*arguments, **(keywords or {}))


def _tf32(factor: Any) -> Any:
    if not isinstance(factor, Tensor) or factor.dtype != torch.float32:
        return factor
    return ((factor.detach().view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32)


def _pack(weight: Tensor, inner_k_tiles: int) -> Tensor:
    """From (n, k/2) bytes, the even column in the upper half, to tinygemm's four dimensions."""
    n, k = weight.shape[0], 2 * weight.shape[1]
    return weight.view(torch.int32).reshape(n // 8, k // (16 * inner_k_tiles), 32, inner_k_tiles // 2)


def _multiply(rows: Tensor, packed: Tensor, group_size: int, scales_and_zeros: Tensor) -> Tensor:
    n, k = scales_and_zeros.shape[1], rows.shape[1]
    halves = packed.reshape(n, -1).view(torch.uint8)
    numbers = torch.stack((halves >> 4, halves & 15), dim=-1).reshape(n, k).float()
    scale, zero = (part.float().T.repeat_interleave(group_size, dim=1) for part in scales_and_zeros.unbind(-1))
    return (rows.float() @ ((numbers - 8) * scale + zero).T).to(torch.bfloat16)

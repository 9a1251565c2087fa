"""Training in less than fp32: what autocast lowers, or what the matrix units round. The weights stay fp32."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from greenray.errors import Unsupported

if TYPE_CHECKING:
    from greenray.config.refs import Precision
    from greenray.tasks.training_step import TrainingStep

_AMPERE = (8, 0)


def check(precision: "Precision", *, device: str) -> None:
    """Raise Unsupported, in a sentence that names what can be used instead, if the device does not compute in it."""
    import torch

    if precision == "tf32" and device != "cuda":
        raise Unsupported("precision tf32 is what matrix units of NVIDIA's boards round to; train with bf16 on the cpu")
    if precision in ("tf32", "bf16") and device == "cuda" and torch.cuda.get_device_capability() < _AMPERE:
        raise Unsupported(f"precision {precision} needs compute capability 8.0 or later; train with fp16 on this board")


def apply(precision: "Precision", step: "TrainingStep", *, device: str) -> Any:
    """Train in it from now on; returns the gradient scaler of fp16, else None. `tf32` holds for the process, until `end`."""
    import torch

    if precision == "tf32":
        _round_to_tf32(allowed=True)
        return None
    if precision == "fp32":
        return None
    step.autocast(torch.bfloat16 if precision == "bf16" else torch.float16, device=device)
    # bf16 has the range of fp32: no gradient gets lost
    return None if precision == "bf16" else step.scale_loss(device=device)


def end(precision: "Precision") -> None:
    """Back to fp32: what was trained is evaluated as every baseline is."""
    if precision == "tf32":
        _round_to_tf32(allowed=False)


@contextmanager
def paused(precision: "Precision") -> Iterator[None]:
    """Fp32 inside the block, for what is evaluated in the midst of training."""
    end(precision)
    try:
        yield
    finally:
        if precision == "tf32":
            _round_to_tf32(allowed=True)


def _round_to_tf32(*, allowed: bool) -> None:
    import torch

    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed

"""Training in less than fp32: what autocast lowers, or what the matrix units round. The weights stay fp32."""

from typing import TYPE_CHECKING, Any

from greenray.errors import Unsupported
from greenray.tasks.base import TrainingBatch

if TYPE_CHECKING:
    from torch import Tensor

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
    plain_forward, lower = step.forward, torch.bfloat16 if precision == "bf16" else torch.float16

    def forward(batch: TrainingBatch) -> "tuple[Tensor, Tensor | None]":
        with torch.autocast(device, dtype=lower):
            return plain_forward(batch)

    step.forward = forward
    if precision == "bf16":  # it has the range of fp32: no gradient gets lost
        return None
    scaler = torch.amp.GradScaler(device)
    backward, optimizer = step.backward, step.optimizer

    def update() -> None:
        scaler.step(optimizer)
        scaler.update()

    step.backward = lambda loss: backward(scaler.scale(loss))
    step.update = update
    step.states.append(scaler)
    return scaler


def end(precision: "Precision") -> None:
    """Back to fp32: what was trained is evaluated as every baseline is."""
    if precision == "tf32":
        _round_to_tf32(allowed=False)


def _round_to_tf32(*, allowed: bool) -> None:
    import torch

    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed

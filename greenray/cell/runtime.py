"""The device a cell runs on: what is switched on and off, so that every arm is measured under the same conditions."""

import contextlib
import importlib.metadata
import os
import platform
import sys
from typing import TYPE_CHECKING, Any

from greenray.errors import CellError, Unsupported

if TYPE_CHECKING:
    from torch import nn

_PACKAGES = (
    "torch",
    "transformers",
    "torchao",
    "datasets",
    "scikit-learn",
    "pillow",
    "torchvision",
    "timm",
    "triton",
    "onnx",
    "onnxruntime",
    "onnxruntime-gpu",
    "torch-pruning",
    "torch-tensorrt",
    "tensorrt",
)


def configure(*, device: str, threads: int, seed: int) -> dict[str, Any]:
    """Set precision, algorithms, threads and seed; returns what was set. CellError: a cuda cell without a usable device."""
    import torch
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    torch.set_num_threads(threads)
    # A forked cell has its compiler's settings from the server, which read the environment when it was not the cell's yet.
    if (inductor := sys.modules.get("torch._inductor.config")) is not None:
        inductor.compile_threads = threads  # type: ignore[attr-defined]
    torch.manual_seed(seed)
    torch.set_float32_matmul_precision("highest")
    niceness = os.getpriority(os.PRIO_PROCESS, 0)
    settings = {"float32_matmul_precision": "highest", "inference_mode": True, "seed": seed, "niceness": niceness}
    if device == "cuda":
        start_cuda()
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.benchmark = False
        torch.zeros(1, device="cuda")  # makes the context now: it belongs to no window
        settings |= {
            "tf32": False,
            "cudnn_benchmark": False,
            "cuda_version": torch.version.cuda,
            "cudnn_version": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
            "compute_capability": ".".join(map(str, torch.cuda.get_device_capability())),
        }
    return settings


def start_cuda() -> None:
    """Have torch start CUDA in this process. Raises CellError where it cannot, Unsupported where it was built without.

    The message is torch's own sentence, which `torch.cuda.is_available` would make a warning of.
    """
    import torch

    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
    except AssertionError as error:
        raise Unsupported(f"torch cannot use CUDA: {error}") from None
    except Exception as error:  # its own kinds of RuntimeError, with the C++ that it came from on further lines
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise CellError(f"torch cannot use CUDA: {lines[0]}") from None


def gpu_uuid(device: str) -> str | None:
    """UUID of the current CUDA device without `GPU-`; None on cpu."""
    if device != "cuda":
        return None
    import torch

    return str(torch.cuda.get_device_properties(0).uuid)


def synchronize(device: str) -> None:
    """Wait until the device has done all that was asked of it."""
    if device == "cuda":
        import torch

        torch.cuda.synchronize()


def attention(model: "nn.Module") -> str | None:
    """The attention implementation; None where the model has no attention."""
    # Configurations name an implementation for convolution nets too: believe the modules.
    has_attention = any("attention" in type(module).__name__.lower() for module in model.modules())
    found = getattr(getattr(model, "config", None), "_attn_implementation", None)
    return str(found) if has_attention and found is not None else None


def dtype_name(model: "nn.Module") -> str | None:
    """Type of the model's floating-point parameters, for example `float32`; None if it has none left."""
    kinds = (str(parameter.dtype) for parameter in model.parameters() if parameter.is_floating_point())
    return next(kinds, "").removeprefix("torch.") or None


def versions() -> dict[str, str]:
    """Versions of what shaped the result; packages that are not installed are left out, as is the CUDA of a torch without it."""
    found = {"python": platform.python_version()}
    if (torch := sys.modules.get("torch")) is not None and torch.version.cuda is not None:
        found["cuda"] = torch.version.cuda
    for package in (*_PACKAGES, "greenray"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found

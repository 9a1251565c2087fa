"""The device a cell runs on: what is switched on and off, so that every arm is measured under the same conditions."""

import contextlib
import importlib.metadata
import os
import platform
from typing import TYPE_CHECKING, Any

from greenray.errors import CellError

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
    torch.manual_seed(seed)
    torch.set_float32_matmul_precision("highest")
    niceness = os.getpriority(os.PRIO_PROCESS, 0)
    settings = {"float32_matmul_precision": "highest", "inference_mode": True, "seed": seed, "niceness": niceness}
    if device == "cuda":
        if not torch.cuda.is_available():
            raise CellError("this process sees no CUDA device that its torch can use")
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
    """Versions of what shaped the result; packages that are not installed are left out."""
    found = {"python": platform.python_version()}
    for package in (*_PACKAGES, "greenray"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found

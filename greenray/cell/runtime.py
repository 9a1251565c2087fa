"""The device a cell runs on: what is switched on and off, so that every arm is measured under the same conditions."""

import contextlib
import functools
import importlib.metadata
import os
import platform
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from greenray.errors import CellError, Unsupported, first_line
from greenray.processes.cores import as_text

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

_MOST_COMPILE_WORKERS = 32  # torch._inductor.config.decide_compile_threads

_MOST_HZ = 2e9
"""Clock of the fastest boards: as many cycles last a second there."""


def configure(*, device: str, threads: int, seed: int) -> dict[str, Any]:
    """Set precision, algorithms, threads and seed; returns what was set. CellError: a cuda cell without a usable device."""
    import torch
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    torch.set_num_threads(threads)
    # A forked cell has its compiler's settings from the server, which read the environment when it was not the cell's yet.
    if (inductor := sys.modules.get("torch._inductor.config")) is not None:
        inductor.compile_threads = compile_workers(threads)  # type: ignore[attr-defined]
    torch.manual_seed(seed)
    torch.set_float32_matmul_precision("highest")
    niceness = os.getpriority(os.PRIO_PROCESS, 0)
    cores = as_text(os.sched_getaffinity(0))
    settings: dict[str, Any] = {"inference_mode": True, "seed": seed, "niceness": niceness, "cores": cores}
    if device == "cuda":
        start_cuda()
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.benchmark = False
        torch.zeros(1, device="cuda")  # makes the context now: it belongs to no window
        settings |= {
            "cuda_version": torch.version.cuda,
            "cudnn_version": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
            "compute_capability": ".".join(map(str, torch.cuda.get_device_capability())),
        }
    return settings | switches(device)


def compile_workers(threads: int) -> int:
    """Processes that compile for a cell of so many threads: their memory counts to it, so never more than by default."""
    return min(threads, _MOST_COMPILE_WORKERS)


def switches(device: str) -> dict[str, Any]:
    """How the switches of the process stand, read back: tactics turn some of them."""
    import torch

    found: dict[str, Any] = {"float32_matmul_precision": torch.get_float32_matmul_precision()}
    if device == "cuda":
        backends = torch.backends
        found["tf32"] = backends.cuda.matmul.allow_tf32 or backends.cudnn.allow_tf32
        found["cudnn_benchmark"] = backends.cudnn.benchmark
    return found


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
        raise CellError(f"torch cannot use CUDA: {first_line(error, longest=1000)}") from None


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


def end_of_work(device: str, *, alone: bool) -> "Callable[[], object]":
    """What waits until all is done that was asked of the device so far; with `alone`, that nothing else is asked meanwhile."""
    if device != "cuda" or alone:
        return functools.partial(synchronize, device)
    import torch

    done = torch.cuda.Event()  # type: ignore[no-untyped-call]
    done.record()
    return done.synchronize


def device_time_s(ask: "Callable[[], object]", *, busy_s: float) -> float:
    """Seconds that the CUDA device needs for what `ask` asks of it, from its first to its last kernel.

    It is kept busy meanwhile, for `busy_s` at full clock and longer at a lower one: what was all asked for before it begins has
    no gaps. Where `ask` itself waits for the device, or launches more than a queue holds (about a thousand kernels), some remain.
    """
    import torch

    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    torch.cuda._sleep(int(busy_s * _MOST_HZ))  # type: ignore[no-untyped-call]
    begin.record()
    ask()
    end.record()
    torch.cuda.synchronize()
    return float(begin.elapsed_time(end)) / 1000


class PeakMemory:
    """The most memory of the board that torch's allocator had given out, inside and outside of what is measured.

    In bytes, None on cpu. What only the replay of a CUDA graph uses is in neither.
    """

    def __init__(self, device: str) -> None:
        self._device = device
        self.inside: int | None = None
        self.outside: int | None = None

    @contextlib.contextmanager
    def measured(self) -> Iterator[None]:
        """What happens in the block is inside; several blocks add up to one."""
        self.outside = self._since_last(self.outside)
        yield
        self.inside = self._since_last(self.inside)

    def _since_last(self, before: int | None) -> int | None:
        if self._device != "cuda":
            return None
        import torch

        peak = int(torch.cuda.max_memory_allocated())
        torch.cuda.reset_peak_memory_stats()
        return max(peak, before or 0)


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

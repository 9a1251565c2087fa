"""How a CUDA device works behind its host's back: its streams, its events and its memory, for `pretend_cuda`.

Only time is played. A forward pass has been computed by the processor when the call returns; its stream is busy with it from
then, or from the end of what came before, for DEVICE_S. The host itself is kept for LAUNCH_S by every forward pass, and a stream
for COPY_S by every tensor that is copied without waiting. All are seconds in variables of these names, 0 if not set. Whoever
synchronises sleeps until the device is done. FREE is how many bytes of memory are free, else 64 GiB.

Allocated is what the models hold that were brought to the device, in their present types.
"""

import os
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, ClassVar

LAUNCH_S, DEVICE_S, COPY_S, FREE = (f"GREENRAY_TEST_{name}" for name in ("LAUNCH_S", "DEVICE_S", "COPY_S", "FREE_BYTES"))
TOTAL_BYTES, CLOCK_HZ = 80 << 30, 1.98e9
CLOCK = SimpleNamespace(now=time.monotonic, sleep=time.sleep)
"""The time that passes; tests may put one of their own in its place."""


def _sleep_until(moment_s: float) -> None:
    while (left_s := moment_s - CLOCK.now()) > 0:
        CLOCK.sleep(left_s)


class Stream:
    """Work in order; `free_s` is when the last of it is done, CLOCK_MONOTONIC."""

    everyone: ClassVar = weakref.WeakSet()

    def __init__(self, *_: Any, **__: Any) -> None:
        self.free_s = 0.0
        self.everyone.add(self)

    def take(self, seconds: float) -> None:
        """Work of so many seconds is asked of it now."""
        self.free_s = max(CLOCK.now(), self.free_s) + seconds

    def wait_event(self, event: "Event") -> None:
        self.free_s = max(self.free_s, event.done_s)

    def wait_stream(self, other: "Stream") -> None:
        self.free_s = max(self.free_s, other.free_s)

    def synchronize(self) -> None:
        _sleep_until(self.free_s)


DEFAULT = Stream()
_current = [DEFAULT]


class Event:
    """A moment of a stream."""

    def __init__(self, **_: Any) -> None:
        self.done_s = 0.0

    def record(self, stream: Stream | None = None) -> None:
        self.done_s = max(CLOCK.now(), (stream or current_stream()).free_s)

    def query(self) -> bool:
        return CLOCK.now() >= self.done_s

    def synchronize(self) -> None:
        _sleep_until(self.done_s)

    def elapsed_time(self, later: "Event") -> float:
        """Milliseconds."""
        return 1000 * (later.done_s - self.done_s)


def current_stream(*_: Any) -> Stream:
    return _current[-1]


@contextmanager
def on_stream(stream: Stream) -> Iterator[None]:
    _current.append(stream)
    try:
        yield
    finally:
        _current.pop()


def synchronize(*_: Any) -> None:
    _sleep_until(max(stream.free_s for stream in Stream.everyone))


def busy(cycles: int) -> None:
    current_stream().take(cycles / CLOCK_HZ)


class Memory:
    """What the caching allocator tells."""

    def __init__(self) -> None:
        self._models: weakref.WeakSet[Any] = weakref.WeakSet()
        self._peak_bytes = 0
        self.resets = 0

    def bring(self, model: Any) -> None:
        self._models.add(model)
        self.peak()

    def allocated(self, *_: Any) -> int:
        return sum(t.nbytes for model in self._models for t in (*model.parameters(), *model.buffers()))

    def peak(self, *_: Any) -> int:
        self._peak_bytes = max(self._peak_bytes, self.allocated())
        return self._peak_bytes

    def reset(self, *_: Any) -> None:
        self.resets += 1
        self._peak_bytes = self.allocated()

    def info(self, *_: Any) -> tuple[int, int]:
        return int(os.environ.get(FREE, 64 << 30)), TOTAL_BYTES


def install(*, last_call: Callable[[], object]) -> None:
    """Put it in the place of torch's; `last_call` is called when a cell asks for its peak after the steady windows."""
    import torch

    memory = Memory()

    def peak(*_: Any) -> int:
        if memory.resets:
            last_call()
        return memory.peak()

    plain_to = torch.nn.Module.to

    def to(module: Any, *args: Any, **kwargs: Any) -> Any:
        moved = plain_to(module, *args, **kwargs)
        if any(str(value).startswith("cuda") for value in (*args, *kwargs.values())):
            memory.bring(moved)
        return moved

    torch.nn.Module.to = to  # type: ignore[method-assign]
    names = {
        "synchronize": synchronize,
        "_sleep": busy,
        "Stream": Stream,
        "Event": Event,
        "current_stream": current_stream,
        "stream": on_stream,
        "memory_allocated": memory.allocated,
        "max_memory_allocated": peak,
        "reset_peak_memory_stats": memory.reset,
        "mem_get_info": memory.info,
    }
    for name, value in names.items():
        setattr(torch.cuda, name, value)
    if any(os.environ.get(name) for name in (LAUNCH_S, DEVICE_S)):
        _play_forward_passes()


def _play_forward_passes() -> None:
    """Every call of a whole model takes its time, of the host and then of the current stream."""
    from torch.nn.modules import module

    depth = 0

    def before(*_: Any) -> None:
        nonlocal depth
        depth += 1

    def after(*_: Any) -> None:
        nonlocal depth
        depth -= 1
        if not depth:
            CLOCK.sleep(float(os.environ.get(LAUNCH_S, 0)))
            current_stream().take(float(os.environ.get(DEVICE_S, 0)))

    module.register_module_forward_pre_hook(before)
    module.register_module_forward_hook(after, always_call=True)


def asked(function: Any, arguments: Any, keywords: Any) -> None:
    """Note a call of torch before it is made: copies keep their stream, and whoever wants to see a value waits."""
    import torch

    tensor = torch.Tensor
    if function in (tensor.to, tensor.copy_) and keywords.get("non_blocking"):
        current_stream().take(float(os.environ.get(COPY_S, 0)))
    elif function in (tensor.item, tensor.tolist, tensor.cpu, tensor.__float__, tensor.__int__):
        current_stream().synchronize()

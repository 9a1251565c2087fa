"""Inference by different loops: what waiting for the board after every batch costs, and what it hides.

synchronised     copy a batch, forward, argmax, wait: as cells are measured
depth 2          the next batch is copied on a stream of its own and queued before the last one is waited for
unsynchronised   50 batches are queued, then waited for
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import nn

from tests.gpu_check.jobs.__main__ import told
from tests.gpu_check.jobs.models import BATCH, build, pictures, prepared

_HOST_BATCHES = 4
_QUEUED = 50
_WARM_S = 1.0


def serve(
    *,
    models: Sequence[str],
    arms: Sequence[str],
    loops: Sequence[str],
    seconds: float,
    windows: int = 1,
    warm: bool = True,
    profile: bool = False,
    small: bool = False,
) -> Iterator[dict[str, Any]]:
    """A row for each model, arm, loop and window of `seconds`; one with an `error` for an arm that cannot be run.

    `warm`: a second of the loop goes before its first window. `profile`: a row of `calls` follows, with what one batch asks of
    the board that makes the processor wait.
    """
    for name in models:
        for arm in arms:
            about = {"model": name, "arm": arm}
            try:
                start_s = time.monotonic()
                server = Server(prepared(build(name, small=small), arm), batch_size=4 if small else BATCH[name])
                about["first_calls_s"] = time.monotonic() - start_s
                for loop in loops:
                    for window in measured(server.turns(loop), seconds=seconds, windows=windows, warm=warm):
                        yield {**about, "loop": loop, "batch_size": server.batch_size, **window}
                if profile:
                    yield {**about, "calls": server.calls()}
            except Exception as error:  # the other arms can still be measured
                yield {**about, "error": told(error)}


def measured(turns: Callable[[], int], *, seconds: float, windows: int, warm: bool) -> Iterator[dict[str, Any]]:
    """Windows back to back of whole turns, each of which returns how many batches are done."""
    if warm:
        until_s = time.monotonic() + min(_WARM_S, seconds)
        while time.monotonic() < until_s:
            turns()
    end_s = time.monotonic()
    for _ in range(windows):
        start_s, count, taken_s = end_s, 0, []
        while end_s - start_s < seconds:
            before_s, done = end_s, turns()
            end_s = time.monotonic()
            count += done
            taken_s.append((end_s - before_s) / done)
        taken_s.sort()
        yield {
            "start_s": start_s,
            "end_s": end_s,
            "batches": count,
            "p50_s": taken_s[len(taken_s) // 2],
            "p95_s": taken_s[int(0.95 * (len(taken_s) - 1))],
        }


class Server:
    """A model on the board and batches in pinned memory; its first calls are made here."""

    def __init__(self, model: nn.Module, *, batch_size: int) -> None:
        self.batch_size = batch_size
        self._model = model
        self._dtype = next(parameter.dtype for parameter in model.parameters() if parameter.is_floating_point())
        images = pictures(model, _HOST_BATCHES * batch_size)
        self._host = deque(batch.contiguous().pin_memory() for batch in images.split(batch_size))
        self._copies = torch.cuda.Stream()
        self._ahead: tuple[torch.Tensor, torch.cuda.Event] | None = None
        # With its pictures: memory of another stream must not be used anew before the batch is done.
        self._queued: deque[tuple[torch.cuda.Event, torch.Tensor]] = deque()
        for _ in range(3):
            self._synchronised()

    def turns(self, loop: str) -> Callable[[], int]:
        """One turn of a loop, which ends when its last batch but what the loop keeps in flight is done."""
        torch.cuda.synchronize()
        self._ahead = None
        self._queued.clear()
        return {"synchronised": self._synchronised, "depth 2": self._two_deep, "unsynchronised": self._unsynchronised}[loop]

    def calls(self) -> dict[str, int]:
        """How often one batch makes the processor wait for the board, and how many operations and kernels it takes."""
        from torch.profiler import ProfilerActivity, profile

        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_initialized() else [])]
        with profile(activities=activities) as profiled:
            self._forward(self._next().to("cuda", non_blocking=True))
            torch.cuda.synchronize()
        found = {"values fetched": 0, "copies to the host": 0, "waits": 0, "operations": 0}
        for average in profiled.key_averages():
            found["values fetched"] += average.count * (average.key == "aten::_local_scalar_dense")
            found["copies to the host"] += average.count * ("DtoH" in average.key)
            found["waits"] += average.count * (average.key in ("cudaStreamSynchronize", "cudaDeviceSynchronize"))
            found["operations"] += average.count * average.key.startswith("aten::")
        return found

    def _next(self) -> torch.Tensor:
        self._host.rotate(-1)
        return self._host[0]

    def _forward(self, images: torch.Tensor) -> None:
        with torch.inference_mode():
            self._model(pixel_values=images.to(self._dtype)).logits.argmax(-1)

    def _synchronised(self) -> int:
        self._forward(self._next().to("cuda", non_blocking=True))
        torch.cuda.synchronize()
        return 1

    def _unsynchronised(self) -> int:
        for _ in range(_QUEUED):
            self._forward(self._next().to("cuda", non_blocking=True))
        torch.cuda.synchronize()
        return _QUEUED

    def _two_deep(self) -> int:
        images, copied = self._ahead or self._fetch()
        here = torch.cuda.current_stream()
        here.wait_event(copied)
        self._forward(images)
        done = torch.cuda.Event()
        done.record(here)
        self._queued.append((done, images))
        self._ahead = self._fetch()
        if len(self._queued) > 1:
            self._queued.popleft()[0].synchronize()
        return 1

    def _fetch(self) -> tuple[torch.Tensor, torch.cuda.Event]:
        """The next batch, on its way to the board, and the event of its arrival."""
        with torch.cuda.stream(self._copies):
            images = self._next().to("cuda", non_blocking=True)
            copied = torch.cuda.Event()
            copied.record(self._copies)
        return images, copied

"""The load that is measured: one batch in flight, over and over, first until it is stable and then window by window."""

import itertools
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from greenray.cell import runtime
from greenray.cell.marks import WindowMarker
from greenray.cell.protocol import Window

if TYPE_CHECKING:
    import torch
    from torch import nn

MIN_ITERATIONS = 10
GROUPS = 5
STABLE_CV = 0.05
_LAST_VERDICT_S = 15.0


class Loop:
    """Iterations over prepared batches. One iteration: copy to the device, forward, argmax, synchronise."""

    def __init__(
        self,
        model: "nn.Module",
        *,
        batches: "Sequence[torch.Tensor]",
        device: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._model = model
        self._batches = itertools.cycle(batches)
        self._device = device
        self._clock = clock
        self.batch_size = len(batches[0])

    def step(self) -> float:
        """Run one iteration; returns CLOCK_MONOTONIC at its end."""
        predict(self._model, next(self._batches), device=self._device)
        runtime.synchronize(self._device)
        return self._clock()


def predict(model: "nn.Module", batch: "torch.Tensor", *, device: str) -> "torch.Tensor":
    """Predicted outputs of one batch, shape (batch,), on the device."""
    answer: torch.Tensor = model(pixel_values=runtime.to_device(batch, device)).logits.argmax(dim=-1)
    return answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Warmup:
    """How the warm-up ended. `variation` is the coefficient of variation of the last groups' throughput; None if too few."""

    stable: bool
    variation: float | None
    end_s: float


def warm_up(loop: Loop, marker: WindowMarker, *, max_s: float) -> Warmup:
    """Iterate until the throughput of the last 5 groups of iterations varies by less than 5 %, at most `max_s` seconds.

    A group takes a fortieth of the time allowed, so that noise within a group averages out, but half a second at most.
    """
    group_s = min(max_s / 40, 0.5)
    rates: list[float] = []
    variation: float | None = None
    with marker.window("warmup") as draft:
        start_s = now = marker.clock()
        while now - start_s < max_s:
            group_start_s, count = now, 0
            while not count or now - group_start_s < group_s:
                now = loop.step()
                count += 1
            draft.iterations += count
            draft.samples += count * loop.batch_size
            rates.append(count / (now - group_start_s))
            last = rates[-GROUPS:]
            if len(last) == GROUPS:
                variation = statistics.stdev(last) / statistics.fmean(last)
                if variation < STABLE_CV:
                    break
        draft.end_s = now  # the first steady window begins here
    return Warmup(stable=variation is not None and variation < STABLE_CV, variation=variation, end_s=now)


@dataclass(slots=True)
class _Open:
    """The steady window that is running."""

    start_s: float
    compilations: int
    latencies_s: list[float] = field(default_factory=list)


def steady_windows(
    loop: Loop,
    marker: WindowMarker,
    *,
    start_s: float,
    window_s: float,
    max_windows: int,
    compilations: Callable[[], int],
) -> int:
    """Windows back to back until the worker has enough of them; returns how many were sent.

    The load runs on across every edge, the last one included, so that no edge falls on a change of power: after
    `max_windows` it goes on until the worker has read the last one.

    Args:
        start_s: end of the iteration before, where the first window begins.
        window_s: least length; a window also holds at least 10 iterations.
        compilations: a number that moves when code is compiled; a window in which it moves is rejected.
    """
    sent = judged = 0
    running = _Open(start_s=start_s, compilations=compilations())
    before_s = start_s
    while True:
        now = loop.step()
        running.latencies_s.append(now - before_s)
        before_s = now
        if now - running.start_s >= window_s and len(running.latencies_s) >= MIN_ITERATIONS and sent < max_windows:
            compiled = compilations()
            marker.send(_window(running, end_s=now, batch_size=loop.batch_size, compiled=compiled - running.compilations))
            running = _Open(start_s=now, compilations=compiled)
            sent += 1
        verdict = marker.verdict()
        if verdict is not None:
            judged += 1
            if verdict.enough or judged >= max_windows:
                return sent
        # A worker that never answers must not keep the load running for ever.
        if sent >= max_windows and now - running.start_s > _LAST_VERDICT_S:
            return sent


def _window(running: _Open, *, end_s: float, batch_size: int, compiled: int) -> Window:
    import numpy as np

    p50, p95, p99 = np.percentile(running.latencies_s, (50, 95, 99))
    times = "once" if compiled == 1 else f"{compiled} times"
    return Window(
        kind="steady",
        start_s=running.start_s,
        end_s=end_s,
        samples=batch_size * len(running.latencies_s),
        iterations=len(running.latencies_s),
        latency_p50_s=float(p50),
        latency_p95_s=float(p95),
        latency_p99_s=float(p99),
        rejected=f"code was compiled {times} inside the window" if compiled else None,
    )

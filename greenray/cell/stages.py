"""The load that is measured, stage by stage: one iteration after the other, until it is stable and then window by window."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from greenray.cell import runtime
from greenray.cell.protocol import Window
from greenray.cell.work import WindowMarker
from greenray.tasks.base import Stage

if TYPE_CHECKING:
    from torch import nn

MIN_ITERATIONS = 10
GROUPS = 5
STABLE_CV = 0.05
_LAST_VERDICT_S = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Warmup:
    """How the warm-up ended. `variation` is the coefficient of variation of the last groups' throughput; None if too few."""

    stable: bool
    variation: float | None
    end_s: float


class Load:
    """Iterations of one stage on one model, each until the device is done."""

    def __init__(self, stage: Stage, model: "nn.Module", marker: WindowMarker, *, device: str) -> None:
        self._stage = stage
        self._model = model
        self._marker = marker
        self._device = device

    def _step(self) -> float:
        """Run one iteration; returns CLOCK_MONOTONIC at its end."""
        self._stage.step(self._model)
        runtime.synchronize(self._device)
        return self._marker.clock()

    def warm_up(self, *, max_s: float) -> Warmup:
        """Iterate until the throughput of the last 5 groups of iterations varies by less than 5 %, at most `max_s` seconds.

        A group takes a fortieth of the time allowed, so that noise within a group averages out, but half a second at most.
        """
        group_s = min(max_s / 40, 0.5)
        rates: list[float] = []
        variation: float | None = None
        with self._marker.window("warmup", stage=self._stage.name) as window:
            start_s = now = self._marker.clock()
            while now - start_s < max_s:
                group_start_s, count = now, 0
                while not count or now - group_start_s < group_s:
                    now = self._step()
                    count += 1
                window.iterations += count
                window.samples += count * self._stage.samples
                rates.append(count / (now - group_start_s))
                last = rates[-GROUPS:]
                if len(last) == GROUPS:
                    variation = statistics.stdev(last) / statistics.fmean(last)
                    if variation < STABLE_CV:
                        break
            window.end_s = now  # the first steady window begins here
        return Warmup(stable=variation is not None and variation < STABLE_CV, variation=variation, end_s=now)

    def steady_windows(self, *, start_s: float, window_s: float, max_windows: int, compilations: Callable[[], int]) -> int:
        """Windows back to back until the worker has enough of them; returns how many were sent.

        The load runs on across every edge, the last one included, so that no edge falls on a change of power: after
        `max_windows`, the rejected ones included, it goes on until the worker has read the last one.

        Args:
            start_s: end of the iteration before, where the first window begins.
            window_s: least length; a window also holds at least 10 iterations.
            compilations: a number that moves when code is compiled; a window in which it moves is rejected.
        """
        sent = judged = 0
        compiled_before, before_s = compilations(), start_s
        latencies_s: list[float] = []
        while True:
            now = self._step()
            latencies_s.append(now - before_s)
            before_s = now
            if now - start_s >= window_s and len(latencies_s) >= MIN_ITERATIONS and sent < max_windows:
                compiled = compilations()
                rejected = compiled_inside(compiled - compiled_before)
                self._marker.send(self._window(latencies_s, start_s=start_s, end_s=now, rejected=rejected))
                start_s, compiled_before, latencies_s = now, compiled, []
                sent += 1
            verdict = self._marker.verdict(self._stage.name)
            if verdict is not None:
                judged += 1
                if verdict.enough or judged >= max_windows:
                    return sent
            # A worker that never answers must not keep the load running for ever.
            if sent >= max_windows and now - start_s > _LAST_VERDICT_S:
                return sent

    def _window(self, latencies_s: list[float], *, start_s: float, end_s: float, rejected: str | None) -> Window:
        import numpy as np

        p50, p95, p99 = np.percentile(latencies_s, (50, 95, 99))
        return Window(
            kind="steady",
            stage=self._stage.name,
            start_s=start_s,
            end_s=end_s,
            samples=self._stage.samples * len(latencies_s),
            iterations=len(latencies_s),
            latency_p50_s=float(p50),
            latency_p95_s=float(p95),
            latency_p99_s=float(p99),
            rejected=rejected,
        )


def compiled_inside(times: int) -> str | None:
    """Why a window in which code was compiled must not be used; None if none was."""
    return f"code was compiled {'once' if times == 1 else f'{times} times'} inside the window" if times else None

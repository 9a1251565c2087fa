"""The load that is measured, stage by stage: one iteration after the other, window by window. `warmup` brings it there."""

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from greenray.cell import runtime
from greenray.cell.protocol import Window
from greenray.cell.work import WindowMarker
from greenray.tasks.base import Stage

if TYPE_CHECKING:
    from torch import nn

MIN_ITERATIONS = 10
_LAST_VERDICT_S = 15.0


class Load:
    """Iterations of one stage on one model.

    With one in flight, an iteration ends when the device has done all that was asked of it, and the next begins then. With two,
    the next is asked for before this one is done, so that its copy and its launches overlap with work: its latency is the time
    from when it was asked for until it is done, and throughput is more than 1 / latency.
    """

    def __init__(self, stage: Stage, model: "nn.Module", marker: WindowMarker, *, device: str, in_flight: int = 1) -> None:
        self.stage = stage
        self.marker = marker
        self.device = device
        self._model = model
        self._in_flight = in_flight if device == "cuda" else 1
        self._begun: deque[tuple[float, Callable[[], object]]] = deque()

    def ask(self) -> None:
        """Begin an iteration; nobody waits for it."""
        self.stage.step(self._model)

    def iterate(self) -> tuple[float, float]:
        """Run the next iteration to its end, and begin as many more as may be in flight.

        Returns:
            CLOCK_MONOTONIC at its end, and its latency in seconds.
        """
        while len(self._begun) < self._in_flight:
            begin_s = self.marker.clock()
            self.ask()
            self._begun.append((begin_s, runtime.end_of_work(self.device, alone=self._in_flight == 1)))
        begin_s, wait = self._begun.popleft()
        wait()
        now = self.marker.clock()
        return now, now - begin_s

    def drain(self) -> float:
        """Wait for all that was begun; returns CLOCK_MONOTONIC."""
        runtime.synchronize(self.device)
        self._begun.clear()
        return self.marker.clock()

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
        compiled_before = compilations()
        latencies_s: list[float] = []
        while True:
            now, latency_s = self.iterate()
            latencies_s.append(latency_s)
            if now - start_s >= window_s and len(latencies_s) >= MIN_ITERATIONS and sent < max_windows:
                compiled = compilations()
                rejected = compiled_inside(compiled - compiled_before)
                self.marker.send(self._window(latencies_s, start_s=start_s, end_s=now, rejected=rejected))
                start_s, compiled_before, latencies_s = now, compiled, []
                sent += 1
            verdict = self.marker.verdict(self.stage.name)
            if verdict is not None:
                judged += 1
                if verdict.enough or judged >= max_windows:
                    break
            # A worker that never answers must not keep the load running for ever.
            if sent >= max_windows and now - start_s > _LAST_VERDICT_S:
                break
        self.drain()
        return sent

    def _window(self, latencies_s: list[float], *, start_s: float, end_s: float, rejected: str | None) -> Window:
        import numpy as np

        p50, p95, p99 = np.percentile(latencies_s, (50, 95, 99))
        return Window(
            kind="steady",
            stage=self.stage.name,
            start_s=start_s,
            end_s=end_s,
            samples=self.stage.samples * len(latencies_s),
            iterations=len(latencies_s),
            latency_p50_s=float(p50),
            latency_p95_s=float(p95),
            latency_p99_s=float(p99),
            rejected=rejected,
        )


def compiled_inside(times: int) -> str | None:
    """Why a window in which code was compiled must not be used; None if none was."""
    return f"code was compiled {'once' if times == 1 else f'{times} times'} inside the window" if times else None

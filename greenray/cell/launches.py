"""Whether a GPU waits for its host: the load as it is measured against the same load that nobody waits for.

Who waits for each iteration leaves the board idle from its end until the first kernel of the next has been launched. Energy and
time look steady then, and are those of an idle board to a part that no window shows. Iterations that are asked for one after the
other and waited for once, at the end, have no such gaps.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from greenray.cell.stages import Load

BOUND = 1.15
_TURNS, _ITERATIONS, _LOOP_S = 3, 50, 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Launches:
    """Throughputs in samples a second: of the load as it is measured, and of the one that is waited for once."""

    synchronized_samples_per_s: float
    unsynchronized_samples_per_s: float
    end_s: float

    @property
    def ratio(self) -> float:
        return self.unsynchronized_samples_per_s / self.synchronized_samples_per_s

    @property
    def latency_bound(self) -> bool:
        return self.ratio > BOUND


def compare(load: Load) -> Launches:
    """The medians of three turns of both loops, 50 iterations each or what fits into half a second, in a `warmup` window."""
    synchronized, unsynchronized = [], []
    with load.marker.window("warmup", stage=load.stage.name) as window:
        before_s, _ = load.iterate()
        for _ in range(_TURNS):
            start_s, count = before_s, 0
            while count < _ITERATIONS and before_s - start_s < _LOOP_S:
                before_s, _ = load.iterate()
                count += 1
            synchronized.append(count * load.stage.samples / (before_s - start_s))
            start_s = load.drain()
            for _ in range(count):
                load.ask()
            unsynchronized.append(count * load.stage.samples / (load.drain() - start_s))
            before_s, _ = load.iterate()
            window.iterations += 2 * count + 1
        window.iterations += 1
        window.samples = window.iterations * load.stage.samples
        window.end_s = before_s
    return Launches(
        synchronized_samples_per_s=statistics.median(synchronized),
        unsynchronized_samples_per_s=statistics.median(unsynchronized),
        end_s=before_s,
    )


def worst(found: Sequence[Launches]) -> Launches | None:
    """That of the stage which waits most; None where none was compared."""
    return max(found, key=lambda one: one.ratio, default=None)

"""Whether a GPU waits for its host: the load as it is measured against the same load that nobody waits for.

Who waits for each iteration leaves the board idle from its end until the first kernel of the next has been launched. Energy and
time look steady then, and are those of an idle board to a part that no window shows. Iterations that are asked for one after the
other and waited for once, at the end, have no such gaps. Where the host takes longer to launch an iteration than the board to
compute it, though, both loops are as slow as the host: that shows only beside the time that the board itself needs.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from greenray.cell import runtime
from greenray.cell.stages import Load

BOUND = 1.15
"""A load is bound by launches when, not waited for, it is faster than waited for by more than this."""
_TURNS, _ITERATIONS, _LOOP_S = 3, 50, 0.5
_LONGEST_BUSY_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Launches:
    """How a load and its board keep pace.

    Attributes:
        synchronized_samples_per_s: throughput of the load as it is measured, each iteration waited for.
        unsynchronized_samples_per_s: of the same that is waited for once.
        device_time_share: what the board itself needs for an iteration, as a share (0-1) of the time between two of them.
        end_s: end of the last iteration.
    """

    synchronized_samples_per_s: float
    unsynchronized_samples_per_s: float
    device_time_share: float
    end_s: float

    @property
    def ratio(self) -> float:
        return self.unsynchronized_samples_per_s / self.synchronized_samples_per_s

    @property
    def latency_bound(self) -> bool:
        return self.ratio > BOUND


def compare(load: Load) -> Launches:
    """The medians of three turns, 50 iterations of both loops each or what fits into half a second, in a `warmup` window."""
    synchronized_s, unsynchronized_s, device_s = [], [], []
    with load.marker.window("warmup", stage=load.stage.name) as window:
        before_s, _ = load.iterate()
        for _ in range(_TURNS):
            start_s, count = before_s, 0
            while count < _ITERATIONS and before_s - start_s < _LOOP_S:
                before_s, _ = load.iterate()
                count += 1
            synchronized_s.append((before_s - start_s) / count)
            start_s = load.drain()
            for _ in range(count):
                load.ask()
            unsynchronized_s.append((load.drain() - start_s) / count)
            # Asked for while the board is busy, an iteration waits for nothing when its turn comes.
            device_s.append(runtime.device_time_s(load.ask, busy_s=min(2 * synchronized_s[-1], _LONGEST_BUSY_S)))
            before_s, _ = load.iterate()
            window.iterations += 2 * count + 2
        window.iterations += 1
        window.samples = window.iterations * load.stage.samples
        window.end_s = before_s
    iteration_s = statistics.median(synchronized_s)
    return Launches(
        synchronized_samples_per_s=load.stage.samples / iteration_s,
        unsynchronized_samples_per_s=load.stage.samples / statistics.median(unsynchronized_s),
        device_time_share=min(1.0, statistics.median(device_s) / iteration_s),
        end_s=before_s,
    )


def worst(found: Sequence[Launches]) -> Launches | None:
    """That of the stage whose loops differ most; None where none was compared."""
    return max(found, key=lambda one: one.ratio, default=None)

"""How many steady windows a process is to give: as many as make the most of its time.

Windows of one process vary less than processes do, and a process costs more than a window. With `n` windows a process, the
variance of a mean over a given time is least at n = sqrt(cost of a process / cost of a window x variance of windows / variance of
processes) (Kalibera and Jones, "Rigorous benchmarking in reasonable time", 2013). Both are learnt from this run's own attempts,
over all cells of a device, in logarithms of energy per sample.
"""

import math
from collections import defaultdict
from collections.abc import Iterable
from statistics import fmean, median, variance

from greenray.config.cell import Cell
from greenray.worker.assignment import AttemptResult

MOST = 4
"""Beyond, windows of one process repeat each other."""
_ENOUGH = 8  # degrees of freedom of either variance


class Windows:
    """What the attempts so far say of each device."""

    def __init__(self) -> None:
        self._attempts: dict[str, list[tuple[str, AttemptResult]]] = defaultdict(list)

    def take(self, cell: Cell, result: AttemptResult) -> None:
        """Learn from an attempt on a quiet host, if its steady windows can be told; of each kind of hardware by itself."""
        if not result.contended and result.steady_j and min(result.steady_j) > 0 and 0 < result.steady_s < result.duration_s:
            like = f"{cell.repeated_id} {result.cpu_name} {result.gpu_name}"
            self._attempts[cell.device].append((like, result))

    def best(self, device: str) -> int | None:
        """Windows a process, 1 to `MOST`; None until enough is known."""
        logs: dict[str, list[list[float]]] = defaultdict(list)
        for repeated_id, result in self._attempts[device]:
            logs[repeated_id].append([math.log(joules) for joules in result.steady_j])
        within = _pooled(values for processes in logs.values() for values in processes)
        between = _pooled([fmean(values) for values in processes] for processes in logs.values())
        if within is None or between is None:
            return None
        size = fmean(len(values) for processes in logs.values() for values in processes)
        own = between - within / size  # what is left when the windows' part is taken off
        window_s = median(result.steady_s / len(result.steady_j) for _, result in self._attempts[device])
        process_s = median(result.duration_s - result.steady_s for _, result in self._attempts[device])
        best = math.inf if own <= 0 else math.sqrt(process_s / window_s * within / own)
        return max(1, min(MOST, round(best) if best < MOST else MOST))


def _pooled(groups: Iterable[list[float]]) -> float | None:
    """Variance within groups; None where they are too few or too small to tell."""
    several = [group for group in groups if len(group) > 1]
    freedom = sum(len(group) - 1 for group in several)
    return sum(variance(group) * (len(group) - 1) for group in several) / freedom if freedom >= _ENOUGH else None

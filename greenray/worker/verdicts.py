"""When a cell has been measured enough, and which of its windows may be used.

The load runs until the 95 % t interval of the mean energy per sample is narrow enough, `max_windows` are there, or energy turns
out to be unreadable. A window in which code was compiled or the board's clock changed level counts neither towards `min_windows`
nor into the interval, but it does count towards `max_windows`: a board that never holds its clock ends there too, and then its
windows are kept, with a reason and a worse grade (C at worst), since a doubtful figure says more than none.
"""

import math
import statistics
from collections.abc import Sequence
from typing import Any

from scipy import stats

from greenray.config.settings import Measure

_WORSE = {"A": "B", "B": "C"}


def half_width(values: Sequence[float]) -> float | None:
    """Half-width of the 95 % t interval of a mean, as a share of it; None under two values, or where the mean is not positive."""
    if len(values) < 2 or statistics.fmean(values) <= 0:
        return None
    error: float = statistics.stdev(values) / math.sqrt(len(values))
    return float(stats.t.ppf(0.975, len(values) - 1)) * error / statistics.fmean(values)


def rejection(*, kind: str, device: str, said: str | None, clock_change: str | None) -> str | None:
    """Why a window must not be used, by the cell's word or the board's clock; None when it may.

    Only steady windows can be taken again, so only they are rejected for the clock; and on the cpu a board's clock says nothing.
    """
    return clock_change if said is None and kind == "steady" and device == "cuda" else said


class Verdicts:
    """The steady windows of one stage of an attempt so far."""

    def __init__(self, measure: Measure) -> None:
        self._measure = measure
        self._taken = self._unreadable = 0
        self._usable: list[float] = []

    def take(self, *, j_per_sample: float | None, rejected: bool) -> bool:
        """Take in one more window; returns whether there are enough of them.

        Args:
            j_per_sample: its energy per sample; None when unknown.
            rejected: whether it must not be used.
        """
        self._taken += 1
        if not rejected:
            if j_per_sample is None:
                self._unreadable += 1
            else:
                self._usable.append(j_per_sample)
        if self._taken >= self._measure.max_windows:
            return True
        if len(self._usable) < self._measure.min_windows:
            # Where energy cannot be read at all, more windows would not help.
            return not self._usable and self._unreadable >= self._measure.min_windows
        half = half_width(self._usable)
        return half is not None and half <= self._measure.target_ci


def keep_a_figure(rows: Sequence[dict[str, Any]], *, min_windows: int) -> None:
    """Takes back the rejections for the clock, in place, where fewer than `min_windows` steady windows would be left.

    Args:
        rows: the rows of `windows` of one stage, `rejected`, `clock_change`, `grade` and `grade_reasons` among their columns.
    """
    steady = [row for row in rows if row["kind"] == "steady"]
    for_clock = [row for row in steady if row["rejected"] is not None and row["rejected"] == row["clock_change"]]
    usable = sum(row["rejected"] is None for row in steady)
    if usable >= min_windows:
        return
    for row in for_clock:
        reason = f"{row['clock_change']}; used all the same: without such windows {usable} of {len(steady)} would be left"
        row["grade"] = _WORSE.get(row["grade"], row["grade"])
        row["grade_reasons"] = [*row["grade_reasons"], reason]
        row["rejected"] = None

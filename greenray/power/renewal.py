"""When to look again: extra reads around the moments at which a counter is expected to move.

Many boards renew counter and power every 100 ms or so, and not evenly. Samples 20 ms apart leave each such moment open by 20 ms,
which at 600 W is 12 J. A few reads around the expected moment, until the counter has moved, leave a fraction of that.
"""

import math

EXTRA_HZ = 40.0
"""Extra reads a second that a board may have on average: they cost less than half a percent of a core."""
_LEAST_S = 1e-3  # between two reads
_WORTH = 0.75  # of the sampling step: who knows an update as well as that beforehand gains little by looking
_PULL = 0.15  # of what an update was off counts for the expectation of the next
_REACH = 1.1


class Renewal:
    """Expects the next update of one counter, by all that were seen.

    Args:
        period_s, jitter_s: of the updates, and half-width of their deviation from a steady grid.
    """

    def __init__(self, *, period_s: float, jitter_s: float) -> None:
        self._period_s = period_s
        self._reach_s = _REACH * jitter_s
        self.step_s = max(_LEAST_S, self._reach_s / (EXTRA_HZ * period_s))
        self._expected_s = math.nan
        self._value = self._read_s = math.nan

    @classmethod
    def worth(cls, *, period_s: float | None, jitter_s: float, sampled_s: float) -> "Renewal | None":
        """For a counter that is sampled every `sampled_s`; None where extra reads would tell hardly anything."""
        if period_s is None or not period_s > 0:
            return None
        found = cls(period_s=period_s, jitter_s=jitter_s)
        return found if 2 * found._reach_s > _WORTH * sampled_s > 2 * found.step_s else None

    def saw(self, time_s: float, counter: float) -> None:
        """Takes a reading of the counter into account."""
        if math.isnan(counter):
            return
        if counter != self._value and not math.isnan(self._value):
            moment_s = (self._read_s + time_s) / 2
            if math.isnan(self._expected_s):
                self._expected_s = moment_s
            away_s = math.remainder(moment_s - self._expected_s, self._period_s)
            self._expected_s = moment_s - away_s + _PULL * away_s + self._period_s
        elif time_s > self._expected_s + self._reach_s:
            self._expected_s += self._period_s * math.ceil((time_s - self._expected_s) / self._period_s)
        self._value, self._read_s = counter, time_s

    def due_s(self) -> float:
        """When to read again besides the regular samples; infinite while nobody knows."""
        due_s = max(self._read_s + self.step_s, self._expected_s - self._reach_s)
        return due_s if due_s <= self._expected_s + self._reach_s else math.inf

"""Energy as a pure function of (readings, start, end): value, half-width, or the reason why it is unknown.

One curve of cumulative energy serves every window of a trace: energies add up, E(a, b) + E(b, c) = E(a, c), and none is negative.
"""

from dataclasses import dataclass, field

import numpy as np

from greenray.power.estimate.grid import Updates
from greenray.power.trace import Floats, Readings

NO_LENGTH = "the window has no length"
GAP_PERIODS = 5  # a pause of more sampling periods than this is a gap
BRIDGED_SHARE = 0.02
"""Of a window: so much of its power may be missing. Calls stall for 100 ms and more while another process makes a context."""
GAP_SHARE = 0.1  # a gap at an edge may widen the error up to this share of the energy
_RAPL_MOST_W = 1e4  # no processor, memory or platform uses more
SURE = 2.2
"""Half-width of a 95 % interval in deviations: 1.96 would do if errors were normal and independent. Over the made waves of
tests/power/test_accuracy.py this covers 97 % of windows at 3.3 times the mean error; a real host adds noise of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Energy:
    """One energy; None is unknown, and `reason` then says why, in a sentence.

    `error_j` is the half-width that covers the truth in 95 % of windows; `updates` of a counter lie inside the window.
    """

    energy_j: float | None = None
    error_j: float | None = None
    updates: int | None = None
    reason: str | None = None


def unknown(reason: str, *, updates: int | None = None) -> Energy:
    """An energy that is NULL, and why."""
    return Energy(reason=reason, updates=updates)


@dataclass(frozen=True, slots=True, kw_only=True)
class EnergyCurve:
    """Knots of a piecewise linear, never falling curve.

    Attributes:
        times: (n,) seconds.
        energy_j: (n,) energy since some moment, the same for all curves of one counter.
        slack_j: (n,) half-width of what is unknown about the curve between each knot and the next, whatever it is elsewhere.
        shift_j: (n,) half-width of what the neighbourhood may be off together, because all its updates were earlier or later.
        deviation_j: (n,) standard deviation of the energy at each knot; empty where there is none beside the slack.
        carry: (n,) how errors at two knots hang together, see `smoother.Course`.
    """

    times: Floats
    energy_j: Floats
    slack_j: Floats
    shift_j: Floats = field(default_factory=lambda: np.empty(0))
    deviation_j: Floats = field(default_factory=lambda: np.empty(0))
    carry: Floats = field(default_factory=lambda: np.empty(0))

    def at(self, time_s: float) -> float:
        """Energy up to a moment, NaN outside the knots."""
        if len(self.times) < 2 or not self.times[0] <= time_s <= self.times[-1]:
            return float("nan")
        return float(np.interp(time_s, self.times, self.energy_j))

    def error_j(self, start_s: float, end_s: float) -> float:
        """Half-width of the energy between two moments that lie within the knots; covers the truth in 95 % of windows."""
        first, last = self._piece(start_s), self._piece(end_s)
        slack_j = float(np.hypot(self.slack_j[first], self.slack_j[last]))
        if not len(self.deviation_j):
            return slack_j
        # What is late at both ends is missed at the one and found at the other.
        slack_j = float(np.hypot(slack_j, self.shift_j[last] - self.shift_j[first]))
        first_j, last_j = np.interp([start_s, end_s], self.times, self.deviation_j)
        before, after = np.interp([start_s, end_s], self.times, self.carry)
        variance = first_j**2 + last_j**2 - 2 * np.exp(after - before) * last_j**2
        return float(np.hypot(slack_j, SURE * np.sqrt(max(variance, 0.0))))

    def error_at(self, time_s: float) -> float:
        """Half-width of the energy up to one moment."""
        piece = self._piece(time_s)
        if not len(self.deviation_j):
            return float(self.slack_j[piece])
        deviation_j = float(np.interp(time_s, self.times, self.deviation_j))
        return float(np.linalg.norm([self.slack_j[piece], self.shift_j[piece], SURE * deviation_j]))

    def _piece(self, time_s: float) -> int:
        return int(np.clip(np.searchsorted(self.times, time_s, side="right") - 1, 0, len(self.slack_j) - 1))


def straight_curve(updates: Updates) -> EnergyCurve:
    """Without instant power: even power between updates, with the neighbouring intervals as a measure of what that misses."""
    length = np.diff(updates.times)
    mean_w = np.diff(updates.counter_j) / length
    timing_s = np.hypot(updates.half_widths_s, updates.phases_s)
    timing_s = np.maximum(timing_s[:-1], timing_s[1:])
    slack = np.hypot(timing_s * np.maximum(mean_w, 0), uneven_j(mean_w, length))
    # Some intervals more at each end, as if power went on as it was: a window's edge may lie beyond the updates that are known.
    beyond_s = 5 * float(np.median(length))
    before_j, after_j = (beyond_s * float(w.mean()) for w in (mean_w[:3], mean_w[-3:]))
    times = np.concatenate([[updates.times[0] - beyond_s], updates.times, [updates.times[-1] + beyond_s]])
    energy_j = np.concatenate([[updates.counter_j[0] - before_j], updates.counter_j, [updates.counter_j[-1] + after_j]])
    slack = np.concatenate([[slack[0] + before_j / 10], slack, [slack[-1] + after_j / 10]])
    return EnergyCurve(times=times, energy_j=energy_j, slack_j=slack)


def uneven_j(mean_w: Floats, length_s: Floats) -> Floats:
    """Slack of a straight line in each stretch: a quarter of what the mean powers of its neighbours and itself differ by."""
    padded_w = np.pad(mean_w, 1, mode="edge")
    slack_j: Floats = 0.25 * np.ptp(np.lib.stride_tricks.sliding_window_view(padded_w, 3), axis=1) * length_s
    return slack_j


def power_energy(samples: Readings, start_s: float, end_s: float, *, hz: float, lag_s: float = 0.0) -> Energy:
    """Integral of the column power_w from start_s to end_s.

    Gaps that add up to more than `BRIDGED_SHARE` of the window make it unknown. Over shorter ones power goes on in a straight
    line, and may have been anything that it was elsewhere in the window.

    Args:
        hz: sampling rate, which says what a gap is.
        lag_s: length over which the board averages what it calls power (1 s for the averaged reading).
    """
    problem = disorder(samples.times) if end_s > start_s else NO_LENGTH
    if problem is not None:
        return unknown(problem)
    times, power_w = samples.known("power_w")
    power_w = np.maximum(power_w, 0.0)
    if len(times) < 2 or times[0] > start_s or times[-1] < end_s:
        return unknown("power was not read over the whole window")
    # A sampling period between two readings is as it should be; of what is longer only that inside counts.
    gaps = [(end - begin, min(end, end_s) - max(begin, start_s) - 1 / hz) for begin, end in gaps_of(times, hz=hz)]
    missed_s = sum(max(inside_s, 0.0) for _, inside_s in gaps)
    if missed_s > BRIDGED_SHARE * (end_s - start_s):
        return unknown(f"no power reading for {max(gap_s for gap_s, inside_s in gaps if inside_s > 0):.2f} s")
    length_s = np.diff(times)
    climbed_j = np.concatenate([[0.0], np.cumsum(length_s * (power_w[1:] + power_w[:-1]) / 2)])
    touched = (times[1:] > start_s) & (times[:-1] < end_s)
    # A step between two samples lies anywhere between them: uniform, so its variance is a twelfth of the range squared.
    stretches_j = np.abs(np.diff(power_w)) * length_s / np.sqrt(12)
    slack_j = 1.96 * float(np.sqrt(np.sum(stretches_j[touched] ** 2)))
    if missed_s > 0:
        slack_j += missed_s * float(np.ptp(power_w[np.append(touched, False) | np.append(False, touched)]))
    if lag_s > 0:
        beside = np.append(touched, False) | np.append(False, touched)
        near = power_w[beside | ((times >= start_s - lag_s) & (times <= end_s + lag_s))]
        slack_j += lag_s * float(near.max() - near.min()) / 2
    before_j, after_j = (float(np.interp(moment_s, times, climbed_j)) for moment_s in (start_s, end_s))
    energy_j = after_j - before_j
    # The absolute error of a power sensor is some 5 %, which no trace can show.
    return Energy(energy_j=energy_j, error_j=float(np.hypot(slack_j, 0.05 * energy_j)))


def rapl_energy(samples: Readings, start_s: float, end_s: float, *, hz: float, range_j: float) -> Energy:
    """Energy of one RAPL domain: differences of a counter that moves every millisecond and wraps at `range_j`.

    A pause that may hide more than half a wrap makes it unknown.
    """
    problem = disorder(samples.times) if end_s > start_s else NO_LENGTH
    if problem is not None:
        return unknown(problem)
    times, counter = samples.known("counter_j")
    if len(times) < 2 or times[-1] <= start_s or times[0] >= end_s:
        return unknown("RAPL was not read during the window")
    steps = np.diff(counter)
    if np.isfinite(range_j) and range_j > 0:
        wrapped = steps < 0
        steps = np.where(wrapped, steps + range_j, steps)
        touched = (times[1:] > start_s) & (times[:-1] < end_s)
        # Counted from zero anew, the counter seems to have used what was left of its range, all at once.
        if np.any(touched & wrapped & ((steps < 0) | (steps > _RAPL_MOST_W * (np.diff(times) + 0.1)))):
            return unknown("the RAPL counter went backwards: it was reset")
        usual_w = float(np.median(steps / np.diff(times)))
        hidden_j = max(usual_w, 0.0) * np.diff(times)
        long = np.diff(times) > GAP_PERIODS / hz
        if np.any(touched & ((steps > range_j / 2) | (long & (hidden_j > range_j / 2)))):
            return unknown("RAPL was not read for more than half of its wrap")
    elif np.any(steps < 0):
        return unknown("the RAPL counter went backwards and its range is not known")
    curve = EnergyCurve(
        times=times, energy_j=np.concatenate([[0.0], np.cumsum(steps)]), slack_j=uneven_j(steps / np.diff(times), np.diff(times))
    )
    if not times[0] <= start_s or not end_s <= times[-1]:
        return unknown("RAPL was not read up to the edges of the window")
    energy_j = curve.at(end_s) - curve.at(start_s)
    error_j = curve.error_j(start_s, end_s)
    for begin, end in gaps_of(times, hz=hz):
        if (begin < start_s < end or begin < end_s < end) and error_j > GAP_SHARE * max(energy_j, 1e-9):
            return unknown(f"the recorder missed {end - begin:.2f} s at an edge of the window")
    return Energy(energy_j=energy_j, error_j=error_j)


def interpolate(times: Floats, values: Floats, at_s: float) -> float | None:
    """A steadily growing reading at a moment; None outside the readings."""
    valid = np.isfinite(values)
    times, values = times[valid], values[valid]
    if len(times) < 2 or not times[0] <= at_s <= times[-1]:
        return None
    return float(np.interp(at_s, times, values))


def gaps_of(times: Floats, *, hz: float) -> list[tuple[float, float]]:
    """Pauses of more than five sampling periods: (last reading before, first after)."""
    if len(times) < 2:
        return []
    at = np.flatnonzero(np.diff(times) > GAP_PERIODS / hz)
    return [(float(times[i]), float(times[i + 1])) for i in at]


def disorder(times: Floats) -> str | None:
    """Why samples at these times cannot be used; None when they can."""
    if len(times) > 1 and not np.all(np.diff(times) > 0):
        return "samples are repeated or out of order"
    return None

"""Cumulative energy as a function of time: one curve of a trace serves every window.

Energies therefore add up, E(a, b) + E(b, c) = E(a, c), and none is negative.
"""

from dataclasses import dataclass, field

import numpy as np

from greenray.power.estimate.grid import Updates
from greenray.power.trace import Floats

SURE = 2.2
"""Half-width of a 95 % interval in deviations: 1.96 would do if errors were normal and independent. Over the made waves of
tests/power/test_accuracy.py this covers 97 % of windows at 3.3 times the mean error; a real host adds noise of its own."""


def _none() -> Floats:
    return np.empty(0)


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
    shift_j: Floats = field(default_factory=_none)
    deviation_j: Floats = field(default_factory=_none)
    carry: Floats = field(default_factory=_none)

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


def power_curve(times: Floats, power_w: Floats) -> EnergyCurve:
    """Integral of sampled power by trapezoids; `slack_j` is the slack of each stretch on its own."""
    length = np.diff(times)
    pieces_j = length * (power_w[1:] + power_w[:-1]) / 2
    # A step between two samples lies anywhere between them: uniform, so its variance is a twelfth of the range squared.
    slack = np.abs(np.diff(power_w)) * length / np.sqrt(12)
    return EnergyCurve(times=times, energy_j=np.concatenate([[0.0], np.cumsum(pieces_j)]), slack_j=slack)

"""Cumulative energy as a function of time, from the counter's updates and the instant power between them.

The counter says exactly how much energy lies between two updates, the instant power says how it is spread there. Between two
power samples the energy lies between the lower and the higher of the two powers; within one update interval all such stretches
take the same share of that range, chosen so that they add up to what the counter says. A step of power is thereby put where it
must have been.

One curve serves every window, so energies add up: E(a, b) + E(b, c) = E(a, c), and none is negative.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from greenray.power.grid import Updates
from greenray.power.trace import Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class EnergyCurve:
    """Knots of a piecewise linear, never falling curve.

    Attributes:
        times: (n,) seconds.
        energy_j: (n,) energy since the first knot.
        slack_j: (n,) half-width of what is unknown about the curve from each knot to the next.
    """

    times: Floats
    energy_j: Floats
    slack_j: Floats

    def at(self, time_s: float) -> float:
        """Energy up to a moment, NaN outside the knots."""
        if len(self.times) < 2 or not self.times[0] <= time_s <= self.times[-1]:
            return float("nan")
        return float(np.interp(time_s, self.times, self.energy_j))

    def slack_at(self, time_s: float) -> float:
        """Half-width of `at`."""
        index = int(np.searchsorted(self.times, time_s, side="right")) - 1
        return float(self.slack_j[min(max(index, 0), len(self.slack_j) - 1)])


def counter_curve(updates: Updates, power_times: Floats, power_w: Floats) -> EnergyCurve:
    """The curve through all updates; `power_times`, `power_w` (m,) may be empty, then it is straight between updates."""
    if len(updates.times) < 2:
        return EnergyCurve(times=np.empty(0), energy_j=np.empty(0), slack_j=np.empty(0))
    if len(power_times) < 2:
        return _straight(updates)
    knots, steps_j = updates.times, np.diff(updates.counter_j)
    times = np.union1d(knots, power_times)
    left, right = times[:-1], times[1:]
    length = right - left
    before = np.clip(np.searchsorted(power_times, left, side="right") - 1, 0, len(power_times) - 1)
    after = np.clip(before + (left >= power_times[0]), 0, len(power_times) - 1)
    first_w, second_w = power_w[before], power_w[after]
    low_w, high_w = np.minimum(first_w, second_w), np.maximum(first_w, second_w)
    interval = np.searchsorted(knots, left, side="right") - 1
    known = (interval >= 0) & (interval < len(steps_j))
    index = np.clip(interval, 0, len(steps_j) - 1).astype(np.int64)

    least = np.bincount(index[known], (low_w * length)[known], minlength=len(steps_j))
    most = np.bincount(index[known], (high_w * length)[known], minlength=len(steps_j))
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(most > least, (steps_j - least) / (most - least), 0.5)
        share = np.clip(share, 0.0, 1.0)
        scale = steps_j / (least + share * (most - least))
    # Beyond the first and last update there is nothing to add up to: the power as it was read.
    at = np.where(known, share[index], 0.5)
    factor = np.where(known, scale[index], 1.0)
    # No power was read where the counter says there was some: spread it evenly.
    even = ~np.isfinite(factor)
    mean_w = steps_j / np.diff(knots)
    low_w, high_w = np.where(even, mean_w[index], low_w), np.where(even, mean_w[index], high_w)
    factor = np.where(even, 1.0, factor)

    falling = first_w > second_w
    first_s = np.where(falling, at, 1 - at) * length
    start_w = np.where(falling, high_w, low_w) * factor
    stop_w = np.where(falling, low_w, high_w) * factor
    # Two pieces a stretch: up to the step and after it.
    pieces_j = np.column_stack([start_w * first_s, stop_w * (length - first_s)]).ravel()
    ends = np.column_stack([left + first_s, right]).ravel()
    timing_s = _timing(updates, index, known)
    # A late or early update shifts the curve by the power around it, so a step nearby counts too.
    near_w = _widest(high_w * np.maximum(factor, 1.0), 2)
    slack = np.where(known, timing_s * near_w, 0.05 * high_w * length + timing_s * near_w)
    # Inside a stretch where the power moved the curve's form is a guess, and so is a scale far from 1.
    slack = np.hypot(slack, 0.12 * (high_w - low_w) * factor * length)
    slack = np.hypot(slack, 0.3 * np.abs(factor - 1) / np.maximum(factor, 1) * high_w * length)
    slack = np.where(known, slack, slack + np.abs(0.5 * (high_w - low_w) * length))
    return EnergyCurve(
        times=np.concatenate([times[:1], ends]),
        energy_j=np.concatenate([[0.0], np.cumsum(pieces_j)]),
        slack_j=np.repeat(slack, 2),
    )


def _straight(updates: Updates) -> EnergyCurve:
    """Without instant power: even power between updates, with the neighbouring intervals as a measure of what that misses."""
    length, steps_j = np.diff(updates.times), np.diff(updates.counter_j)
    mean_w = steps_j / length
    padded = np.concatenate([mean_w[:1], mean_w, mean_w[-1:]])
    spread_w = np.maximum.reduce([padded[:-2], mean_w, padded[2:]]) - np.minimum.reduce([padded[:-2], mean_w, padded[2:]])
    timing_s = np.maximum(updates.half_widths_s[:-1], updates.half_widths_s[1:])
    slack = np.hypot(timing_s * np.maximum(mean_w, 0), 0.25 * spread_w * length)
    # Some intervals more at each end, as if power went on as it was: a window's edge may lie beyond the updates that are known.
    beyond_s = 5 * float(np.median(length))
    before_j, after_j = (beyond_s * float(w.mean()) for w in (mean_w[:3], mean_w[-3:]))
    times = np.concatenate([[updates.times[0] - beyond_s], updates.times, [updates.times[-1] + beyond_s]])
    energy_j = np.concatenate([[updates.counter_j[0] - before_j], updates.counter_j, [updates.counter_j[-1] + after_j]])
    slack = np.concatenate([[slack[0] + before_j / 10], slack, [slack[-1] + after_j / 10]])
    return EnergyCurve(times=times, energy_j=energy_j - energy_j[0], slack_j=slack)


def _timing(updates: Updates, index: NDArray[np.int64], known: NDArray[np.bool_]) -> Floats:
    """Half-width of the time of the updates around each stretch."""
    worst = np.maximum(updates.half_widths_s[:-1], updates.half_widths_s[1:])
    half: Floats = np.where(known, worst[index], updates.half_widths_s.mean())
    return half


def _widest(values: Floats, reach: int) -> Floats:
    """The largest of each value and its `reach` neighbours on both sides."""
    padded = np.pad(values, reach, mode="edge")
    largest: Floats = np.maximum.reduce([padded[i : i + len(values)] for i in range(2 * reach + 1)])
    return largest


def power_curve(times: Floats, power_w: Floats) -> EnergyCurve:
    """Integral of sampled power by trapezoids; `slack_j` is the slack of each stretch on its own."""
    length = np.diff(times)
    pieces_j = length * (power_w[1:] + power_w[:-1]) / 2
    # A step between two samples lies anywhere between them: uniform, so its deviation is a twelfth of the range squared.
    slack = np.abs(np.diff(power_w)) * length / np.sqrt(12)
    return EnergyCurve(times=times, energy_j=np.concatenate([[0.0], np.cumsum(pieces_j)]), slack_j=slack)

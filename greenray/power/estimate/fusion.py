"""The energy curve of a board: its counter's updates and its instant power, put together.

The counter says exactly how much energy there was up to an update, though not quite when that update was; the instant power says
how the energy is spread in between, though not quite when it stepped. `smoother` weighs the two against each other: a flat
stretch of power averages the jitter of the updates in it, a step is put where the updates around it say that it must have been.

What the board does not tell is read off the trace: by what factor its power is off, how much later than the counter it is told,
how restless it is between two samples. Of several readings the one counts that makes the counter's updates most likely.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from greenray.power.estimate.energy import SURE, EnergyCurve, straight_curve
from greenray.power.estimate.grid import Updates
from greenray.power.estimate.smoother import Course, smooth
from greenray.power.trace import Floats

_GAIN_DEVIATION = 0.05  # how far a board's power reading may be off by a factor (NVIDIA states 5 %)
# How far power strays between two samples that agree, as a share: the trace itself says which fits (a matrix product hardly does,
# a launch-bound model does all the time).
_UNRESTS = (3e-4, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0)
_MISPLACED = 4.5  # deviations by which an update may miss the curve before its place on the grid is given up
_MISPLACED_SHARE = 0.05  # if there are more of them, it is the power that does not fit
_FORM = 0.02  # of a step's energy between two samples: what it may be off inside by not being one step
_ROUGH = 0.1  # of a smooth change of power: what may be a step in it
_LAGS_S = np.arange(0.0, 0.151, 0.005)  # power that is told later than that is no instant power
_LEAST_NEWS, _STALE = 8, 0.7  # readings that changed: so many at least, and so few of all that the board renews them seldom
_LONG = 3.0  # sampling periods without power after which it may have been anything in between


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stretches:
    """What power says between neighbouring moments; moments (n,) are all power samples and all updates.

    Attributes:
        first_w, second_w: (n - 1,) power sampled before and after the stretch.
        mean_w: (n - 1,) expected mean power of the stretch.
        period_s: (n - 1,) from the one sample to the other.
        doubt_w: (n - 1,) how far apart the highest and the lowest power in the stretch may be.
        blind: (n - 1,) whether power was not read there for so long that it may have been anything.
        at: (m,) indices of the updates among the moments.
    """

    moments: Floats
    first_w: Floats
    second_w: Floats
    mean_w: Floats
    period_s: Floats
    doubt_w: Floats
    blind: NDArray[np.bool_]
    at: NDArray[np.int64]

    @property
    def length_s(self) -> Floats:
        return np.diff(self.moments)

    @property
    def step_variances(self) -> Floats:
        """A step is anywhere between two samples: uniform, a twelfth of the range squared, over the parts of the period."""
        variances: Floats = self.doubt_w**2 * self.period_s * self.length_s / 12
        return variances


def counter_curve(updates: Updates, power_times: Floats, power_w: Floats) -> EnergyCurve:
    """The curve through all updates; `power_times`, `power_w` (m,) may be empty, then it is straight between updates."""
    if len(updates.times) < 2:
        return EnergyCurve(times=np.empty(0), energy_j=np.empty(0), slack_j=np.empty(0))
    if len(power_times) < 2:
        return straight_curve(updates)
    fits: list[tuple[Course, _Stretches, float, float]] = []
    for times, watts in _interpretations(updates, power_times, power_w):
        stretches = _stretches(updates, times, watts)
        gain, gain_deviation = _gain(stretches, updates)
        fits.append((_course(stretches, updates, gain=gain), stretches, gain, gain_deviation))
    course, stretches, gain, gain_deviation = max(fits, key=lambda fit: fit[0].evidence)
    return _drawn(stretches, course, updates, gain=gain, gain_deviation=gain_deviation)


def _interpretations(updates: Updates, times: Floats, watts: Floats) -> Iterator[tuple[Floats, Floats]]:
    """What power readings may mean: power at that moment, or when the reading last changed, or some time before either.

    Boards differ in it and do not tell, but only one of these fits the counter.
    """
    readings = [(times, watts)]
    news = np.flatnonzero(np.diff(watts, prepend=np.nan) != 0)
    if _LEAST_NEWS < len(news) < _STALE * len(watts):
        readings.append((times[news], watts[news]))
    for moments, values in readings:
        yield moments, values
        lag_s = _lag(updates, moments, values)
        if lag_s > 0:
            yield moments - lag_s, values


def _lag(updates: Updates, times: Floats, watts: Floats) -> float:
    """By how much power is told later than the counter, seconds: the shift that explains the counter best; 0 if hardly better."""
    spent_j = np.concatenate([[0.0], np.cumsum(np.diff(times) * (watts[1:] + watts[:-1]) / 2)])
    counted_j = np.diff(updates.counter_j)
    inside = (updates.times[:-1] >= times[0]) & (updates.times[1:] + _LAGS_S[-1] <= times[-1])
    if np.count_nonzero(inside) < 4:
        return 0.0
    by_power_j = np.array([np.diff(np.interp(updates.times + lag_s, times, spent_j))[inside] for lag_s in _LAGS_S])
    gains = by_power_j @ counted_j[inside] / np.maximum((by_power_j**2).sum(axis=1), 1e-12)
    misfit = ((gains[:, None] * by_power_j - counted_j[inside]) ** 2).sum(axis=1)
    best = int(np.argmin(misfit))
    return float(_LAGS_S[best]) if misfit[best] < 0.8 * misfit[0] else 0.0


def _stretches(updates: Updates, power_times: Floats, power_w: Floats) -> _Stretches:
    moments = np.union1d(updates.times, power_times)
    left, right = moments[:-1], moments[1:]
    before = np.clip(np.searchsorted(power_times, left, side="right") - 1, 0, len(power_times) - 1)
    after = np.clip(before + (left >= power_times[0]), 0, len(power_times) - 1)
    first_w, second_w = power_w[before], power_w[after]
    period_s = np.maximum(power_times[after] - power_times[before], right - left)
    blind = (period_s > _LONG * float(np.median(np.diff(power_times)))) | (before == after)
    step_w, bend_w = (values[np.minimum(before, len(power_times) - 2)] for values in _form(power_w))
    # A step that may be anywhere between two samples, and a straight ramp, have the same mean course; a bend adds its parabola.
    begin, end = (np.clip((moment - power_times[before]) / period_s, 0.0, 1.0) for moment in (left, right))
    parabola = (end**2 - begin**2) / 2 - (end**3 - begin**3) / 3
    bulge_w = np.where(blind, 0.0, bend_w / 2 * parabola / np.maximum(end - begin, 1e-9))
    return _Stretches(
        moments=moments,
        first_w=first_w,
        second_w=second_w,
        mean_w=np.maximum(first_w + (begin + end) / 2 * (second_w - first_w) - bulge_w, 0.0),
        period_s=period_s,
        doubt_w=np.where(blind, np.maximum(step_w, np.ptp(power_w)), step_w),
        blind=blind,
        at=np.searchsorted(moments, updates.times).astype(np.int64),
    )


def _form(power_w: Floats) -> tuple[Floats, Floats]:
    """How power may go from each sample to the next, (n - 1,) each: the step that may be hidden there, the bend of its course.

    A ramp moves on as it did before and will do after, a curve bends as it did before and will do after; a step does neither.
    """
    moved_w = np.diff(power_w, prepend=power_w[:1], append=power_w[-1:])
    smooth_w = np.median([moved_w[:-2], moved_w[1:-1], moved_w[2:]], axis=0)
    turned_w = np.diff(moved_w)
    bend_w = np.where(turned_w[:-1] * turned_w[1:] > 0, np.minimum(np.abs(turned_w[:-1]), np.abs(turned_w[1:])), 0.0)
    step_w = np.abs(moved_w[1:-1] - smooth_w) + _ROUGH * (np.abs(moved_w[1:-1]) + bend_w)
    return step_w, bend_w * np.sign(turned_w[:-1])


def _gain(stretches: _Stretches, updates: Updates) -> tuple[float, float]:
    """Joules of the counter for each joule of power, and its deviation.

    Flat stretches tell most where updates are sharp, long ones where updates jitter: whichever tells more.
    """
    found = [_gain_over(stretches, updates, every=every) for every in (1, 4, 16, 64) if every < len(updates.times)]
    return min(found, key=lambda gain: gain[1])


def _gain_over(stretches: _Stretches, updates: Updates, *, every: int) -> tuple[float, float]:
    """The gain by intervals of so many updates."""
    at = stretches.at[::every]

    def between(values: Floats) -> Floats:
        return np.diff(np.concatenate([[0.0], np.cumsum(values)])[at])

    by_power_j, counted_j = between(stretches.mean_w * stretches.length_s), np.diff(updates.counter_j[::every])
    around_w = np.maximum(counted_j, by_power_j) / np.diff(updates.times[::every])
    moment_s = updates.half_widths_s[::every]
    variances = between(stretches.step_variances) + around_w**2 * (moment_s[:-1] ** 2 + moment_s[1:] ** 2) / 3 + 1e-6
    seen = between(stretches.blind.astype(np.float64)) == 0
    weight = np.where(seen, 1 / variances, 0.0)
    # The board's maker says what to expect; over a short trace that is the better guess.
    precision = float(np.sum(weight * by_power_j**2)) + 1 / _GAIN_DEVIATION**2
    gain = (float(np.sum(weight * by_power_j * counted_j)) + 1 / _GAIN_DEVIATION**2) / precision
    return gain, 1 / float(np.sqrt(precision))


def _course(stretches: _Stretches, updates: Updates, *, gain: float) -> Course:
    """The most likely course of energy, for the unrest of power that makes the readings most likely."""
    mean_w, length_s, at = gain * stretches.mean_w, stretches.length_s, stretches.at
    high_w = gain * np.maximum(stretches.first_w, stretches.second_w)
    around_w = np.maximum(high_w[np.maximum(at - 1, 0)], high_w[np.minimum(at, len(high_w) - 1)])
    steps = gain**2 * stretches.step_variances
    # Power is restless beside its steps too: they may lie a sample further on.
    padded_w = np.pad(high_w, 3, mode="edge")
    restless_w = np.maximum(np.max(np.lib.stride_tricks.sliding_window_view(padded_w, 7), axis=1), 1.0)

    def course(unrest: float, half_widths_s: Floats) -> Course:
        return smooth(
            increments_j=mean_w * length_s,
            increment_variances=steps + (unrest * restless_w) ** 2 * stretches.period_s * length_s + 1e-9,
            at=at,
            counter_j=updates.counter_j,
            counter_variances=(around_w * half_widths_s) ** 2 / 3 + 1e-6,
        )

    half_widths_s = updates.half_widths_s
    best = max((course(unrest, half_widths_s) for unrest in _UNRESTS), key=lambda found: found.evidence)
    misplaced = np.abs(best.residuals) > _MISPLACED
    if 0 < np.count_nonzero(misplaced) <= max(1, _MISPLACED_SHARE * len(misplaced)):
        half_widths_s = np.where(misplaced, np.maximum(updates.brackets_s, half_widths_s), half_widths_s)
        best = max((course(unrest, half_widths_s) for unrest in _UNRESTS), key=lambda found: found.evidence)
    return best


def _drawn(stretches: _Stretches, course: Course, updates: Updates, *, gain: float, gain_deviation: float) -> EnergyCurve:
    """The course as a curve: two pieces a stretch, up to the step of power and after it."""
    moments, length_s = stretches.moments, stretches.length_s
    # Energy never falls: where the estimate does, halfway between what it was before and what it is after.
    risen_j = np.maximum.accumulate(course.energy_j) + np.minimum.accumulate(course.energy_j[::-1])[::-1]
    spent_j = np.diff(risen_j / 2)
    first_w, second_w = gain * stretches.first_w, gain * stretches.second_w
    low_w, high_w = np.minimum(first_w, second_w), np.maximum(first_w, second_w)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.clip((spent_j / length_s - low_w) / (high_w - low_w), 0.0, 1.0)
        share = np.where(np.isfinite(share), share, 0.5)
        factor = spent_j / (length_s * (low_w + share * (high_w - low_w)))
    # No power was read where the counter says there was some: spread it evenly.
    even = ~np.isfinite(factor)
    mean_w = spent_j / length_s
    before_w = np.where(even, mean_w, first_w * np.where(even, 1.0, factor))
    after_w = np.where(even, mean_w, second_w * np.where(even, 1.0, factor))
    first_s = np.where(first_w > second_w, share, 1 - share) * length_s
    # A smooth change is no step: two halves, each at its own mean.
    gentle = gain * stretches.doubt_w < (high_w - low_w) / 2
    scale = np.where(mean_w > 0, 2 * mean_w / np.maximum(first_w + second_w, 1e-9), 0.0)
    before_w = np.where(gentle, scale * (3 * first_w + second_w) / 4, before_w)
    after_w = np.where(gentle, scale * (first_w + 3 * second_w) / 4, after_w)
    first_s = np.where(gentle, length_s / 2, first_s)
    pieces_j = np.column_stack([before_w * first_s, after_w * (length_s - first_s)]).ravel()
    times = np.concatenate([moments[:1], np.column_stack([moments[:-1] + first_s, moments[1:]]).ravel()])
    # Where power moved, the form of the curve between two moments is a guess.
    form_j = (_FORM * gain * stretches.doubt_w + np.where(gentle, (high_w - low_w) / 32, 0.0)) * length_s
    # Away from updates power alone tells, and all of it may be off by a little.
    middle = (moments[:-1] + moments[1:]) / 2
    following = np.clip(np.searchsorted(updates.times, middle), 1, len(updates.times) - 1)
    away_s = np.minimum(np.abs(middle - updates.times[following - 1]), np.abs(updates.times[following] - middle))
    form_j = np.hypot(form_j, 2 * SURE * gain_deviation * mean_w * away_s)
    phase_s = np.interp(moments[:-1], updates.times, updates.phases_s)
    return EnergyCurve(
        times=times,
        energy_j=risen_j[0] / 2 + np.concatenate([[0.0], np.cumsum(pieces_j)]),
        slack_j=np.repeat(form_j, 2),
        shift_j=(phase_s[:, None] * np.column_stack([before_w, after_w])).ravel(),
        deviation_j=np.interp(times, moments, course.deviation_j),
        carry=np.interp(times, moments, course.carry),
    )

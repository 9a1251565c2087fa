"""When did the energy counter move? Snapping observed changes to the counter's own update grid.

A sample shows only that the counter moved since the sample before: a bracket of 20 ms at 50 Hz, which at 600 W is worth 12 J at
each edge of a window. But boards update their counters at a steady rate. Brackets taken out of step with that rate overlap in the
true phase, so some fifty of them pin it down to about a millisecond, and every change can be placed on the grid.
"""

import itertools
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from greenray.power.trace import Floats

_CHUNK = 48  # updates whose phase is taken as one; their span keeps an error of 0.1 % of the period below a twentieth of it
_SURE = 1.96  # half-width of a 95 % interval in deviations
_PERIOD_DEVIATION = 3e-4  # of a period that was measured for a second, as a share; jitter adds to it
_ROUNDS, _STILL = 4, 0.5  # the period is corrected until a phase drifts by less than this share of its width within a chunk
_COARSE, _FINE = 96, 48  # phases that are tried: over a whole period, and around the best of them
_LEAST_AGREEMENT = 0.9  # share of changes that lie on the grid, else there is none
_STRAY = 0.01  # probability of a sample that does not fit
_SHARPEST_S = 3e-5  # no sampling time is known better than that
_WIDEST_PHASE = 0.25  # of a period: samples in step with the counter say nothing about its phase


@dataclass(frozen=True, slots=True, kw_only=True)
class Updates:
    """Moments at which the counter moved, (n,) each.

    Attributes:
        half_widths_s: by how much each moment on its own may be off: the jitter of the counter.
        phases_s: by how much it may be off together with its neighbours: the phase of their grid.
        brackets_s: half of the time between the samples on its two sides, which bounds both.
        seen_s: moments of the samples that saw it moved.
        counter_j: the counter from then on, joules.
    """

    times: Floats
    half_widths_s: Floats
    phases_s: Floats
    brackets_s: Floats
    seen_s: Floats
    counter_j: Floats


def changes(times: Floats, counter_j: Floats) -> tuple[Floats, Floats, Floats]:
    """Brackets (after, until] in which the counter moved, and its value then."""
    moved = np.flatnonzero(np.diff(counter_j) != 0) + 1
    return times[moved - 1], times[moved], counter_j[moved]


def period_of(times: Floats, counter_j: Floats) -> float:
    """The counter's update period in seconds, NaN where the samples are too coarse or too few to tell.

    Counts changes between the first and the last; that is right only while no two updates fall between two samples.
    """
    after, until, _ = changes(times, counter_j)
    if len(until) < 4:
        return float("nan")
    period = float((until[-1] + after[-1] - until[0] - after[0]) / 2 / (len(until) - 1))
    return period if period > 1.5 * float(np.median(np.diff(times))) else float("nan")


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Where a counter with a steady period moves; empty arrays when the samples agree on no grid."""

    origin_s: float
    period_s: float
    centres: Floats
    drifts: Floats
    widths: Floats

    def last_before(self, moments: Floats) -> Floats:
        """The last grid point at or before each moment."""
        shift = self.origin_s + np.interp(moments, self.centres, self.drifts)
        found: Floats = shift + self.period_s * np.floor((moments - shift) / self.period_s)
        return found

    def half_width_at(self, moments: Floats) -> Floats:
        """How exactly the grid is known there, seconds."""
        return np.interp(moments, self.centres, self.widths)


def locate(times: Floats, counter_j: Floats, *, period_s: float, jitter_s: float = 0.0) -> Updates:
    """The counter's updates as exactly as the samples allow.

    Args:
        times, counter_j: (n,) increasing seconds, and the counter then: no NaN, not decreasing.
        period_s: measured update period; NaN leaves every update at the middle of its bracket.
        jitter_s: measured half-width of the updates' deviation from their grid.
    """
    after, until, value = changes(times, counter_j)
    middle, half = (after + until) / 2, (until - after) / 2
    plain = Updates(
        times=middle, half_widths_s=half, phases_s=np.zeros(len(half)), brackets_s=half, seen_s=until, counter_j=value
    )
    if not np.isfinite(period_s) or period_s <= 0 or len(until) < 6:
        return plain
    grid = _grid(times, np.diff(counter_j) != 0, period_s=period_s, jitter_s=jitter_s)
    if len(grid.centres) == 0:
        # Where several updates fit between two samples, the last of them was at most a period before the second sample.
        close = np.minimum(half, period_s / 2 + jitter_s)
        return replace(plain, times=until - close, half_widths_s=close)
    tolerance_s = 1.2 * jitter_s + grid.half_width_at(until) + 2e-4
    # The counter shows its last update: the last grid point that can lie before the sample which saw the change.
    last = grid.last_before(until + tolerance_s)
    inside = last > after - tolerance_s
    if np.mean(inside) < _LEAST_AGREEMENT:
        return plain
    # A grid point within the tolerance of the sample may or may not have been seen, unless the one before it is excluded.
    doubtful = inside & (last > until - tolerance_s) & (last - period_s > after - tolerance_s)
    # Samples and counter drift past each other: doubt lasts for a while, so every fourth stays, at the middle of its bracket.
    place = np.arange(len(last))
    since = place - np.maximum.accumulate(np.where(doubtful, -1, place))
    keep = since % 4 == 0
    inside &= ~doubtful
    # What the jitter allows, as far as the samples do.
    earliest, latest = np.maximum(after, last - jitter_s), np.minimum(until, last + jitter_s)
    possible = inside & (latest > earliest)
    moments = np.where(possible, (earliest + latest) / 2, np.where(inside, np.clip(last, after, until), middle))
    # Two changes that landed on one moment cannot both have been there; the later one's energy goes to the next.
    keep &= moments > np.concatenate([[-np.inf], np.maximum.accumulate(moments)[:-1]])
    return Updates(
        times=moments[keep],
        half_widths_s=np.where(inside, np.where(possible, np.maximum(latest - earliest, 0.0) / 2, _SHARPEST_S), half)[keep],
        phases_s=np.where(inside, np.minimum(half, grid.half_width_at(until)), 0.0)[keep],
        brackets_s=half[keep],
        seen_s=until[keep],
        counter_j=value[keep],
    )


def _grid(times: Floats, moved: NDArray[np.bool_], *, period_s: float, jitter_s: float) -> Grid:
    """A straight grid through all chunks where they allow it, for many phases are surer than one; else chunk by chunk."""
    # The period is known beforehand as well as calibration can know it, and the phases say more.
    deviation = _PERIOD_DEVIATION + 3 * jitter_s * np.sqrt(period_s)
    corrected_s = period_s
    for _ in range(_ROUNDS):
        found = _phase(times, moved, period_s=corrected_s, jitter_s=jitter_s)
        if not len(found.centres):
            return found
        middle = float(np.average(found.centres, weights=found.widths**-2))
        away, weight = found.centres - middle, (_SURE / found.widths) ** 2
        covariance = np.linalg.inv([[weight.sum(), weight @ away], [weight @ away, weight @ away**2 + deviation**-2]])
        known = (period_s / corrected_s - 1) * deviation**-2
        offset, slope = covariance @ [weight @ found.drifts, weight @ (away * found.drifts) + known]
        # A phase that drifts within its chunk is none: the next round has a period with which it does not.
        if abs(slope) * float(times[-1] - times[0]) < _STILL * float(found.widths.min()) * len(found.centres):
            break
        corrected_s *= 1 + float(slope)
    if np.any(np.abs(found.drifts - offset - slope * away) > 2 * found.widths):
        return found
    away = np.linspace(times[0], times[-1], 65) - middle
    variances = covariance[0, 0] + 2 * covariance[0, 1] * away + covariance[1, 1] * away**2
    return replace(found, centres=middle + away, drifts=offset + slope * away, widths=_SURE * np.sqrt(variances))


def _phase(times: Floats, moved: NDArray[np.bool_], *, period_s: float, jitter_s: float) -> Grid:
    """The grid's drift against a nominal period, chunk by chunk; within a chunk it is taken as one. `moved` is (n - 1,)."""
    chunks = max(1, round((times[-1] - times[0]) / (_CHUNK * period_s)))
    bounds = np.searchsorted(times, np.linspace(times[0], times[-1], chunks + 1))
    found: list[tuple[float, float, float]] = []
    for first, end in itertools.pairwise(bounds.tolist()):
        after, until = times[first:end], times[first + 1 : end + 1]
        if np.count_nonzero(moved[first:end]) < 3:
            continue
        centre = times[0] + period_s * round(float(until.mean() - times[0]) / period_s)
        # A short interval without a change says nothing that the change beside it does not: it would be counted twice.
        telling = moved[first:end] | (until - after > period_s / 2)
        seen = (after - centre)[telling], (until - centre)[telling], moved[first:end][telling]
        phase_s, width_s = _most_likely(*seen, period_s=period_s, jitter_s=jitter_s)
        if width_s < _WIDEST_PHASE * period_s:
            found.append((centre, phase_s, width_s))
    centres, drifts, widths = np.array(found).reshape(-1, 3).T
    drifts = np.unwrap(drifts, period=period_s)
    return Grid(origin_s=float(times[0]), period_s=period_s, centres=centres, drifts=drifts, widths=widths)


def _most_likely(
    after: Floats, until: Floats, moved: NDArray[np.bool_], *, period_s: float, jitter_s: float
) -> tuple[float, float]:
    """The phase (seconds, modulo the period) and its 95 % half-width: first anywhere, then closely around what was found.

    (n,) each: sampling intervals (after, until] in seconds from a common origin, and whether the counter moved in it.
    """
    centre_s, reach_s = 0.0, period_s / 2
    for points in (_COARSE, _FINE, _FINE):
        phases_s = centre_s + reach_s * (np.arange(points) + 0.5 - points / 2) * 2 / points
        step_s = 2 * reach_s / points
        log = _log_likelihood(after, until, moved, phases_s, period_s=period_s, jitter_s=max(jitter_s, step_s / 2, _SHARPEST_S))
        weight = np.exp(log - log.max())
        weight /= weight.sum()
        turn = np.exp(2j * np.pi * phases_s / period_s)
        mean = complex((weight * turn).sum())
        centre_s = float(np.angle(mean) / (2 * np.pi) * period_s)
        away_s = np.mod(phases_s - centre_s + period_s / 2, period_s) - period_s / 2
        spread_s = float(np.sqrt((weight * away_s**2).sum()))
        reach_s = min(reach_s, 4 * spread_s + 2 * step_s)
    return centre_s, _SURE * float(np.hypot(spread_s, step_s / 2))


def _log_likelihood(
    after: Floats, until: Floats, moved: NDArray[np.bool_], phases_s: Floats, *, period_s: float, jitter_s: float
) -> Floats:
    """Of grids of these phases (m,), with updates spread evenly within the jitter around their grid points."""
    middle, half = (after + until)[:, None] / 2, (until - after)[:, None] / 2
    offset = np.mod(middle - phases_s + period_s / 2, period_s) - period_s / 2
    missed = np.ones_like(offset)
    for neighbour in (-period_s, 0.0, period_s):
        inside = np.minimum(offset + neighbour + half, jitter_s) - np.maximum(offset + neighbour - half, -jitter_s)
        missed *= 1 - np.clip(inside / (2 * jitter_s), 0.0, 1.0)
    # A reading may be late, or the counter: nothing is quite impossible.
    missed = np.clip(missed, _STRAY, 1 - _STRAY)
    log: Floats = np.where(moved[:, None], np.log1p(-missed), np.log(missed)).sum(axis=0)
    return log

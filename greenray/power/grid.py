"""When did the energy counter move? Snapping observed changes to the counter's own update grid.

A sample shows only that the counter moved since the sample before: a bracket of 20 ms at 50 Hz, which at 600 W is worth 12 J at
each edge of a window. But boards update their counters at a steady rate. Brackets taken out of step with that rate overlap in the
true phase, so some fifty of them pin it down to about a millisecond, and every change can be placed on the grid.
"""

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from greenray.power.trace import Floats

_BINS = 256
_CHUNK = 48  # updates whose phase is taken as one; their span keeps an error of 0.1 % of the period below a twentieth of it
_LEAST_AGREEMENT = 0.6  # of a chunk's votes, else the counter has no steady grid
_WIDEST_PHASE = 0.25  # of a period: samples in step with the counter say nothing about its phase


@dataclass(frozen=True, slots=True, kw_only=True)
class Updates:
    """Moments at which the counter moved, (n,) each: time and its half-width in seconds, and the counter after it in joules."""

    times: Floats
    half_widths_s: Floats
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
        times: (n,) sampling times, increasing, seconds.
        counter_j: (n,) counter at these times, no NaN, not decreasing.
        period_s: measured update period; NaN leaves every update at the middle of its bracket.
        jitter_s: measured half-width of the updates' deviation from their grid.
    """
    after, until, value = changes(times, counter_j)
    middle, half = (after + until) / 2, (until - after) / 2
    plain = Updates(times=middle, half_widths_s=half, counter_j=value)
    if not np.isfinite(period_s) or period_s <= 0 or len(until) < 6:
        return plain
    grid = _grid(times, np.diff(counter_j) != 0, period_s=period_s, jitter_s=jitter_s)
    if len(grid.centres) == 0:
        return plain
    tolerance_s = 1.2 * jitter_s + grid.half_width_at(until) + 2e-4
    # The counter shows its last update: the last grid point that can lie before the sample which saw the change.
    last = grid.last_before(until + tolerance_s)
    inside = last > after - tolerance_s
    # A grid point within the tolerance of the sample may or may not have been seen, unless the one before it is excluded.
    doubtful = inside & (last > until - tolerance_s) & (last - period_s > after - tolerance_s)
    # Samples and counter drift past each other: doubt lasts for a while, so every fourth stays, at the middle of its bracket.
    place = np.arange(len(last))
    since = place - np.maximum.accumulate(np.where(doubtful, -1, place))
    keep = since % 4 == 0
    inside &= ~doubtful
    moments = np.where(inside, np.clip(last, after, until), middle)
    # Two changes that landed on one moment cannot both have been there; the later one's energy goes to the next.
    keep &= moments > np.concatenate([[-np.inf], np.maximum.accumulate(moments)[:-1]])
    half_width = np.minimum(half, np.hypot(max(jitter_s, 2e-4), grid.half_width_at(until)))
    return Updates(
        times=moments[keep],
        half_widths_s=np.where(inside, half_width, half)[keep],
        counter_j=value[keep],
    )


def _grid(times: Floats, moved: NDArray[np.bool_], *, period_s: float, jitter_s: float) -> Grid:
    """The grid at the measured period, then at the period that the first grid's drift shows to be the true one."""
    first = _phase(times, moved, period_s=period_s, jitter_s=jitter_s)
    if len(first.centres) < 3:
        return first
    drift = float(np.polyfit(first.centres, first.drifts, 1)[0])
    second = _phase(times, moved, period_s=period_s * (1 + drift), jitter_s=jitter_s, chunk=4 * _CHUNK)
    return second if len(second.centres) else first


def _phase(times: Floats, moved: NDArray[np.bool_], *, period_s: float, jitter_s: float, chunk: int = _CHUNK) -> Grid:
    """The grid's drift against the nominal period, chunk by chunk: a slightly wrong period then does no harm.

    Args:
        times: (n,) sampling times.
        moved: (n - 1,) whether the counter moved between two samples.
        period_s: nominal update period.
        jitter_s: half-width of the updates' deviation from the grid.
    """
    chunks = max(1, round((times[-1] - times[0]) / (chunk * period_s)))
    bounds = np.searchsorted(times, np.linspace(times[0], times[-1], chunks + 1))
    centres: list[float] = []
    drifts: list[float] = []
    widths: list[float] = []
    for first, end in itertools.pairwise(bounds.tolist()):
        after, until = times[first:end], times[first + 1 : end + 1]
        centre = times[0] + period_s * round(float(until.mean() - times[0]) / period_s)
        phase_s, width_s = _vote(after - centre, until - centre, moved[first:end], period_s=period_s, jitter_s=jitter_s)
        if np.isfinite(phase_s):
            centres.append(centre)
            drifts.append(phase_s)
            widths.append(width_s)
    return Grid(
        origin_s=float(times[0]),
        period_s=period_s,
        centres=np.array(centres),
        drifts=np.unwrap(np.array(drifts), period=period_s) if drifts else np.empty(0),
        widths=np.array(widths),
    )


def _vote(after: Floats, until: Floats, moved: NDArray[np.bool_], *, period_s: float, jitter_s: float) -> tuple[float, float]:
    """The phase (seconds, modulo the period) that agrees with most sampling intervals, and its half-width.

    An interval in which the counter moved votes for the phases inside it, one in which it did not against them.
    """
    votes, wanted = _votes(after, until, moved, period_s=period_s, jitter_s=jitter_s)
    if wanted < 3:
        return float("nan"), float("nan")
    best = float(votes.max())
    top = np.flatnonzero(votes >= best - 0.5)
    spread = len(top) / _BINS / 2
    if best < _LEAST_AGREEMENT * wanted or spread > _WIDEST_PHASE:
        return float("nan"), float("nan")
    mean = complex(np.exp(2j * np.pi * (top + 0.5) / _BINS).mean())
    return float(np.angle(mean) / (2 * np.pi) * period_s), (spread + 1 / _BINS) * period_s


def _votes(after: Floats, until: Floats, moved: NDArray[np.bool_], *, period_s: float, jitter_s: float) -> tuple[Floats, int]:
    """Votes for each of the phases, and how many intervals voted for one."""
    width = (until - after) / period_s
    useful = width < 1
    wanted = int(np.count_nonzero(useful & moved))
    start = np.mod(after[useful] / period_s, 1.0) * _BINS
    stop = start + width[useful] * _BINS
    vote = np.where(moved[useful], 1.0, -1.0)
    tally = np.zeros(2 * _BINS + 2)
    np.add.at(tally, np.ceil(start).astype(int), vote)
    np.add.at(tally, np.floor(stop).astype(int) + 1, -vote)
    covered = np.cumsum(tally)
    votes = covered[:_BINS] + covered[_BINS : 2 * _BINS]
    # Jitter blurs the votes: the middle of the best neighbourhood is steadier than the single best phase.
    reach = round(jitter_s / period_s * _BINS) + 1
    kernel = np.ones(2 * reach + 1) / (2 * reach + 1)
    votes = np.convolve(np.concatenate([votes[-reach:], votes, votes[:reach]]), kernel, mode="valid")
    return votes, wanted

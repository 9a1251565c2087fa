"""Boards that renew their power together with their counter: when was each renewal?

At a renewal such a board tells exactly how much energy it has used so far, and what its mean power was over the last few
milliseconds (25 of 100 on A100 and H100: Yang et al., arXiv 2312.02741); when that was is known by two samples only. What it
used between two renewals less what it used in those last milliseconds is what it used in the gap before them, and the power on
both sides of the gap says how long that took: where they agree, to a hundredth of the doubt; where a step lies between them,
hardly at all. So the moments form a chain. It is gone through forwards, and then backwards for a number of draws: courses of
moments as likely as they are in truth. What the draws disagree about is not known.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from greenray.power.estimate.grid import Updates
from greenray.power.trace import Floats

DRAWS = 96
WHOLE = np.inf  # averaged over all of the time since the update before
_LEAST_NEWS, _LEAST_UPDATES = 8, 12  # fewer tell nothing about how a board renews
_LEAST_VALUES = 3
_AT_ONCE_S = 1e-3
_TOGETHER = 0.9  # share of new readings of power that came with a new reading of the counter
_POINTS, _SCOUTS = 16, 8  # moments that are tried for each update: in the end, and while the board's ways are found out
_LENGTHS_S = (0.0, 0.0125, 0.025, 0.05, WHOLE)
_UNRESTS = (1e-3, 5e-3, 2e-2, 0.06, 0.15)
_GAINS = np.linspace(0.94, 1.06, 13)
_GAIN_DEVIATION = 0.05  # NVIDIA states 5 %
_LEAST_GAP = 0.2  # of the time between two updates is left, however long the averaging
_ROUNDS = 2  # of finding out about the board; each begins with what the one before found
_TRUST = 0.5  # in evidence, which takes power for simpler than it is
_FOLLOWED = (0.2, 0.42)  # share of plain gaps up to which nothing is taken for explained, from which on all is
_ROUGH = 0.05  # of the highest power: by so much a move of power may differ from those beside it and be smooth
_WIDER = 1.1  # than calibration saw may updates stray
FORMS = ("before", "after", "step", "smooth", "other")
"""How the mean power of a gap may be related to the power on its two sides."""
_EXPECTED = (0.3, 0.3, 0.25, 0.1, 0.05)
_BEGINNINGS = (_EXPECTED, (0.02, 0.02, 0.06, 0.85, 0.05), (0.05, 0.05, 0.1, 0.05, 0.75))  # stepping, smooth, and restless loads


@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    """What a board does not tell of itself, and its load neither.

    Attributes:
        length_s: over which it averages its power.
        unrest: of power that does not step, as a share.
        gain: joules of the counter for each joule of power.
        forms: how often each of `FORMS` is there.
        doubt: whether power moves faster than it is told.
    """

    length_s: float = 0.025
    unrest: float = 0.02
    gain: float = 1.0
    forms: tuple[float, ...] = _EXPECTED
    doubt: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewals:
    """Updates (n,) of a counter, and the power (n,) that was told with each."""

    updates: Updates
    power_w: Floats

    @property
    def used_j(self) -> Floats:
        """(n - 1,) between an update and the one before it."""
        return np.diff(self.updates.counter_j)

    @property
    def most_w(self) -> float:
        return float(self.power_w.max())

    def gap(self, lasted_s: Floats, ways: Ways) -> tuple[Floats, Floats]:
        """Length and energy of the gap before the averaging of an update, (n - 1, ...) as is the time since the one before."""
        if ways.length_s == WHOLE:
            return lasted_s, beside(self.used_j, lasted_s) + np.zeros_like(lasted_s)
        length_s = np.maximum(lasted_s - ways.length_s, _LEAST_GAP * lasted_s)
        return length_s, beside(self.used_j, lasted_s) - ways.gain * beside(self.power_w[1:], lasted_s) * (lasted_s - length_s)


def beside(values: Floats, others: Floats) -> Floats:
    """(n,) values as (n, 1, ...), to be reckoned with (n, ...) others."""
    return values.reshape(-1, *[1] * (others.ndim - 1))


def renewals(updates: Updates, power_times: Floats, power_w: Floats) -> Renewals | None:
    """None where power is renewed at other moments than the counter, or at every sample, or where that cannot be told."""
    news = np.flatnonzero(np.diff(power_w) != 0) + 1
    if len(updates.times) < _LEAST_UPDATES or len(news) < _LEAST_NEWS or len(updates.times) > 0.7 * len(power_w):
        return None
    if len(np.unique(power_w[news])) < _LEAST_VALUES:  # a load in step with the counter seems to do it all
        return None
    seen_s = power_times[news]
    # The counter is read just before the power: one that is new by chance in between comes a sample late.
    place = np.searchsorted(updates.seen_s, seen_s)
    late_s = updates.seen_s[np.minimum(place, len(updates.seen_s) - 1)] - seen_s
    following_s = power_times[np.minimum(news + 1, len(power_times) - 1)] - seen_s
    together = (late_s >= 0) & (late_s <= following_s)
    if np.mean(together) < _TOGETHER:
        return None
    told = np.minimum(np.searchsorted(power_times, updates.seen_s), len(power_times) - 1)
    # Of what calibration saw before the recording, and wherever power was not told, only the counter is known.
    known = np.abs(power_times[told] - updates.seen_s) < _AT_ONCE_S
    if np.count_nonzero(known) < _LEAST_UPDATES:
        return None
    part = {name: getattr(updates, name)[known] for name in Updates.__dataclass_fields__}
    return Renewals(updates=replace(updates, **part), power_w=power_w[told[known]])


def ways_of(found: Renewals, dice: np.random.Generator) -> list[tuple[Ways, int]]:
    """Those that make what was read likely, with how many of all draws are theirs."""
    points_s = _points(found.updates, _SCOUTS)

    def evidence(ways: Ways) -> float:
        return _TRUST * _forward(_links(found, points_s, ways))[1] - 0.5 * ((ways.gain - 1) / _GAIN_DEVIATION) ** 2

    def best(tried: Sequence[Ways]) -> Ways:
        return max(tried, key=evidence)

    usual_s = float(np.median(np.diff(found.updates.times)))
    lengths_s = [length_s for length_s in _LENGTHS_S if length_s < (1 - _LEAST_GAP) * usual_s or length_s == WHOLE]
    ways = best([Ways(length_s=length_s, forms=forms) for length_s in lengths_s for forms in _BEGINNINGS])
    for _ in range(_ROUNDS):
        ways = best([replace(ways, length_s=length_s) for length_s in lengths_s])
        ways = best([replace(ways, gain=float(gain)) for gain in _GAINS])
        ways = best([replace(ways, unrest=unrest) for unrest in _UNRESTS])
        ways = replace(ways, forms=_forms(found, ways, dice))
    ways = best([replace(ways, gain=ways.gain + away) for away in np.linspace(-0.008, 0.008, 9)])
    tried = [replace(ways, length_s=length_s) for length_s in lengths_s]
    likely = np.array([evidence(each) for each in tried])
    share = np.exp(likely - likely.max())
    trust = _trust(ways)
    # Where power moves faster than it is told, any of these fits as badly as any other, and anything may lie in the gaps.
    tried += [Ways(length_s=length_s, unrest=ways.unrest, forms=_BEGINNINGS[-1], doubt=True) for length_s in lengths_s]
    share /= share.sum()
    share = np.concatenate([trust * share, (1 - trust) * (share + 1 / len(share)) / 2])
    ends = np.round(np.cumsum(share) * DRAWS).astype(int)
    return [(each, int(count)) for each, count in zip(tried, np.diff(ends, prepend=0), strict=True) if count]


def _trust(ways: Ways) -> float:
    """How far power was seen to move as it can be followed: it stays as it is, or bends, for each time that it steps."""
    before, after, step, smooth, other = ways.forms
    plain = before + after + smooth / 2
    least, enough = _FOLLOWED
    return float(np.clip(((plain - other) / (plain + step) - least) / (enough - least), 0.0, 1.0))


def _forms(found: Renewals, ways: Ways, dice: np.random.Generator) -> tuple[float, ...]:
    """How often each form is there."""
    moments = draw(found, ways, dice, count=_SCOUTS, points=_SCOUTS)
    mean = likely_forms(found, ways, moments).mean(axis=(1, 2))
    mean[:2] = mean[:2].mean()  # a step knows no direction
    # As if a few more had been seen, of what is expected.
    count = len(found.used_j)
    return tuple((float(one) * count + 10 * expected) / (count + 10) for one, expected in zip(mean, _EXPECTED, strict=True))


def likely_forms(found: Renewals, ways: Ways, moments: Floats) -> Floats:
    """(forms, draws, n - 1) how likely each form of each gap is, for (draws, n) moments of the updates."""
    lasted_s = np.diff(moments, axis=1).T
    coarse_s = beside(_coarse_s(_points(found.updates, _POINTS)), lasted_s)
    length_s, energy_j = found.gap(lasted_s, ways)
    weights = _densities(found, ways, length_s=length_s, energy_j=energy_j, coarse_s=coarse_s)
    total = np.sum(weights, axis=0)
    return np.array([(each / total).T for each in weights])


def draw(found: Renewals, ways: Ways, dice: np.random.Generator, *, count: int, points: int = _POINTS) -> Floats:
    """(count, n) moments of the updates, increasing."""
    points_s = _points(found.updates, points)
    links = _links(found, points_s, ways)
    forward, _ = _forward(links)
    updates = len(points_s)
    chosen: NDArray[np.int64] = np.empty((count, updates), dtype=np.int64)
    ahead = np.ones((count, points))
    luck = dice.random((updates, count, 1))
    for k in range(updates - 1, -1, -1):
        if k < updates - 1:
            ahead = links[k].T[chosen[:, k + 1]]
        sums = np.cumsum(forward[k] * ahead, axis=1)
        chosen[:, k] = (sums < luck[k] * sums[:, -1:]).sum(axis=1)
    moments = points_s[np.arange(updates), np.minimum(chosen, points - 1)]
    moments += dice.uniform(-0.5, 0.5, moments.shape) * (points_s[:, 1] - points_s[:, 0])
    return np.maximum.accumulate(moments + 1e-7 * np.arange(updates), axis=1)


def _points(updates: Updates, count: int) -> Floats:
    """(n, count) moments that are tried, evenly over all that is possible."""
    reach_s = _WIDER * updates.half_widths_s + updates.phases_s
    earliest_s = np.maximum(updates.times - reach_s, updates.seen_s - 2 * updates.brackets_s)
    latest_s = np.minimum(updates.times + reach_s, updates.seen_s)
    shares = (np.arange(count) + 0.5) / count
    found: Floats = earliest_s[:, None] + np.maximum(latest_s - earliest_s, 1e-6)[:, None] * shares
    return found


def _coarse_s(points_s: Floats) -> Floats:
    """(n - 1,) how far the time between two updates may be from that of any two points."""
    step_s = points_s[:, 1] - points_s[:, 0]
    found: Floats = np.hypot(step_s[1:], step_s[:-1]) / 2
    return found


def _links(found: Renewals, points_s: Floats, ways: Ways) -> Floats:
    """(n - 1, points, points): how well each moment of an update fits each of the next, up to a factor a pair."""
    lasted_s = np.maximum(points_s[1:, None, :] - points_s[:-1, :, None], 1e-4)
    length_s, energy_j = found.gap(lasted_s, ways)
    coarse_s = beside(_coarse_s(points_s), lasted_s)
    likely: Floats = np.sum(_densities(found, ways, length_s=length_s, energy_j=energy_j, coarse_s=coarse_s), axis=0)
    return likely


def _densities(found: Renewals, ways: Ways, *, length_s: Floats, energy_j: Floats, coarse_s: Floats) -> list[Floats]:
    """How likely the energy of each gap is, (n - 1, ...) as given, with each of `FORMS`."""
    told_w = ways.gain * found.power_w
    before_w, after_w = beside(told_w[:-1], length_s), beside(told_w[1:], length_s)
    range_w = ways.gain * found.most_w
    apart_w, mean_w = np.abs(before_w - after_w), energy_j / length_s

    def flat(level_w: Floats, unsure_w: Floats | float = 0.02) -> Floats:
        return (
            _normal(mean_w - level_w, np.hypot(np.hypot(ways.unrest * level_w, unsure_w), level_w * coarse_s / length_s))
            / length_s
        )

    before, after, step, smooth, other = ways.forms
    strange = other * np.where((mean_w > 0) & (mean_w < 1.5 * range_w), 1.0, 1e-6) / (1.5 * range_w) / length_s
    # Where a reading moved otherwise than those beside it, the load does not change smoothly.
    padded_w = np.pad(told_w, 1, mode="edge")
    moved_w = np.diff(padded_w)
    rough_w = beside(moved_w[1:-1] - np.median([moved_w[:-2], moved_w[1:-1], moved_w[2:]], axis=0), length_s)
    even = np.exp(-0.5 * (rough_w / (_ROUGH * range_w)) ** 2)
    if ways.length_s == WHOLE:
        # Told is the mean itself, but for what lies before the update before or is left out after it.
        same = (1 - other) * flat(after_w, 0.15 * apart_w)
        return [0 * same, 0 * same, (1 - even) * same, even * same, strange]
    # The middle of a curve through four readings.
    bulge_w = beside((moved_w[:-2] - moved_w[2:]) / 16, length_s)
    curved = smooth * even
    # Where power is the same on both sides, there is no step between them.
    stepped = (step + smooth - curved) * (1 - np.exp(-0.5 * (apart_w / (_ROUGH * range_w)) ** 2))
    rest = (step + smooth - curved - stepped) / 2
    between = (mean_w > np.minimum(before_w, after_w)) & (mean_w < np.maximum(before_w, after_w))
    return [
        (before + rest) * flat(before_w),
        (after + rest) * flat(after_w),
        stepped * between / np.maximum(apart_w, 1e-3 * range_w) / length_s,
        curved * flat((before_w + after_w) / 2 + bulge_w, 0.1 * apart_w + 0.4 * np.abs(bulge_w) + 0.01 * range_w),
        strange,
    ]


def _normal(away: Floats, deviation: Floats) -> Floats:
    found: Floats = np.exp(-0.5 * (away / deviation) ** 2) / (2.5066 * deviation)
    return found


def _forward(links: Floats) -> tuple[Floats, float]:
    """(n, points) how likely each moment is by all that came before, and the logarithm of how likely it all is."""
    count, points, _ = links.shape
    found = np.empty((count + 1, points))
    found[0] = 1 / points
    logarithm = 0.0
    for k in range(count):
        ahead = found[k] @ links[k]
        total = ahead.sum()
        found[k + 1] = ahead / total
        logarithm += float(np.log(total / points))
    return found, logarithm

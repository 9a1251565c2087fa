"""Courses of a board's energy, all as likely: what they agree about is known, what they differ by is the error."""

from dataclasses import dataclass

import numpy as np

from greenray.power.estimate.forms import Load, Stretches, pieces
from greenray.power.estimate.renewed import FORMS, WHOLE, Renewals, Ways, draw, likely_forms, ways_of
from greenray.power.trace import Floats

_BEYOND = 5  # intervals before the first update and after the last
_MARGIN = 1.15
_MIXED = 0.5  # of such means
_OUTSIDE = 0.02  # of the highest power: so far a mean may lie outside of those beside it and be even
_ELSEWHERE = 0.5  # of those may be at another power
_SEED = 20231204


@dataclass(frozen=True, slots=True, kw_only=True)
class Ensemble:
    """Piecewise linear, never falling courses; (draws, n) each: knots in seconds, and energy there."""

    times: Floats
    energy_j: Floats

    def at(self, time_s: float) -> float:
        """Energy up to a moment, NaN outside the knots."""
        return float(np.mean(self._each(time_s)))

    def error_j(self, start_s: float, end_s: float) -> float:
        """Half-width of the energy between two moments; covers the truth in 95 % of windows."""
        return _half_width_j(self._each(end_s) - self._each(start_s))

    def error_at(self, time_s: float) -> float:
        """Half-width of the energy up to one moment."""
        return _half_width_j(self._each(time_s))

    def _each(self, time_s: float) -> Floats:
        times, energy_j = self.times, self.energy_j
        if not times[:, 0].max() <= time_s <= times[:, -1].min():
            return np.full(len(times), np.nan)
        rows = np.arange(len(times))
        after = np.clip(np.count_nonzero(times <= time_s, axis=1), 1, times.shape[1] - 1)
        begin_s, end_s = times[rows, after - 1], times[rows, after]
        share = np.clip((time_s - begin_s) / np.maximum(end_s - begin_s, 1e-12), 0.0, 1.0)
        found: Floats = energy_j[rows, after - 1] + share * (energy_j[rows, after] - energy_j[rows, after - 1])
        return found


def _half_width_j(energy_j: Floats) -> float:
    """Around the mean, of what holds 95 % of the draws, and a little more: loads are of more kinds than are drawn."""
    return _MARGIN * float(np.quantile(np.abs(energy_j - energy_j.mean()), 0.95))


def ensemble_curve(found: Renewals) -> Ensemble:
    """The courses of a board that renews its power together with its counter."""
    dice = np.random.default_rng(_SEED)
    parts = [_courses(found, ways, dice, count=count) for ways, count in ways_of(found, dice)]
    return Ensemble(**{name: np.concatenate([part[name] for part in parts]) for name in ("times", "energy_j")})


def _courses(found: Renewals, ways: Ways, dice: np.random.Generator, *, count: int) -> dict[str, Floats]:
    """Knots and energies of so many courses of a board with these ways."""
    moments = draw(found, ways, dice, count=count)
    lasted_s = np.diff(moments, axis=1)
    length_s, energy_j = (values.T for values in found.gap(lasted_s.T, ways))
    energy_j = np.clip(energy_j, 0.0, found.used_j)
    told_s, told_j, gap_w = lasted_s - length_s, found.used_j - energy_j, energy_j / length_s
    told_w = np.broadcast_to(ways.gain * found.power_w, moments.shape)
    if ways.length_s == WHOLE:
        before_w, after_w = (np.pad(gap_w, ((0, 0), side), mode="edge") for side in ((1, 0), (0, 1)))
        before_w, after_w, beside_s = before_w[:, :-1], after_w[:, 1:], length_s
    else:
        before_w, after_w, beside_s = told_w[:, :-1], told_w[:, 1:], told_s
    likely = likely_forms(found, ways, moments)
    luck = dice.random(lasted_s.shape)
    strange = luck < likely[FORMS.index("other")]
    smooth = luck > 1 - likely[FORMS.index("smooth")]
    levels_w = np.sort(found.power_w) * ways.gain
    if ways.doubt and ways.length_s == WHOLE:  # what was averaged for so long reached further
        levels_w = np.maximum(2 * levels_w - levels_w.mean(), 0.0)
    if ways.length_s == WHOLE:  # the means beside a gap may be of two powers
        strange |= (luck < 1 - likely[FORMS.index("smooth")]) | (dice.random(luck.shape) < _MIXED)
    load = Load(levels_w=levels_w, unrest=ways.unrest)
    gaps = Stretches(length_s=length_s, mean_w=gap_w, before_w=before_w, after_w=after_w, beside_s=beside_s)
    # Averaged readings hold what lies between the gaps on their two sides.
    following_w = np.concatenate([gap_w[:, 1:], told_w[:, -1:]], axis=1)
    tolds = Stretches(
        length_s=told_s, mean_w=told_j / np.maximum(told_s, 1e-9), before_w=gap_w, after_w=following_w, beside_s=length_s
    )
    uneven = tolds.outside_w() > _OUTSIDE * found.most_w + 3 * ways.unrest * tolds.mean_w
    both = (
        pieces(gaps, load, smooth=smooth, strange=strange, dice=dice),
        pieces(tolds, load, smooth=smooth, strange=uneven, dice=dice),
    )
    lasting_s, used_j = (np.concatenate(parts, axis=2).reshape(count, -1) for parts in zip(*both, strict=True))
    return _joined(found, moments, lasting_s, used_j, levels_w=told_w[0], dice=dice)


def _joined(
    found: Renewals, moments: Floats, lasting_s: Floats, used_j: Floats, *, levels_w: Floats, dice: np.random.Generator
) -> dict[str, Floats]:
    """All pieces one after the other, and some intervals more at each end, at any of the board's powers."""
    usual_s = float(np.median(np.diff(found.updates.times)))
    shape = (len(moments), _BEYOND)
    beyond_s = np.full(shape, usual_s)
    ends_j = []
    for here_w in (levels_w[0], levels_w[-1]):
        elsewhere = dice.random(shape) < _ELSEWHERE
        ends_j.append(np.where(elsewhere, levels_w[dice.integers(0, len(levels_w), shape)], here_w) * usual_s)
    lasting_s = np.concatenate([beyond_s, lasting_s, beyond_s], axis=1)
    used_j = np.concatenate([ends_j[0], used_j, ends_j[1]], axis=1)
    times, energy_j = (np.pad(np.cumsum(each, axis=1), ((0, 0), (1, 0))) for each in (lasting_s, used_j))
    return {
        "times": times - times[:, [_BEYOND]] + moments[:, :1],
        "energy_j": energy_j - energy_j[:, [_BEYOND]] + found.updates.counter_j[0],
    }

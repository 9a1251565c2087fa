"""How power may have gone within a stretch of which the mean is known: three pieces, each with its length and its power."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from greenray.power.trace import Floats

_TRIES = 3
_ASKEW = (0.04, 0.5)  # of its rise and of its bend
Pieces = tuple[Floats, Floats]
"""(..., 3) each: shares of the stretch's length, which make one, and watts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretches:
    """Stretches of time, (draws, n) each.

    Attributes:
        length_s, mean_w: of each.
        before_w, after_w: mean powers of those on its two sides, which last `beside_s`.
    """

    length_s: Floats
    mean_w: Floats
    before_w: Floats
    after_w: Floats
    beside_s: Floats

    def outside_w(self) -> Floats:
        """By how much a mean lies above both sides, or below; not positive where it lies between them."""
        low_w, high_w = np.minimum(self.before_w, self.after_w), np.maximum(self.before_w, self.after_w)
        found: Floats = np.maximum(low_w - self.mean_w, self.mean_w - high_w)
        return found


def stepping(given: Stretches) -> Pieces:
    """A step from the one side to the other, at the moment that gives the mean; or power is even."""
    apart_w = given.before_w - given.after_w
    step = (given.outside_w() <= 0) & (apart_w != 0)
    share = np.where(step, (given.mean_w - given.after_w) / np.where(step, apart_w, 1.0), 0.5)
    watts = np.where(step, [given.before_w, given.mean_w, given.after_w], given.mean_w)
    return np.stack([share, np.zeros_like(share), 1 - share], axis=-1), np.moveaxis(watts, 0, -1)


def curved(given: Stretches, dice: np.random.Generator) -> Pieces:
    """A parabola with that mean, in thirds, through the power at both edges; or a little askew."""
    both_s = np.maximum(given.length_s + given.beside_s, 1e-12)
    begin_w, end_w = (
        (side_w * given.length_s + given.mean_w * given.beside_s) / both_s for side_w in (given.before_w, given.after_w)
    )
    bend_w, rise_w = given.mean_w - (begin_w + end_w) / 2, end_w - begin_w
    askew_w = dice.standard_normal(bend_w.shape) * (_ASKEW[0] * np.abs(rise_w) + _ASKEW[1] * np.abs(bend_w))
    watts = [begin_w + (2 * third + 1) / 6 * rise_w + part / 9 * bend_w for third, part in enumerate((7, 13, 7))]
    watts = [watts[0] - askew_w, watts[1], watts[2] + askew_w]
    return np.full((*begin_w.shape, 3), 1 / 3), np.maximum(np.stack(watts, axis=-1), 0.0)


def anything(given: Stretches, levels_w: Floats, dice: np.random.Generator) -> Pieces:
    """Two of the board's powers (increasing), one above the mean and one below, the one within the other at any moment."""
    # Averaged readings lie between the powers that there are, so the highest of a few is taken, and the lowest.
    shape, last = given.mean_w.shape, len(levels_w) - 1
    place = np.searchsorted(levels_w, given.mean_w)
    luck = dice.random((2, _TRIES, *shape))
    above_w = levels_w[np.minimum(place + (luck[0].max(axis=0) * (last + 1 - place)).astype(int), last)]
    below_w = np.where(place > 0, levels_w[(luck[1].min(axis=0) * place).astype(int)], 0.0)
    above_w = np.maximum(above_w, given.mean_w)
    high = dice.random(shape) < 0.5
    inner_w, outer_w = np.where(high, above_w, below_w), np.where(high, below_w, above_w)
    apart_w = inner_w - outer_w
    inner = np.where(apart_w != 0, (given.mean_w - outer_w) / np.where(apart_w != 0, apart_w, 1.0), 1.0)
    begins = np.clip(2 * dice.random(shape) - 0.5, 0.0, 1.0) * (1 - inner)  # every other time at an edge, which makes it one step
    return np.stack([begins, inner, 1 - inner - begins], axis=-1), np.stack([outer_w, inner_w, outer_w], axis=-1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What is known of it: the powers that it was seen at (increasing), and by what share of them it is restless."""

    levels_w: Floats
    unrest: float


def pieces(
    given: Stretches, load: Load, *, smooth: NDArray[np.bool_], strange: NDArray[np.bool_], dice: np.random.Generator
) -> tuple[Floats, Floats]:
    """(draws, n, 3) seconds and joules: of smooth and strange stretches, and of those that step."""
    tried = (stepping(given), curved(given, dice), anything(given, load.levels_w, dice))
    chosen = np.where(strange, 2, np.where(smooth, 1, 0))[..., None]
    shares, watts = (np.choose(chosen, [each[part] for each in tried]) for part in (0, 1))
    lasting_s = np.clip(shares, 0.0, 1.0) * given.length_s[..., None]
    used_j = watts * lasting_s * np.exp(load.unrest * dice.standard_normal(watts.shape))
    # What is given is the mean, whatever the form.
    total_j = used_j.sum(axis=-1, keepdims=True)
    whole_j = (given.mean_w * given.length_s)[..., None]
    even_j = given.mean_w[..., None] * lasting_s
    return lasting_s, np.where(total_j > 0, used_j * whole_j / np.where(total_j > 0, total_j, 1.0), even_j)

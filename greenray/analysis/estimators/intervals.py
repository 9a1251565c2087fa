"""A 90 % prediction interval for a model of a family that was never measured, and whether it holds what it says.

Jackknife+ (Barber, Candès, Ramdas and Tibshirani, "Predictive inference with the jackknife+", 2021) over families: every family
that is left out gives a residual, and what the others say of the new model; the interval is between quantiles of the one around
the other. Choosing the form is part of what is left out. Families count alike however many models they have (hierarchical
conformal prediction: Lee, Barber and Willett, 2023). Guaranteed for families that could be exchanged: 80 %; usual: 90 %.
"""

import math
from dataclasses import dataclass

from greenray.analysis.estimators.nested import NOBODY, Fits

LEVEL = 0.9
MIN_FAMILIES = 10
"""Nine families leave out enough for a 90 % quantile, and one more to check it on."""
MOST_CHECKED = 15
"""Families that the interval is checked on: each costs as many fits again as there are pairs of the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """Ends as log energies; None with the reason where there is none."""

    low: float | None
    high: float | None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """How many of the left-out models lay inside the interval made without their family."""

    inside: int
    models: int

    @property
    def share(self) -> float:
        return self.inside / self.models


def interval(fits: Fits, index: int, *, without: frozenset[str] = NOBODY) -> Interval:
    """The interval of the point of that index, whose family is left out with those in `without`."""
    left_out = without | {fits.points[index].family}
    families = [family for family in fits.families if family not in left_out]
    if len(families) < MIN_FAMILIES - 1:
        needed = f"a 90 % interval needs {MIN_FAMILIES - 1} model families besides its own"
        return Interval(low=None, high=None, note=f"{needed}, there are {len(families)}")
    lows, highs = [], []
    for family in families:
        answer = fits.predicted(left_out | {family})
        if answer is None:
            return Interval(low=None, high=None, note="too few models are left when a family is left out")
        members = [place for place, point in enumerate(fits.points) if point.family == family and point.log_energy is not None]
        for place in members:
            residual, weight = abs(float(answer[place]) - (fits.points[place].log_energy or 0.0)), 1 / len(members)
            lows.append((-(float(answer[index]) - residual), weight))
            highs.append((float(answer[index]) + residual, weight))
    high, low = (_quantile(side, families=len(families)) for side in (highs, lows))
    return Interval(low=-low, high=high)


def _quantile(weighted: list[tuple[float, float]], *, families: int) -> float:
    """The least value at or below which lies 90 % of the weight, that of the family that is missing being above all."""
    needed, reached = LEVEL * (families + 1), 0.0
    for value, weight in sorted(weighted):
        reached += weight
        if reached >= needed - 1e-9:
            return value
    return math.inf


def coverage(fits: Fits) -> Coverage | None:
    """Over the models measured, or those of `MOST_CHECKED` families; None where there are too few families."""
    if len(fits.families) < MIN_FAMILIES:
        return None
    step = max(1.0, len(fits.families) / MOST_CHECKED)
    checked = {fits.families[int(place * step)] for place in range(min(MOST_CHECKED, len(fits.families)))}
    inside = models = 0
    for index, point in enumerate(fits.points):
        if point.family in checked and point.log_energy is not None:
            found = interval(fits, index)
            if found.low is None or found.high is None:
                return None
            inside += found.low <= point.log_energy <= found.high
            models += 1
    return Coverage(inside=inside, models=models)

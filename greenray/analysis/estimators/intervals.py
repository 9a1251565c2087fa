"""A 90 % prediction interval for a model of a family that was never measured, and whether it holds what it says.

Jackknife+ (Barber, Candès, Ramdas and Tibshirani, "Predictive inference with the jackknife+", 2021) over families: every family
that is left out gives a residual, and what the others say of the new model; the interval is between quantiles of the one around
the other. Choosing the form is part of what is left out. Families count alike however many models they have (hierarchical
conformal prediction: Lee, Barber and Willett, 2023). Guaranteed for families that could be exchanged: 80 %; usual: 90 %.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from greenray.analysis.estimators.nested import Fits
from greenray.analysis.estimators.points import Point

LEVEL = 0.9
NEEDED = 9
"""Families besides its own: they leave out enough for a 90 % quantile."""


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


def interval(fits: Fits, index: int) -> Interval:
    """The interval of the point of that index, made without its family."""
    left_out = frozenset({fits.points[index].family})
    families = [family for family in fits.families if family not in left_out]
    if len(families) < NEEDED:
        needed = f"a 90 % interval needs {NEEDED} model families besides its own"
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


def coverage(points: Sequence[Point], intervals: Mapping[str, Interval]) -> Coverage | None:
    """Over the models measured, by the interval of each; None where one has none."""
    measured = [(point.log_energy, intervals[point.model]) for point in points if point.log_energy is not None]
    inside = [found.low <= true <= found.high for true, found in measured if found.low is not None and found.high is not None]
    return Coverage(inside=sum(inside), models=len(inside)) if measured and len(inside) == len(measured) else None

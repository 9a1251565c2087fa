"""Judging by leaving models out, and choosing a form without looking at the model that it will be judged on.

Models of one family are no independent cases, so families are left out whole. For each of them the form is chosen anew, by
leaving out one more family at a time of those that remain: the reported error chooses nothing.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median

import numpy as np

from greenray.analysis.estimators.candidates import Candidate, Floats, features
from greenray.analysis.estimators.points import Point

MIN_FAMILIES = 5
NOBODY: frozenset[str] = frozenset()


class Fits:
    """Every candidate's answers for all points, fitted without some families: each fit is made once."""

    def __init__(self, points: Sequence[Point], candidates: Sequence[Candidate]) -> None:
        self.points = points
        self._candidates = candidates
        self._known = np.array([point.log_energy is not None for point in points], dtype=bool)
        self._energies = np.array([point.log_energy if point.log_energy is not None else math.nan for point in points])
        self._features = [features(candidate, points) for candidate in candidates]
        self._of_family = {
            family: np.array([point.family == family for point in points], dtype=bool)
            for family in sorted({point.family for point in points})
        }
        self._places = {
            family: [(place, float(self._energies[place])) for place in np.flatnonzero(members & self._known)]
            for family, members in self._of_family.items()
        }
        self.families = [family for family, places in self._places.items() if places]
        self._answers: dict[tuple[int, frozenset[str]], Floats | None] = {}
        self._choices: dict[frozenset[str], int | None] = {}

    def chosen(self, without: frozenset[str] = NOBODY) -> Candidate | None:
        """The form with the least mean absolute log error, families counting alike, on the families that are not left out."""
        index = self._choice(without)
        return None if index is None else self._candidates[index]

    def predicted(self, without: frozenset[str] = NOBODY) -> Floats | None:
        """Log energies of all points by the form that is chosen, and fitted, without these families; None if none can be."""
        index = self._choice(without)
        return None if index is None else self._answer(index, without)

    def _choice(self, without: frozenset[str]) -> int | None:
        if without not in self._choices:
            if len(self._candidates) == 1:
                self._choices[without] = 0 if self._answer(0, without) is not None else None
            else:
                scores = [
                    (score, index) for index in range(len(self._candidates)) if (score := self._score(index, without)) is not None
                ]
                self._choices[without] = min(scores)[1] if scores else None
        return self._choices[without]

    def _score(self, index: int, without: frozenset[str]) -> float | None:
        errors = []
        for family in self.families:
            if family not in without:
                answer = self._answer(index, without | {family})
                if answer is None:
                    return None
                places = self._places[family]
                errors.append(sum(abs(float(answer[place]) - energy) for place, energy in places) / len(places))
        return fmean(errors) if errors else None

    def _answer(self, index: int, without: frozenset[str]) -> Floats | None:
        key = index, without
        if key not in self._answers:
            fitted = self._known.copy()
            for family in without:
                fitted &= ~self._of_family[family]
            x, candidate = self._features[index], self._candidates[index]
            enough = fitted.sum() >= candidate.least
            self._answers[key] = candidate.fit(x[fitted], self._energies[fitted], x) if enough else None
        return self._answers[key]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """How a way to predict did on models whose families it had not seen.

    Attributes:
        errors: absolute relative error of each model (0.1 = 10 %), by model; empty where `note` says why.
        log_predicted: its prediction of each of them.
        r2: share of the variance of log energy that is predicted, out of fold; below 0 is worse than their mean.
        rank: Spearman's correlation between predicted and measured; None for a constant.
        chosen: how often each form was chosen.
    """

    name: str
    errors: dict[str, float]
    log_predicted: dict[str, float]
    families: int
    r2: float | None
    rank: float | None
    chosen: Counter[str]
    note: str = ""

    @property
    def median(self) -> float | None:
        return median(self.errors.values()) if self.errors else None

    @property
    def worst(self) -> float | None:
        return max(self.errors.values(), default=None)


def judge(name: str, fits: Fits) -> Judged:
    """Leave out every family once. A model that is in no fit (never measured) is not judged."""
    measured = [index for index, point in enumerate(fits.points) if point.log_energy is not None]
    note = ""
    if len(fits.families) < MIN_FAMILIES:
        note = f"needs {MIN_FAMILIES} model families measured alike, there are {len(fits.families)}"
    answers = {} if note else {family: fits.predicted(frozenset({family})) for family in fits.families}
    if not note and any(answer is None for answer in answers.values()):
        note = "too few models are left when a family is left out"
    if note:
        return Judged(
            name=name, errors={}, log_predicted={}, families=len(fits.families), r2=None, rank=None, chosen=Counter(), note=note
        )
    points = [fits.points[index] for index in measured]
    log_predicted = [float(answer[index]) for index in measured if (answer := answers[fits.points[index].family]) is not None]
    true = np.array([point.log_energy for point in points], dtype=np.float64)
    wrong, spread = (np.array(log_predicted) - true), true - true.mean()
    forms = [form for family in fits.families if (form := fits.chosen(frozenset({family}))) is not None]
    return Judged(
        name=name,
        errors={point.model: abs(math.expm1(min(50.0, float(by)))) for point, by in zip(points, wrong, strict=True)},
        log_predicted={point.model: value for point, value in zip(points, log_predicted, strict=True)},
        families=len(fits.families),
        r2=1 - float((wrong**2).sum() / (spread**2).sum()) if spread.any() else None,
        rank=_rank_correlation(log_predicted, true) if any(form.features for form in forms) else None,
        chosen=Counter(form.name for form in forms),
    )


def _rank_correlation(predicted: Sequence[float], true: Floats) -> float | None:
    from scipy.stats import rankdata  # slow to import, and rarely needed

    ranks = [rankdata(np.round(side, 12)) for side in (np.asarray(predicted), true)]
    if any(np.ptp(side) == 0 for side in ranks):
        return None
    return float(np.corrcoef(*ranks)[0, 1])

"""All that can be said of a group, and of one model that was never measured in it."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from scipy import special

from greenray.analysis import stats
from greenray.analysis.estimators import candidates as forms
from greenray.analysis.estimators import nested
from greenray.analysis.estimators.intervals import LEVEL, Coverage, Interval, coverage, interval
from greenray.analysis.estimators.nested import Fits, Judged, judge
from greenray.analysis.estimators.points import Group, Point, complete, outside
from greenray.analysis.overall import MIN_FAMILIES, OverallEffect

NEEDED = nested.MIN_FAMILIES - 1
"""Families besides its own that a prediction needs."""
CHOSEN = "descriptors, form chosen by nested leave-one-out"


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupJudged:
    """What descriptors are worth in a group.

    Attributes:
        left_out: models that lack descriptors which most others have; nothing else here is of them.
        chosen: the estimator that predicts; `singles` each descriptor by itself, `yardsticks` constant and roofline, and
            `with_time` what knowing the time per sample would give; None where no time is known.
        intervals: 90 % interval of each model made without its family, by model, and `covered` how many hold.
    """

    group: Group
    points: tuple[Point, ...]
    left_out: tuple[str, ...]
    chosen: Judged
    singles: tuple[Judged, ...]
    yardsticks: tuple[Judged, ...]
    with_time: Judged | None
    intervals: dict[str, Interval]
    covered: Coverage | None

    @property
    def modelled(self) -> bool:
        return any(point.modelled for point in self.points)

    @property
    def rows(self) -> list[Judged]:
        """Every way to predict a new model."""
        return [self.chosen, *self.singles, *self.yardsticks]


def judge_group(group: Group, points: Sequence[Point]) -> GroupJudged:
    described = tuple(complete(points))
    fits = Fits(described, forms.candidates(described))
    alone = [(judge(candidate.name, Fits(described, [candidate]))) for candidate in forms.single(described)]
    yards = [(judge(candidate.name, Fits(described, [candidate]))) for candidate in forms.yardsticks(described)]
    timed = forms.known(forms.WITH_TIME, described)
    intervals = {point.model: interval(fits, index) for index, point in enumerate(described)}
    return GroupJudged(
        group=group,
        points=described,
        left_out=tuple(point.model for point in points if point not in described),
        chosen=judge(CHOSEN, fits),
        singles=tuple(alone),
        yardsticks=tuple(yards),
        with_time=judge(forms.WITH_TIME.name, Fits(described, [forms.WITH_TIME])) if timed else None,
        intervals=intervals,
        covered=coverage(described, intervals),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """Joules per sample with a 90 % interval.

    Attributes:
        low_j, high_j: None where `note` says why.
        form: the form that was chosen; `families` and `models` those that it was fitted to, its own family left out.
        outside: how far the model lies beyond those, in words.
        measured_j: what it took, where it was measured already.
    """

    energy_j: float
    low_j: float | None
    high_j: float | None
    note: str
    form: str
    families: int
    models: int
    outside: tuple[str, ...]
    measured_j: float | None = None


def predict(new: Point, points: Iterable[Point]) -> Prediction | None:
    """The energy of a model by those of other families; None where there are too few to know what it would be worth.

    If its own energy is known, or that of others of its family, they are left out all the same: what is told of its error and
    its interval was found in that way.
    """
    others = [point for point in points if point.logs and point.model != new.model]
    everyone = [*others, new]
    fits = Fits(everyone, forms.candidates(everyone))
    without = frozenset({new.family})
    answer, form = fits.predicted(without), fits.chosen(without)
    if answer is None or form is None or len({*fits.families} - without) < NEEDED:
        return None
    found = interval(fits, len(others))
    fitted = [point for point in others if point.family != new.family]
    return Prediction(
        energy_j=math.exp(float(answer[-1])),
        low_j=None if found.low is None else math.exp(found.low),
        high_j=None if found.high is None else math.exp(found.high),
        note=found.note,
        form=form.name,
        families=len({point.family for point in fitted}),
        models=len(fitted),
        outside=tuple(outside(new, fitted)),
        measured_j=None if new.log_energy is None else math.exp(new.log_energy),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TacticPrediction:
    """A tactic's effect on a model of a new family.

    Attributes:
        ratio: tactic over baseline, the mean over families; `low` and `high` its 90 % interval for one more family.
        hardly: models to which it was hardly applied, of so many `models`.
        energy_j, low_j, high_j: joules per sample under the tactic, both uncertainties together, taken as independent.
    """

    tactic: str
    ratio: float | None
    low: float | None
    high: float | None
    families: int
    note: str
    models: int = 0
    hardly: int = 0
    energy_j: float | None = None
    low_j: float | None = None
    high_j: float | None = None


def under_tactic(tactic: str, baseline: Prediction, effects: Sequence[OverallEffect]) -> TacticPrediction:
    """The prediction times the tactic's effect over families; `effects` are that tactic's in groups like the model's."""
    found = max(effects, key=lambda effect: effect.families, default=None)
    if found is None or found.energy is None:
        note = "its effect was not measured on two models or more like this one"
        return TacticPrediction(tactic=tactic, ratio=None, low=None, high=None, families=0, note=note)
    ratio, families = found.energy.ratio, found.families
    told = TacticPrediction(
        tactic=tactic,
        ratio=ratio,
        low=None,
        high=None,
        families=families,
        note=f"no interval: {found.energy.basis}",
        models=found.models,
        hardly=found.hardly,
        energy_j=baseline.energy_j * ratio,
    )
    if found.energy.log_half_width is None or families < MIN_FAMILIES:
        return told
    # The mean's 95 % half-width is t s / sqrt(n); one more family scatters around that mean with s itself.
    spread = found.energy.log_half_width * math.sqrt(families) / stats.t_quantile(families - 1)
    half = float(special.stdtrit(families - 1, (1 + LEVEL) / 2)) * spread * math.sqrt(1 + 1 / families)
    told = replace(told, low=ratio * math.exp(-half), high=ratio * math.exp(half), note=baseline.note)
    if baseline.low_j is None or baseline.high_j is None:
        return told
    down, up = (max(0.0, math.log(end)) for end in (baseline.energy_j / baseline.low_j, baseline.high_j / baseline.energy_j))
    low_j, high_j = (baseline.energy_j * ratio * math.exp(by) for by in (-math.hypot(down, half), math.hypot(up, half)))
    return replace(told, low_j=low_j, high_j=high_j, note="")

"""What the measurements of a store are worth for predicting: once for the report, once for `greenray predict`."""

from collections.abc import Sequence
from dataclasses import dataclass

from greenray.analysis.analyse import Analysis
from greenray.analysis.estimators import profiles
from greenray.analysis.estimators.candidates import candidates
from greenray.analysis.estimators.nested import Fits, Judged, judge
from greenray.analysis.estimators.points import Group, Point, complete, groups
from greenray.analysis.estimators.predicted import CHOSEN, GroupJudged, judge_group
from greenray.analysis.estimators.profiles import ProfileError
from greenray.analysis.prices import table

MODELLED = "Energies are mostly estimated from CPU time here: what predicts them predicts processor time, not a meter's joules."

IN_PART = "Some of these energies are mostly estimated from CPU time: what predicts those predicts processor time, not joules."

BUSY = "Some short profiles are of runs on a busy host: what others did in the meantime is in their errors."


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The estimators of a store.

    Attributes:
        profiles: errors of short profiles, by phase and length.
        judged: the largest group of each phase, in full; `others` the rest, by their chosen estimator.
        modelled_in: groups of which some energies were mostly estimated from CPU time.
        modelled, measured: whether any of it rests on such energies, and any on others.
    """

    profiles: tuple[ProfileError, ...]
    judged: tuple[GroupJudged, ...]
    others: tuple[tuple[Group, Judged], ...]
    modelled_in: frozenset[Group]
    modelled: bool
    measured: bool

    @property
    def notes(self) -> list[str]:
        """What the errors cannot tell by themselves."""
        busy = any(error.busy for error in self.profiles)
        estimated = [IN_PART if self.measured else MODELLED] if self.modelled else []
        return [*estimated, *([BUSY] if busy else [])]


def find(analysis: Analysis) -> Found:
    errors = profile_errors(analysis)
    by_group = groups(analysis.arms)
    largest = {group.phase: group for group in reversed(by_group)}
    judged = [judge_group(group, by_group[group]) for group in by_group if largest[group.phase] == group]
    others = [(group, brief(points)) for group, points in by_group.items() if largest[group.phase] != group]
    kinds = {error.modelled for error in errors} | {point.modelled for points in by_group.values() for point in points}
    return Found(
        profiles=tuple(errors),
        judged=tuple(sorted(judged, key=lambda one: one.group.phase)),
        others=tuple(others),
        modelled_in=frozenset(group for group, points in by_group.items() if any(point.modelled for point in points)),
        modelled=True in kinds,
        measured=False in kinds,
    )


def profile_errors(analysis: Analysis) -> list[ProfileError]:
    training = profiles.training_courses(analysis.training)
    return profiles.errors(training, profiles.inference_courses(analysis.frames, analysis.arms))


def brief(points: Sequence[Point]) -> Judged:
    """The chosen estimator of a group alone, without intervals."""
    described = complete(points)
    return judge(CHOSEN, Fits(described, candidates(described)))


def reference_figures() -> list[dict[str, str]]:
    """What others report: name, date, predicts, figure, needs, comparable, source."""
    return table("estimators.csv")

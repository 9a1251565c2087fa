"""Which of the claims on predicting energy hold here, in words made of the errors and of nothing else.

Of Mavromatis, Katsaros and Khan (see `figures`): short profiles predict the total; by the points that they published, parameters
do not predict energy, MACs do better, MACs per parameter best. Families of models are the cases, as their errors are what another
choice of models would change. Of profiles, how many families come near is counted, with Wilson's interval. Of descriptors, the
log errors of two ways on the same left-out families are compared, as the ratio of their means with Fieller's interval, which
leaves out 1 where the paired t test is significant. Errors are absolute differences of logarithms.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

from greenray.analysis import stats
from greenray.analysis.estimators.candidates import CONSTANT
from greenray.analysis.estimators.found import Found
from greenray.analysis.estimators.nested import Judged
from greenray.analysis.estimators.points import PER_PARAMETER
from greenray.analysis.estimators.predicted import GroupJudged
from greenray.analysis.estimators.profiles import BY_ENERGY, ProfileError
from greenray.analysis.papers.claim import Answer, answer, circumstances, every
from greenray.analysis.stats import Estimate
from greenray.analysis.wording import count, number, relative_error

NEAR, MOST = 0.05, 0.5
"""Over half of the families within 5 %: what we take "predicts the total" to mean."""
LEAST = 4
"""Of fewer families no number decides: the interval of three of three holds a half."""
HALF = 0.5
"""Errors of under half those of a constant, which knows nothing of the model: what we take "predicts energy" to mean."""


def sentences(found: Found) -> list[str]:
    """All that can be said of the estimators of a store."""
    return [*on_profiles(found.profiles), *(said for judged in found.judged for said in on_descriptors(judged))]


def on_profiles(errors: Sequence[ProfileError]) -> list[str]:
    """One sentence for each phase that was measured; by the energy-based way, whose only assumption is how much there will be."""
    said = []
    for phase, unit in (("training", "epoch"), ("inference", "window")):
        by_length = [e for e in errors if (e.phase, e.unit, e.way) == (phase, unit, BY_ENERGY)]
        claim = f"Short profiles predict the total of {phase} within {NEAR * 100:g} %"
        if not by_length:
            said.append(f"{claim}: cannot be told, no run of known energy is twice as long as its first {unit}.")
            continue
        about = circumstances(modelled=fmean(e.modelled for e in by_length), busy=fmean(e.busy for e in by_length))
        shown, found = _from(by_length)
        lengths = ", ".join([*(str(e.first) for e in by_length[:-1]), count(by_length[-1].first, unit)])
        medians, worst = ", ".join(relative_error(e.median) for e in by_length), max(e.worst for e in by_length)
        said.append(
            f"{claim}{about}: {found}{f' from {shown.beginning} on' if found == 'holds' else ''}. After {shown.beginning} "
            f"({shown.share * 100:.0f} % of a run) {_within(shown)}. Over models the error is {medians} in the median after "
            f"{lengths}, and {relative_error(worst)} at worst."
        )
    return said


def _from(by_length: Sequence[ProfileError]) -> tuple[ProfileError, Answer]:
    """The shortest length from which on the claim holds for all; else the longest, with what is to be said of all together.

    Lengths that few families are long enough for do not count: others than those that the shorter ones are of.
    """
    most = max(len(error.by_family) for error in by_length)
    told = [error for error in by_length if len(error.by_family) >= max(LEAST, most / 2)] or by_length[:1]
    answers = [_answer(error) for error in told]
    for place, error in enumerate(told):
        if every(answers[place:]) == "holds":
            return error, "holds"
    return told[-1], "does not hold" if set(answers) == {"does not hold"} else "cannot be told"


def _near(error: ProfileError) -> tuple[int, int]:
    """How many families are near, of how many."""
    return sum(one <= NEAR for one in error.by_family), len(error.by_family)


def _answer(error: ProfileError) -> Answer:
    near, families = _near(error)
    return answer(stats.wilson(near, of=families), low=MOST, high=math.inf)


def _within(error: ProfileError) -> str:
    near, families = _near(error)
    ends = " to ".join(f"{end * 100:.0f}" for end in stats.wilson(near, of=families))
    verb = "is" if families == 1 else "are"
    return f"{near} of {families} model {'family' if families == 1 else 'families'} {verb} that near ({ends} % of families)"


def on_descriptors(judged: GroupJudged) -> list[str]:
    """The claims on parameters, MACs and MACs per parameter, and whether descriptors beat the yardsticks."""
    singles = {one.name.removeprefix("power law of "): one for one in judged.singles if one.errors}
    yards = [one for one in judged.yardsticks if one.errors]
    nothing = next((one for one in yards if one.name == CONSTANT), None)
    if not {"parameters", "MACs", PER_PARAMETER} <= set(singles) or nothing is None:
        why = judged.chosen.note or "parameters or MACs are unknown"
        return [f"Which descriptor predicts energy of {judged.group.phase}: cannot be told ({why})."]
    parameters, macs, each = (singles[name] for name in ("parameters", "MACs", PER_PARAMETER))
    alone, better = _ratio(judged, parameters, nothing), _ratio(judged, macs, parameters)
    best = [_ratio(judged, each, macs), _ratio(judged, each, parameters)]
    flags = {name: fmean(getattr(point, name) for point in judged.points) for name in ("modelled", "busy")}
    energy = f"energy of {judged.group.phase}{circumstances(**flags)}"
    known = f"{count(len(macs.errors), 'model')}, {count(macs.families, 'family')}"
    said = [
        f"Parameters do not predict {energy}: {_judge(alone, low=HALF, high=math.inf)}. "
        f"Their log errors are {_times(alone, 'a constant')}, where under {HALF:g} would be predicting ({known}).",
        f"MACs predict {energy} better than parameters: {_judge(better)}. Their log errors are {_times(better, 'parameters')}.",
        f"MACs per parameter predict {energy} best of the three: {every(map(_judge, best))}. "
        f"Their log errors are {_times(best[0], 'MACs')} and {_times(best[1], 'parameters')}.",
    ]
    for yard in yards if judged.chosen.errors else ():
        found = _ratio(judged, judged.chosen, yard)
        said.append(
            f"Descriptors, in the form chosen without the family in question, predict {energy} better than "
            f"the {yard.name}: {_judge(found)}. Their log errors are {_times(found, 'the latter')}."
        )
    return said


def _ratio(judged: GroupJudged, one: Judged, other: Judged) -> Estimate | None:
    """Mean absolute log error of one way over that of another, families counting alike."""
    sides = [_log_errors(judged, way) for way in (one, other)]
    families = sorted(sides[0].keys() & sides[1].keys())
    found = stats.ratio_of_means(*([side[family] for family in families] for side in sides)) if families else None
    return found if found is None or found.low is None else replace(found, low=max(0.0, found.low))


def _log_errors(judged: GroupJudged, way: Judged) -> dict[str, float]:
    """Mean absolute log error of each family, predicted without it."""
    errors: dict[str, list[float]] = defaultdict(list)
    for point in judged.points:
        if point.log_energy is not None and point.model in way.log_predicted:
            errors[point.family].append(abs(way.log_predicted[point.model] - point.log_energy))
    return {family: fmean(of) for family, of in errors.items()}


def _judge(ratio: Estimate | None, *, low: float = -math.inf, high: float = 1.0) -> Answer:
    """Whether one way errs so many times as much as the other: by default, whether it errs less."""
    ends = None if ratio is None or ratio.low is None or ratio.high is None else (ratio.low, ratio.high)
    return answer(ends, low=low, high=high)


def _times(ratio: Estimate | None, whose: str) -> str:
    """0.35 times those of parameters (0.2 to 0.6)"""
    if ratio is None:
        return f"unknown beside those of {whose}, which makes none"
    ends = "no interval" if ratio.low is None else f"{number(ratio.low, digits=2)} to {number(ratio.high, digits=2)}"
    return f"{number(ratio.ratio, digits=2)} times those of {whose} ({ends})"

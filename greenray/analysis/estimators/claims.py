"""Which of the claims on predicting energy hold here, in words made of the errors and of nothing else.

The claims are of Mavromatis, Katsaros and Khan, "Computing Within Limits" (2024): short profiles predict the total; parameters
do not predict energy, MACs do better, MACs per parameter best.
"""

from collections.abc import Sequence

from greenray.analysis.estimators.nested import Judged
from greenray.analysis.estimators.points import PER_PARAMETER
from greenray.analysis.estimators.predicted import GroupJudged
from greenray.analysis.estimators.profiles import BY_ENERGY, ProfileError
from greenray.analysis.wording import MINUS, count, number, plural

GOOD_ERROR = 0.05
"""Half of the models predicted within 5 %: what we take "predicts the total" to mean."""
GOOD_R2 = 0.5
"""Over half of the variance of log energy predicted out of fold: what we take "predicts energy" to mean."""


def on_profiles(errors: Sequence[ProfileError]) -> list[str]:
    """One sentence for each phase that was measured; by the energy-based way, whose only assumption is how much there will be."""
    said = []
    for phase, unit in (("training", "epoch"), ("inference", "window")):
        by_length = [e for e in errors if (e.phase, e.unit, e.way) == (phase, unit, BY_ENERGY)]
        claim = f"Short profiles predict the total of {phase} within {GOOD_ERROR * 100:g} %"
        if not by_length:
            said.append(f"{claim}: not tested here, no run of known energy is twice as long as its first {unit}.")
            continue
        good = [error for place, error in enumerate(by_length) if all(e.median <= GOOD_ERROR for e in by_length[place:])]
        verdict = f"holds here from {beginning(good[0])} on" if good else "does not hold here"
        medians, lengths = ", ".join(percent(e.median) for e in by_length), ", ".join(str(e.first) for e in by_length)
        worst, models = max(e.worst for e in by_length), count(max(e.models for e in by_length), "model")
        said.append(
            f"{claim}: {verdict}; median error {medians} after {lengths} {plural(unit)}, {percent(worst)} at worst ({models})."
        )
    return said


def beginning(error: ProfileError) -> str:
    """the first epoch, the first 3 windows, the first 5 s"""
    if error.unit == "s":
        return f"the first {error.first} s"
    return f"the first {error.unit}" if error.first == 1 else f"the first {count(error.first, error.unit)}"


def on_descriptors(judged: GroupJudged) -> list[str]:
    """The claims on parameters, MACs and MACs per parameter, and whether descriptors beat the yardsticks."""
    by_name = {one.name.removeprefix("power law of "): one for one in judged.singles if one.errors}
    if not {"parameters", "MACs", PER_PARAMETER} <= set(by_name):
        why = judged.chosen.note or "parameters or MACs are unknown"
        return [f"Which descriptor predicts energy: not tested here ({why})."]
    parameters, macs, ratio = (by_name[name] for name in ("parameters", "MACs", PER_PARAMETER))
    useless = (parameters.r2 or 0.0) < GOOD_R2
    best = _better(ratio, macs) and _better(ratio, parameters)
    models = f"{count(len(parameters.errors), 'model')}, {count(parameters.families, 'family')}"
    said = [
        f"Parameters do not predict energy (R² under {GOOD_R2:g}): {_holds(useless)} ({skill(parameters)}; {models}).",
        f"MACs do better than parameters: {_holds(_better(macs, parameters))} ({skill(macs)}).",
        f"MACs per parameter do best of the three: {_holds(best)} ({skill(ratio)}).",
    ]
    if judged.chosen.median is not None:
        yards = {yard.name: yard.median for yard in judged.yardsticks if yard.median is not None}
        beaten = all(judged.chosen.median < error for error in yards.values())
        beside = ", ".join(f"{name} {percent(error)}" for name, error in yards.items())
        told = "lower than" if beaten else "not lower than both of"
        said.append(
            f"The form chosen without the model in question: {skill(judged.chosen)}; its median error is {told} {beside}."
        )
    return said


def skill(judged: Judged) -> str:
    """Median error, out-of-fold R2 and rank correlation."""
    told = [f"median error {percent(judged.median)}", f"R² {signed(judged.r2)}", f"rank correlation {signed(judged.rank)}"]
    return ", ".join(told)


def percent(share: float | None) -> str:
    """12.3 %; factors where percents say little."""
    if share is None:
        return "unknown"
    return f"{share * 100:.1f} %" if share < 10 else f"a factor of {number(share + 1)}"


def signed(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f}".replace("-", MINUS)


def _holds(held: bool) -> str:
    return "holds here" if held else "does not hold here"


def _better(one: Judged, other: Judged) -> bool:
    return (one.r2 if one.r2 is not None else float("-inf")) > (other.r2 if other.r2 is not None else float("-inf"))

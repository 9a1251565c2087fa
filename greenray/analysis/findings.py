"""All that is known about one tactic on one model, put together."""

from dataclasses import dataclass

from greenray.analysis import cost, stats, wording
from greenray.analysis.accuracy import AccuracyChange
from greenray.analysis.breakeven import BreakEven, break_even
from greenray.analysis.effects import ModelEffect
from greenray.analysis.prices import Prices

SAMPLES = 1000
"""Cost and carbon are given for so many samples."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """All that is known about one tactic on one model.

    Attributes:
        label: the model as a reader tells it from the others (batch size, device, ... only where they differ).
        effect: ratios to the baseline.
        accuracy: change of accuracy; None when unknown.
        energy_break_even, time_break_even: when the one-off cost is earned back, in joules and in seconds.
        optimize_energy_j, optimize_time_s: one-off cost, mean over visits; None when unknown.
        baseline_cost, tactic_cost: money and carbon for `SAMPLES` samples.
        sentence: the finding in plain words.
        grade: worst grade of the arms compared; None when unknown.
    """

    label: str
    effect: ModelEffect
    accuracy: AccuracyChange | None
    energy_break_even: BreakEven
    time_break_even: BreakEven
    optimize_energy_j: float | None
    optimize_time_s: float | None
    baseline_cost: cost.Cost
    tactic_cost: cost.Cost
    sentence: str
    grade: str | None

    @property
    def tactic(self) -> str:
        return self.effect.tactic


def finding(label: str, effect: ModelEffect, accuracy: AccuracyChange | None, prices: Prices) -> Finding:
    """An effect with what follows from it."""
    optimize_j, optimize_s = (
        stats.mean_known(visit.arm.cell[name] for visit in effect.visits) for name in ("optimize_energy_j", "optimize_s")
    )
    gpu_name = effect.subject.hardware if effect.subject.device == "cuda" else None
    baseline_cost, tactic_cost = (
        cost.of_samples(samples=SAMPLES, energy_j=energy_j, time_s=time_s, gpu_name=gpu_name, prices=prices)
        for energy_j, time_s in (
            (effect.baseline_energy_j, effect.baseline_time_s),
            (effect.tactic_energy_j, effect.tactic_time_s),
        )
    )
    energy_break_even = break_even(one_off=optimize_j, baseline=effect.baseline_energy_j, tactic=effect.tactic_energy_j)
    return Finding(
        label=label,
        effect=effect,
        accuracy=accuracy,
        energy_break_even=energy_break_even,
        time_break_even=break_even(one_off=optimize_s, baseline=effect.baseline_time_s, tactic=effect.tactic_time_s),
        optimize_energy_j=optimize_j,
        optimize_time_s=optimize_s,
        baseline_cost=baseline_cost,
        tactic_cost=tactic_cost,
        sentence=wording.model_sentence(label, effect, accuracy, energy_break_even),
        grade=max((arm.grade for arm in effect.arms if arm.grade), default=None),
    )

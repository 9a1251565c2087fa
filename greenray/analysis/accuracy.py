"""What a tactic costs in accuracy: its predictions against its own visit's baseline, sample by sample."""

from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl

from greenray.analysis import stats
from greenray.analysis.arms import Arm
from greenray.analysis.effects import ModelEffect
from greenray.analysis.frames import Frames

FEW_SAMPLES = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyChange:
    """A tactic's accuracy against its baseline's; without paired predictions the optional ones are None.

    Attributes:
        baseline, tactic: accuracies (0-1), on the samples that both predicted.
        points: tactic less baseline, in percentage points; `low` and `high` its 95 % interval.
        p_value: exact McNemar test.
        agreement: share of samples on which both predict the same class.
    """

    baseline: float
    tactic: float
    points: float
    samples: int
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    agreement: float | None = None

    @property
    def distinguishable(self) -> bool | None:
        return None if self.p_value is None else self.p_value < 1 - stats.CONFIDENCE


def changes(frames: Frames, effects: Iterable[ModelEffect]) -> list[AccuracyChange | None]:
    """One entry for each effect; None where neither predictions nor accuracies are known.

    Rounds repeat the same samples, so the first visit with predictions on both sides speaks for all.
    """
    pairs = [_pair(effect) for effect in effects]
    predictions = frames.rows("predictions", (arm.cell for pair in pairs for arm in pair or ()))
    return [None if pair is None else _change(*pair, predictions) for pair in pairs]


def _pair(effect: ModelEffect) -> tuple[Arm, Arm] | None:
    pairs = ((visit.arm, baseline) for visit in effect.visits for baseline in visit.baselines)
    return next((pair for pair in pairs if None not in (arm.cell["accuracy"] for arm in pair)), None)


def _change(tactic: Arm, baseline: Arm, predictions: dict[str, pl.DataFrame]) -> AccuracyChange:
    ours, theirs = (predictions.get(arm.cell["run_id"]) for arm in (tactic, baseline))
    both = None if ours is None or theirs is None else ours.join(theirs, on=["sample", "label"], suffix="_baseline")
    if both is None or both.is_empty():
        before, after = float(baseline.cell["accuracy"]), float(tactic.cell["accuracy"])
        samples = min(arm.cell["samples_evaluated"] or 0 for arm in (tactic, baseline))
        return AccuracyChange(baseline=before, tactic=after, points=(after - before) * 100, samples=samples)
    samples = both.height
    right, right_before = both["prediction"] == both["label"], both["prediction_baseline"] == both["label"]
    lost, won = int((right_before & ~right).sum()), int((right & ~right_before).sum())
    low, high = stats.paired_difference(lost=lost, won=won, samples=samples)
    return AccuracyChange(
        baseline=int(right_before.sum()) / samples,
        tactic=int(right.sum()) / samples,
        points=(won - lost) / samples * 100,
        low=low * 100,
        high=high * 100,
        p_value=stats.mcnemar_exact(lost=lost, won=won),
        agreement=int((both["prediction"] == both["prediction_baseline"]).sum()) / samples,
        samples=samples,
    )

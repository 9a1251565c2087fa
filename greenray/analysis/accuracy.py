"""What a tactic costs in quality: where that is a share of right answers, sample by sample against its own visit's baseline."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import polars as pl

from greenray.analysis import stats
from greenray.analysis.arms import Arm
from greenray.analysis.effects import ModelEffect
from greenray.analysis.frames import Frames
from greenray.tasks.base import QualityMeasure

FEW_SAMPLES = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyChange:
    """A tactic's quality against its baseline's; without paired predictions of right answers the optional ones are None.

    Attributes:
        baseline, tactic: values of the measure, where paired on the samples that both predicted.
        difference: tactic less baseline, of shares in percentage points; `low` and `high` its 95 % interval.
        samples: evaluated ones, of which `unit` says what they are; None when unknown.
        p_value: exact McNemar test.
        agreement: share of samples on which both predict the same class.
    """

    measure: QualityMeasure
    baseline: float
    tactic: float
    difference: float
    samples: int | None
    unit: str
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    agreement: float | None = None

    @property
    def distinguishable(self) -> bool | None:
        return None if self.p_value is None else self.p_value < 1 - stats.CONFIDENCE


def changes(frames: Frames, effects: Iterable[ModelEffect]) -> list[AccuracyChange | None]:
    """One entry for each effect; None where neither predictions nor qualities are known.

    Rounds repeat the same samples, so the first visit with predictions on both sides speaks for all.
    """
    compared = ([(visit.arm, baseline) for visit in effect.visits for baseline in visit.baselines] for effect in effects)
    pairs = [next((pair for pair in each if None not in (arm.cell["accuracy"] for arm in pair)), None) for each in compared]
    predictions = frames.rows("predictions", (arm.cell for pair in pairs for arm in pair or ()))
    return [pair and _change(*pair, predictions) for pair in pairs]


def _change(tactic: Arm, baseline: Arm, predictions: dict[str, pl.DataFrame]) -> AccuracyChange:
    ours, theirs = (predictions.get(arm.cell["run_id"]) for arm in (tactic, baseline))
    both = None if ours is None or theirs is None else ours.join(theirs, on=["sample", "label"], suffix="_baseline")
    before, after = float(baseline.cell["accuracy"]), float(tactic.cell["accuracy"])
    counts = [arm.cell["samples_evaluated"] for arm in (tactic, baseline)]
    unpaired = AccuracyChange(
        measure=tactic.measure,
        baseline=before,
        tactic=after,
        difference=(after - before) * (100 if tactic.measure.share else 1),
        samples=min(counts) if all(counts) else None,
        unit=tactic.cell["evaluation_unit"] or tactic.cell["unit"] or "sample",
    )
    if tactic.measure.kind != "right-answers" or both is None or both.is_empty():
        return unpaired
    samples = both.height
    right, right_before = both["prediction"] == both["label"], both["prediction_baseline"] == both["label"]
    lost, won = int((right_before & ~right).sum()), int((right & ~right_before).sum())
    low, high = stats.paired_difference(lost=lost, won=won, samples=samples)
    return replace(
        unpaired,
        baseline=int(right_before.sum()) / samples,
        tactic=int(right.sum()) / samples,
        difference=(won - lost) / samples * 100,
        low=low * 100,
        high=high * 100,
        p_value=stats.mcnemar_exact(lost=lost, won=won),
        agreement=int((both["prediction"] == both["prediction_baseline"]).sum()) / samples,
        samples=samples,
    )

"""What a tactic costs in accuracy: its predictions against its own visit's baseline, sample by sample."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from greenray.analysis import stats
from greenray.analysis.arms import Arm
from greenray.analysis.effects import ModelEffect
from greenray.store import reader

FEW_SAMPLES = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyChange:
    """A tactic's accuracy against its baseline's.

    Attributes:
        baseline, tactic: accuracies (0-1), on the samples that both predicted.
        points: tactic less baseline, in percentage points; negative = accuracy lost.
        low, high: 95 % interval of `points`; None when there are no paired predictions.
        p_value: exact McNemar test; None likewise.
        agreement: share of samples on which both predict the same class; None likewise.
        samples: samples behind the comparison.
    """

    baseline: float
    tactic: float
    points: float
    low: float | None
    high: float | None
    p_value: float | None
    agreement: float | None
    samples: int

    @property
    def distinguishable(self) -> bool | None:
        return None if self.p_value is None else self.p_value < 1 - stats.CONFIDENCE


def changes(out: Path, effects: Iterable[ModelEffect]) -> list[AccuracyChange | None]:
    """One entry for each effect; None where neither predictions nor accuracies are known.

    Rounds repeat the same samples, so the first visit with predictions on both sides speaks for all.
    """
    effects = list(effects)
    pairs = [_pair(effect) for effect in effects]
    wanted = {arm.cell["run_id"] for pair in pairs for arm in pair or ()}
    tables = reader.scan(out, table="predictions").filter(pl.col("run_id").is_in(sorted(wanted)))
    predictions = {
        str(key[0]): rows for key, rows in tables.select("run_id", "sample", "label", "prediction").collect().group_by("run_id")
    }
    return [None if pair is None else _change(*pair, predictions) for pair in pairs]


def _pair(effect: ModelEffect) -> tuple[Arm, Arm] | None:
    """The tactic's arm and a baseline of the same visit, both with an accuracy."""
    candidates = ((visit.arm, baseline) for visit in effect.visits for baseline in visit.baselines)
    known = ((arm, baseline) for arm, baseline in candidates if None not in (arm.cell["accuracy"], baseline.cell["accuracy"]))
    return next(known, None)


def _change(tactic: Arm, baseline: Arm, predictions: dict[str, pl.DataFrame]) -> AccuracyChange:
    ours, theirs = predictions.get(tactic.cell["run_id"]), predictions.get(baseline.cell["run_id"])
    both = None if ours is None or theirs is None else ours.join(theirs, on=["sample", "label"], suffix="_baseline")
    if both is None or both.is_empty():
        return _unpaired(tactic, baseline)
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


def _unpaired(tactic: Arm, baseline: Arm) -> AccuracyChange:
    ours, theirs = float(tactic.cell["accuracy"]), float(baseline.cell["accuracy"])
    counts: Sequence[int] = [arm.cell["samples_evaluated"] or 0 for arm in (tactic, baseline)]
    return AccuracyChange(
        baseline=theirs,
        tactic=ours,
        points=(ours - theirs) * 100,
        low=None,
        high=None,
        p_value=None,
        agreement=None,
        samples=min(counts),
    )

"""What an analysis says: frozen results, ready to be shown."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from greenray.analysis.accuracy import AccuracyChange
from greenray.analysis.arms import Arm
from greenray.analysis.breakeven import BreakEven
from greenray.analysis.cost import Cost
from greenray.analysis.effects import ModelEffect
from greenray.analysis.overall import OverallEffect
from greenray.analysis.predict import Estimator
from greenray.analysis.prices import Prices
from greenray.analysis.quality import Quality
from greenray.analysis.training import TrainingRun


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """All that is known about one tactic on one model.

    Attributes:
        label: the model as a reader tells it from the others (batch size, device, ... only where they differ).
        effect: ratios to the baseline.
        accuracy: change of accuracy; None when unknown.
        energy_break_even, time_break_even: when the one-off cost is earned back, in joules and in seconds.
        optimize_energy_j, optimize_time_s: one-off cost, mean over visits; None when unknown.
        baseline_cost, tactic_cost: money for 1,000 samples.
        baseline_grams, tactic_grams: g CO2e for 1,000 samples; None when unknown.
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
    baseline_cost: Cost
    tactic_cost: Cost
    baseline_grams: float | None
    tactic_grams: float | None
    sentence: str
    grade: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Caveat:
    """Something that the numbers cannot tell.

    Attributes:
        topic: beside which numbers it is read: energy, accuracy, cost, carbon, or wall for the quality of the measurements.
        text: the sentence.
        weighty: whether it changes how the headline is read, and so stands there.
    """

    topic: str
    text: str
    weighty: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table of text."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerTrace:
    """What the sensors saw of one cell.

    Attributes:
        label: the cell, for people.
        quantity: "power" in watts or "busy CPUs".
        series: for each sensor its times (s since the attempt's first window) and values.
        windows: (kind, start, end) on the same clock.
    """

    label: str
    quantity: str
    series: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]]
    windows: tuple[tuple[str, float, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """Everything a report shows, computed from one store.

    Attributes:
        out: the store.
        headline: plain sentences, most important first.
        table: effects for a terminal.
        findings, overall: effects by model, and over models.
        training: training cells that are ok.
        arms: every settled cell.
        labels: model label by (sweep, cell_id).
        estimators: how well short profiles and descriptors predict.
        caveats: what these numbers cannot tell.
        prices: what money and carbon were computed with.
        quality: what the work windows below grade A missed.
        grades: number of work windows by grade; "unknown" counts windows without one.
        attempts: number of attempts, failed ones included.
        attempts_energy_j: what all attempts together cost; None when none knows its energy.
        attempts_unknown: attempts whose energy nobody knows, which that leaves out.
        wasted_energy_j: energy of attempts that did not end ok.
        trace: the sensors during one cell; None when no trace was kept.
        manifests: what each sweep wrote down before its first cell.
        finished: when the last attempt ended (ISO 8601, UTC); "" for an empty store.
    """

    out: Path
    headline: list[str]
    table: Table
    findings: tuple[Finding, ...]
    overall: tuple[OverallEffect, ...]
    training: tuple[TrainingRun, ...]
    arms: tuple[Arm, ...]
    labels: Mapping[tuple[str, str], str]
    estimators: tuple[Estimator, ...]
    caveats: tuple[Caveat, ...]
    prices: Prices
    quality: Quality
    grades: Mapping[str, int]
    attempts: int
    attempts_energy_j: float | None
    attempts_unknown: int
    wasted_energy_j: float | None
    trace: PowerTrace | None
    manifests: Mapping[str, Mapping[str, Any]]
    finished: str

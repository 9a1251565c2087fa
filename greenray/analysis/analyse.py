"""From a store to an analysis: the table of contents of this package."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from greenray.analysis import accuracy, arms, caveats, effects, summary, visits, wording
from greenray.analysis import prices as price_tables
from greenray.analysis.arms import Arm
from greenray.analysis.caveats import Caveat
from greenray.analysis.declared import declared
from greenray.analysis.findings import Finding, Key, finding, label_cells
from greenray.analysis.frames import Frames, grades
from greenray.analysis.null_check import NullCheck, null_checks
from greenray.analysis.overall import OverallEffect, overall_effects
from greenray.analysis.prices import Prices
from greenray.analysis.summary import Best
from greenray.analysis.training import TrainingRun, training_runs
from greenray.config.settings import CpuModel
from greenray.store.base import Store
from greenray.store.registry import open_store


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """What several parts of a report need, computed once; a part that needs more queries the frames.

    Attributes:
        arms: every settled cell; `labels` of their models are by `Arm.key`.
        findings, overall: effects by model, and over models.
        best: the tactic that clearly saves each model most, within the limit of accuracy.
        clear, not_clear, over_models, without_result: the headline in plain sentences, most important first.
        null_checks: whether comparisons between equals show no difference, by hardware.
        training: training cells that are ok.
        grades: number of work windows by grade; "" counts those without one.
        unit, measure: what a sample is, and what its quality is called, where all findings agree.
    """

    frames: Frames = field(compare=False, repr=False)
    prices: Prices
    arms: tuple[Arm, ...]
    labels: Mapping[Key, str]
    findings: tuple[Finding, ...]
    overall: tuple[OverallEffect, ...]
    best: tuple[Best, ...]
    clear: tuple[str, ...]
    not_clear: tuple[str, ...]
    over_models: tuple[str, ...]
    without_result: tuple[str, ...]
    null_checks: tuple[NullCheck, ...]
    training: tuple[TrainingRun, ...]
    caveats: tuple[Caveat, ...]
    grades: Mapping[str, int]
    unit: str
    measure: str

    @property
    def headline(self) -> list[str]:
        return [*self.clear, *self.not_clear, *self.over_models, *self.without_result]

    def caveats_on(self, topic: str) -> tuple[str, ...]:
        """What is said beside the numbers; the weighty ones stand at the top of the page already."""
        return tuple(caveat.text for caveat in self.caveats if caveat.topic == topic and not caveat.weighty)


def analyse(store: Store | Path, *, prices: Path | None = None, region: str | None = None) -> Analysis:
    """Analyse a store, or that in a folder; measures nothing, writes nothing.

    Raises StoreError where it is no store, ConfigError where prices or region (see `prices.load`) are not understood.
    """
    return analyse_frames(Frames(open_store(store) if isinstance(store, Path) else store), prices=prices, region=region)


def analyse_frames(frames: Frames, *, prices: Path | None = None, region: str | None = None) -> Analysis:
    """The same of tables that are read already, or that were never on a disk; ConfigError as above."""
    rates = price_tables.load(prices=prices, region=region)
    cells = arms.load(frames)
    names = label_cells(cells)
    plans = declared(frames.manifests)
    by_model = effects.model_effects(visits.visit_effects(cells), plans)
    checks = null_checks(cells, by_model)
    findings = [
        finding(names[effect.visits[0].arm.key], effect, change, rates)
        for effect, change in zip(by_model, accuracy.changes(frames, by_model), strict=True)
    ]
    overall = overall_effects(findings)
    cpu_models = [manifest["cpu_model"] for manifest in frames.manifests.values() if isinstance(manifest.get("cpu_model"), dict)]
    assumed = sorted({CpuModel.model_construct(**model).assumption for model in cpu_models})
    found = caveats.find(frames, arms=cells, findings=findings, overall=overall, checks=checks, prices=rates, assumptions=assumed)
    return Analysis(
        frames=frames,
        prices=rates,
        arms=tuple(cells),
        labels=names,
        findings=tuple(findings),
        overall=tuple(overall),
        best=tuple(summary.best_by_model(findings)),
        clear=tuple(summary.clear(findings)),
        not_clear=tuple(summary.not_clear(findings)),
        over_models=tuple(summary.over_models(overall)),
        without_result=tuple(summary.without_result(cells, names)),
        null_checks=tuple(checks),
        training=tuple(training_runs(frames, cells)),
        caveats=(*found, *caveats.of_wall(frames)),
        grades=grades(frames.work["grade"]),
        unit=wording.common([effect.unit for effect in by_model] or [arm.cell["unit"] or "sample" for arm in cells], "sample"),
        measure=wording.common((effect.arms[0].measure.name for effect in by_model), "quality"),
    )

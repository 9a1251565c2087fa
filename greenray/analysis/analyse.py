"""From a store to an analysis: the table of contents of this package."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from greenray.analysis import (
    accuracy,
    arms,
    carbon,
    caveats,
    cost,
    effects,
    labels,
    predict,
    quality,
    stats,
    traces,
    training,
    wall,
    wording,
)
from greenray.analysis import prices as price_tables
from greenray.analysis.arms import Arm
from greenray.analysis.breakeven import break_even
from greenray.analysis.effects import ModelEffect, VisitEffect
from greenray.analysis.overall import OverallEffect, overall_effects
from greenray.analysis.prices import Prices
from greenray.analysis.results import Analysis, Finding, Table
from greenray.config.settings import CpuModel
from greenray.store import reader

SAMPLES = 1000
"""Cost and carbon are given for so many samples."""


def analyse(out: Path, *, prices: Path | None = None, region: str | None = None) -> Analysis:
    """Analyse a store; measures nothing, writes nothing.

    Args:
        out: the store.
        prices: file with prices of the user's own (see `greenray.analysis.prices`).
        region: country by ISO 3166 alpha-3 code or name; the world's averages if left out.

    Raises:
        StoreError: `out` is no store.
        ConfigError: unknown region, or prices that cannot be used.
    """
    out = Path(out)
    rates = price_tables.load(prices=prices, region=region)
    cells = arms.load(out)
    names = labels.label_cells(cells)
    by_model = effects.model_effects(effects.visit_effects(cells))
    overall = overall_effects(by_model)
    changes = accuracy.changes(out, by_model)
    findings = [
        _finding(names[_key(effect.visits[0].arm)], effect, change, rates)
        for effect, change in zip(by_model, changes, strict=True)
    ]
    runs = training.runs(out, cells)
    attempts = _attempts(out)
    manifests = reader.manifests(out)
    return Analysis(
        out=out,
        headline=_headline(overall, findings, cells, names),
        table=_table(findings),
        findings=tuple(findings),
        overall=tuple(overall),
        training=tuple(runs),
        arms=tuple(cells),
        labels=names,
        estimators=(*predict.short_profiles(runs), *predict.descriptors(cells)),
        caveats=(
            *caveats.find(arms=cells, findings=findings, overall=overall, prices=rates, assumptions=_assumptions(manifests)),
            *wall.caveats(out),
        ),
        prices=rates,
        quality=quality.load(out),
        grades=dict(sorted(Counter(grade or "unknown" for arm in cells for grade in arm.grades).items())),
        attempts=attempts.height,
        attempts_energy_j=_sum(attempts["energy_j"]),
        attempts_unknown=attempts["energy_j"].null_count(),
        wasted_energy_j=_sum(attempts.filter(pl.col("status") != "ok")["energy_j"]),
        trace=traces.pick(out, cells, names),
        manifests=manifests,
        finished=_finished(attempts),
    )


def _finding(label: str, effect: ModelEffect, change: accuracy.AccuracyChange | None, rates: Prices) -> Finding:
    optimize_j, optimize_s = (_mean_of_cells(effect.visits, name) for name in ("optimize_energy_j", "optimize_s"))
    gpu_name = effect.subject.hardware if effect.subject.device == "cuda" else None
    baseline_cost, tactic_cost = (
        cost.of_samples(samples=SAMPLES, energy_j=energy_j, time_s=time_s, gpu_name=gpu_name, prices=rates)
        for energy_j, time_s in (
            (effect.baseline_energy_j, effect.baseline_time_s),
            (effect.tactic_energy_j, effect.tactic_time_s),
        )
    )
    energy_break_even = break_even(one_off=optimize_j, baseline=effect.baseline_energy_j, tactic=effect.tactic_energy_j)
    grades = [grade for visit in effect.visits for arm in (visit.arm, *visit.baselines) for grade in arm.grades if grade]
    return Finding(
        label=label,
        effect=effect,
        accuracy=change,
        energy_break_even=energy_break_even,
        time_break_even=break_even(one_off=optimize_s, baseline=effect.baseline_time_s, tactic=effect.tactic_time_s),
        optimize_energy_j=optimize_j,
        optimize_time_s=optimize_s,
        baseline_cost=baseline_cost,
        tactic_cost=tactic_cost,
        baseline_grams=_grams(effect.baseline_energy_j, rates),
        tactic_grams=_grams(effect.tactic_energy_j, rates),
        sentence=wording.model_sentence(label, effect, change, energy_break_even),
        grade=max(grades, default=None),
    )


def _grams(energy_j: float | None, rates: Prices) -> float | None:
    return carbon.grams_co2e(None if energy_j is None else energy_j * SAMPLES, rates)


def _headline(
    overall: Sequence[OverallEffect], findings: Sequence[Finding], cells: Sequence[Arm], names: dict[tuple[str, str], str]
) -> list[str]:
    """Over models first, then each model, then what could not be had."""
    return [
        *(wording.overall_sentence(effect, overall_context(effect, overall)) for effect in overall),
        *(finding.sentence for finding in findings),
        *without_result(cells, names),
    ]


def overall_context(effect: OverallEffect, overall: Sequence[OverallEffect]) -> str:
    """What tells this group of models from the others, if there are others."""
    parts = {
        "sweep": f"sweep {effect.sweep}",
        "phase": effect.phase,
        "batch_size": f"batch {effect.batch_size}",
        "device": effect.device,
        "hardware": effect.hardware,
        "scope": effect.scope,
    }
    differing = [text for name, text in parts.items() if len({getattr(other, name) for other in overall}) > 1]
    return "".join(f", {text}" for text in differing)


def without_result(cells: Sequence[Arm], names: dict[tuple[str, str], str]) -> list[str]:
    """Why cells have no result; one sentence for all models that share a tactic, a status and a reason."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for arm in cells:
        if not arm.ok:
            reason = str(arm.cell["error"] or "no reason was written down").strip().rstrip(".")
            members = groups.setdefault((arm.cell["tactic"], arm.cell["status"], reason), [])
            members += [name for name in [names[_key(arm)]] if name not in members]
    return [
        f"{', '.join(members)}: {tactic} {_STATUS_WORDS.get(status, status)} ({reason})."
        for (tactic, status, reason), members in groups.items()
    ]


_STATUS_WORDS = {
    "not_applied": "was not applied",
    "unsupported": "is unsupported",
    "oom": "ran out of memory",
    "timeout": "ran out of time",
}


def _table(findings: Sequence[Finding]) -> Table:
    """The headline table of a terminal."""
    columns = ("model", "tactic", "energy", "throughput", "latency p50", "accuracy", "pays back after", "grade")
    rows = [
        (
            finding.label,
            finding.effect.tactic,
            wording.percent_change(finding.effect.energy),
            throughput_change(finding.effect),
            wording.percent_change(finding.effect.latency_p50),
            wording.points_change(finding.accuracy),
            pay_back(finding),
            finding.grade or wording.UNKNOWN,
        )
        for finding in findings
    ]
    return Table(columns=columns, rows=tuple(rows))


def throughput_change(effect: ModelEffect) -> str:
    """Throughput is one over time per sample, so its interval is the other way round."""
    time = effect.time
    if time is None:
        return wording.UNKNOWN
    low, high = (None if time.high is None else 1 / time.high), (None if time.low is None else 1 / time.low)
    return wording.percent_change(stats.Estimate(ratio=1 / time.ratio, low=low, high=high, basis=time.basis, count=time.count))


def pay_back(finding: Finding, *, time: bool = False) -> str:
    """Break-even in samples, or the verdict; in energy, or else in time."""
    effect = finding.effect
    found, saving = (finding.time_break_even, effect.time) if time else (finding.energy_break_even, effect.energy)
    if saving is None or effect.subject.phase != "inference":
        return wording.UNKNOWN if saving is None else ""
    if saving.clear is False:
        return "no clear saving"
    return wording.round_count(found.samples) if found.samples is not None else found.verdict


def _attempts(out: Path) -> pl.DataFrame:
    return reader.scan(out, table="cells").select("sweep", "cell_id", "attempt", "status", "energy_j", "finished_at").collect()


def _assumptions(manifests: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What the sweeps assumed of processors without a meter, each once."""
    models = [manifest["cpu_model"] for manifest in manifests.values() if isinstance(manifest.get("cpu_model"), dict)]
    return sorted({CpuModel.model_construct(**model).assumption for model in models})


def _sum(values: pl.Series) -> float | None:
    known = values.drop_nulls()
    return float(known.sum()) if known.len() else None


def _finished(attempts: pl.DataFrame) -> str:
    known = attempts["finished_at"].drop_nulls().sort()
    return known[-1].isoformat(timespec="seconds").replace("+00:00", "Z") if known.len() else ""


def _mean_of_cells(visits: Sequence[VisitEffect], column: str) -> float | None:
    known = [visit.arm.cell[column] for visit in visits if visit.arm.cell[column] is not None]
    return stats.mean(known) if known else None


def _key(arm: Arm) -> tuple[str, str]:
    return arm.cell["sweep"], arm.cell["cell_id"]

"""The sections around the answer: training, what a measurement looks like, estimators, hardware, cells, how to do it again."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import yaml

from greenray.analysis.arms import Arm, settings
from greenray.analysis.results import Analysis
from greenray.analysis.wording import UNKNOWN, quantity
from greenray.report import charts
from greenray.report.document import Block, Bullets, Chart, Code, Grid, Notes, Section, Text, without_empty


def training(analysis: Analysis) -> Section | None:
    if not analysis.training:
        return None
    rows = [
        (
            analysis.labels[run.arm.cell["sweep"], run.arm.cell["cell_id"]],
            run.arm.cell["tactic"],
            run.settings,
            str(len(run.epochs_s)),
            quantity(run.epoch_energy_j, "J"),
            quantity(run.energy_j, "J"),
            quantity(run.active_j, "J") if run.active_j is not None else "",
            quantity(run.epoch_time_s, "s"),
            _accuracy(run.arm),
            run.arm.cell["grade"] or max((grade for grade in run.arm.grades if grade), default=UNKNOWN),
        )
        for run in analysis.training
    ]
    columns = (
        "model",
        "tactic",
        "settings",
        "epochs",
        "energy / epoch",
        "energy, all epochs",
        "active, all epochs",
        "time / epoch",
        "test accuracy",
        "grade",
    )
    blocks: tuple[Block, ...] = (without_empty(Grid(columns=columns, rows=tuple(rows), text_columns=frozenset({0, 1, 2}))),)
    if any(run.arm.modelled_share is not None and run.arm.modelled_share > 0.5 for run in analysis.training):
        blocks = (Text(text="Energies are estimated from CPU time."), *blocks)
    return Section(id="training", title="Training", blocks=blocks)


def measurement(analysis: Analysis) -> Section | None:
    if analysis.trace is None:
        return None
    trace = analysis.trace
    caption = f"{trace.label}. Shaded are the windows whose energy is read off this trace."
    if trace.quantity != "power":
        caption += " This host has no power sensor: what is seen is processor time."
    chart = Chart(id="trace", figure=charts.power_trace(trace), caption=caption)
    return Section(id="measurement", title="What a measurement looks like", blocks=(chart,))


def quality(analysis: Analysis) -> Section | None:
    """How many windows are below grade A, and why; and which boards were not measured at all."""
    found = analysis.quality
    refused = tuple(
        f"{sentence.rstrip('.')}."
        for manifest in analysis.manifests.values()
        for sentence in dict.fromkeys(manifest.get("refused", ()))
    )
    blocks: list[Block] = []
    if found.windows:
        text = f"{found.windows:,} work windows in {found.cells:,} cells: {_grades(found.grades)}."
        if found.without_energy:
            text += f" {found.without_energy:,} have no total energy: they are left out, and nothing stands in for them."
        blocks.append(Text(text=text))
    at_the_plug = tuple(caveat.text for caveat in analysis.caveats if caveat.topic == "wall")
    if at_the_plug:
        blocks.append(Notes(items=at_the_plug))
    if found.reasons:
        rows = [
            (
                reason.text,
                f"{reason.windows:,}",
                f"{reason.cells:,}",
                ", ".join(f"{count:,} {'without' if grade == 'none' else grade}" for grade, count in reason.grades.items()),
                f"{reason.without_energy:,}" if reason.without_energy else "",
            )
            for reason in found.reasons
        ]
        columns = ("why not better", "windows", "cells", "grades", "without energy")
        blocks.append(without_empty(Grid(columns=columns, rows=tuple(rows), text_columns=frozenset({0, 3}))))
    if refused:
        blocks.append(Bullets(heading="Refused when the sweep last ran", items=refused))
    return Section(id="quality", title="How good the measurements are", blocks=tuple(blocks)) if blocks else None


def _grades(grades: Mapping[str, int]) -> str:
    return ", ".join(
        f"{count:,} {'without a grade' if grade == 'none' else f'of grade {grade}'}" for grade, count in grades.items()
    )


def estimators(analysis: Analysis) -> Section | None:
    if not any(arm.ok for arm in analysis.arms):
        return None
    rows = [
        (found.name, f"{found.error * 100:.1f} %", f"{found.worst * 100:.1f} %", str(found.cases))
        for found in analysis.estimators
        if found.error is not None and found.worst is not None
    ]
    missing = [f"{found.name}: {found.note}." for found in analysis.estimators if found.error is None]
    blocks: list[Block] = [Text(text="How far off a cheaper look would have been on these measurements. Errors are relative.")]
    if rows:
        columns = ("estimate", "median error", "worst error", "cases")
        blocks.append(Grid(columns=columns, rows=tuple(rows), text_columns=frozenset({0})))
    if missing:
        blocks.append(Bullets(heading="Not enough data", items=tuple(missing)))
    return Section(id="estimators", title="Predicting instead of measuring", blocks=tuple(blocks))


def hardware(analysis: Analysis) -> Section | None:
    if not analysis.arms:
        return None
    machines = ("host", "cpu_name", "gpu_name", "gpu_uuid", "power_limit_w", "driver_version")
    software = ("python_version", "torch_version", "transformers_version", "greenray_version")
    options = ("phase", "device", "dtype", "attention", "num_threads", "batch_size")
    ok = [arm for arm in analysis.arms if arm.ok] or list(analysis.arms)
    grids = (
        _distinct(ok, machines, "Machines"),
        _distinct(ok, software, "Software"),
        _distinct(ok, options, "Settings of the cells", switches=True),
    )
    return Section(id="hardware", title="Hardware and settings", blocks=grids)


def cells(analysis: Analysis) -> Section | None:
    if not analysis.arms:
        return None
    statuses: dict[str, int] = {}
    for arm in analysis.arms:
        statuses[arm.cell["status"]] = statuses.get(arm.cell["status"], 0) + 1
    said = ", ".join(f"{count} {status.replace('_', ' ')}" for status, count in sorted(statuses.items()))
    text = f"{len(analysis.arms)} cells in {analysis.attempts} attempts: {said}."
    if analysis.wasted_energy_j:
        text += f" Attempts without a result cost {quantity(analysis.wasted_energy_j, 'J')}."
    rows = [tuple(_cell_row(analysis, arm)) for arm in analysis.arms]
    columns = ("model", "tactic", "phase", "visit", "status", "duration", "energy", "board idle", "grade", "cell", "remark")
    text_columns = frozenset({0, 1, 2, 3, 4, 9, 10})
    grid = without_empty(
        Grid(columns=columns, rows=tuple(rows), text_columns=text_columns, folded=len(rows) > 12, heading="All cells")
    )
    return Section(id="cells", title="What happened to each cell", blocks=(Text(text=text), grid))


def reproducibility(analysis: Analysis) -> Section:
    blocks: list[Block] = []
    if analysis.finished:
        blocks.append(
            Text(text=f"The last attempt ended at {analysis.finished}. The same command with the same config resumes this sweep.")
        )
    for name, manifest in analysis.manifests.items():
        for part in ("config", "versions", "hardware"):
            if manifest.get(part):
                text = yaml.safe_dump(
                    _without_nulls(manifest[part]), sort_keys=True, allow_unicode=True, default_flow_style=False
                )
                blocks.append(Code(heading=f"{part.capitalize()} of {name}", text=text))
    blocks.append(
        Text(text="Every figure on this page is computed from the store's Parquet files; greenray report computes it again.")
    )
    return Section(id="reproducibility", title="Reproducibility", blocks=tuple(blocks))


def _without_nulls(value: Any) -> Any:
    """A manifest without what was left at its default of nothing: shorter to read, and the same when loaded."""
    if isinstance(value, dict):
        return {str(key): _without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [_without_nulls(inner) for inner in value] if isinstance(value, list) else value


def _cell_row(analysis: Analysis, arm: Arm) -> Iterator[str]:
    cell = arm.cell
    yield analysis.labels[cell["sweep"], cell["cell_id"]]
    yield cell["tactic"] + (f" ({cell['bracket']})" if cell["bracket"] else "")
    yield cell["phase"] or ""
    yield "" if cell["visit"] is None else f"round {cell['round']}, visit {cell['visit']}"
    yield cell["status"].replace("_", " ")
    yield quantity(cell["duration_s"], "s")
    yield quantity(cell["energy_j"], "J")
    yield "" if arm.idle_w is None else f"{arm.idle_w:.1f} W" + (" (not settled)" if arm.idle_settled is False else "")
    yield cell["grade"] or max((grade for grade in arm.grades if grade), default="")
    yield cell["cell_id"]
    yield cell["error"] or ("; ".join(arm.missing_reasons) if arm.windows_without_energy else "")


def _distinct(arms: Iterable[Arm], columns: tuple[str, ...], heading: str, *, switches: bool = False) -> Grid:
    """What the cells have in these columns, each combination once."""

    def row(arm: Arm) -> tuple[str, ...]:
        values = ["" if arm.cell[name] is None else str(arm.cell[name]) for name in columns]
        return (*values, _switches(arm)) if switches else tuple(values)

    rows = sorted({row(arm) for arm in arms})
    columns = (*columns, "switches") if switches else columns
    names = tuple(name.replace("_", " ") for name in columns)
    return without_empty(Grid(heading=heading, columns=names, rows=tuple(rows), text_columns=frozenset(range(len(columns)))))


def _switches(arm: Arm) -> str:
    """The switches that were set; what was observed on the way (warm-up) is none."""
    given = {key: value for key, value in settings(arm.cell).items() if not key.startswith("warmup")}
    return ", ".join(f"{key.replace('_', ' ')} {json.dumps(value).strip(chr(34))}" for key, value in sorted(given.items()))


def _accuracy(arm: Arm) -> str:
    cell = arm.cell
    if cell["accuracy"] is None:
        return UNKNOWN
    text = f"{cell['accuracy'] * 100:.1f} %"
    if cell["accuracy_low"] is None or cell["accuracy_high"] is None:
        return text
    return f"{text} ({cell['accuracy_low'] * 100:.1f} to {cell['accuracy_high'] * 100:.1f})"

"""The CPU arm and the CUDA arm of a tactic on a model, side by side, each over the whole scope and by the board's meter alone.

A tactic without an arm on CUDA stands beside the baseline there. Where neither was measured there is nothing beside the CPU arm
but what a board drew meanwhile.
"""

from collections.abc import Mapping
from typing import Any

from greenray.analysis import applied, devices
from greenray.analysis.analyse import Analysis
from greenray.analysis.devices import Side, SideBySide
from greenray.analysis.effects import ModelEffect
from greenray.analysis.findings import Finding
from greenray.analysis.measures import Change, changes
from greenray.analysis.stats import Estimate
from greenray.analysis.wording import percent_change
from greenray.report.sections.over_models import change as said
from greenray.report.tables.table import Row, Table, table, text

DEVICES = ("cpu", "cuda")
MEASURED = ("energy_j", "gpu_energy_j", "time_s")
SHARED = ("sweep", "phase", "model", "model_family", "model_source", "model_revision", "dataset", "batch_size", "stage")
PARTS = ("baseline", "with_tactic", "ratio", "ratio_low", "ratio_high", "basis")
ACROSS = ("cpu_over_cuda_baseline_energy_j", "cpu_over_cuda_baseline_gpu_energy_j")
"""Of a tactic on the CPU over the baseline on CUDA."""
COLUMNS = (
    "label",
    *SHARED,
    "tactic",
    *(f"{device}_{measure}_{part}" for device in DEVICES for measure in MEASURED for part in PARTS),
    *(f"{device}_{what}" for device in DEVICES for what in ("hardware", "energy_scope", "modelled", "hardly_applied")),
    *(f"{across}_{part}" for across in ACROSS for part in PARTS[2:]),
)


def build(analysis: Analysis) -> Table:
    findings = {id(finding.effect): finding for finding in analysis.findings}
    rows = devices.side_by_side(analysis.arms, [finding.effect for finding in analysis.findings])
    return table(
        [_row(row, findings) for row in rows if _has_two_views(row)],
        columns=COLUMNS,
        caption="The same tactic on the processor and on the board: change of the whole energy, and of the board's alone.",
        printed={
            "model": text("label"),
            "tactic": text("named"),
            "batch": text("batch_size"),
            "CPU arm, energy": text("cpu_energy_j"),
            "CPU arm, GPU alone": text("cpu_gpu_energy_j"),
            "CUDA arm, energy": text("cuda_energy_j"),
            "CUDA arm, GPU alone": text("cuda_gpu_energy_j"),
            "CPU arm over CUDA baseline, energy": text(ACROSS[0]),
            "the same, GPU alone": text(ACROSS[1]),
        },
        text=("model", "tactic"),
    )


def _has_two_views(row: SideBySide) -> bool:
    return len(row.sides) == len(DEVICES) or any(side.gpu.energy for side in row.sides) or row.across is not None


def _row(row: SideBySide, findings: Mapping[int, Finding]) -> Row:
    subject = row.sides[0].effect.subject
    found: dict[str, Any] = dict.fromkeys(COLUMNS) | {name: getattr(subject, name) or None for name in SHARED}
    found |= {"label": row.label, "tactic": row.tactic, "named": applied.marked(row.tactic, hardly=row.hardly)}
    for device, side in zip(DEVICES, (row.cpu, row.cuda), strict=True):
        found |= _side(device, side, findings)
    for name, estimate in zip(ACROSS, (row.across, row.across_gpu) if row.cuda is None else (None, None), strict=True):
        found |= {name: "" if estimate is None else percent_change(estimate)} | _estimate(name, estimate)
    return found


def _side(device: str, side: Side | None, findings: Mapping[int, Finding]) -> dict[str, Any]:
    if side is None:
        return {f"{device}_{name}": "" for name in MEASURED}
    effect: ModelEffect = side.effect
    found: dict[str, Any] = {f"{device}_hardware": effect.subject.hardware, f"{device}_energy_scope": effect.subject.scope}
    found |= {f"{device}_modelled": effect.modelled, f"{device}_hardly_applied": applied.is_hardly(effect)}
    measured = changes(findings[id(effect)])
    for name in MEASURED:
        found |= {f"{device}_{name}_{part}": value for part, value in _parts(measured[name]).items()}
        found[f"{device}_{name}"] = said(measured[name])  # for print
    return found


def _parts(change: Change) -> dict[str, Any]:
    values = (change.baseline, change.tactic, change.value, change.low, change.high, change.basis)
    return dict(zip(PARTS, values, strict=True))


def _estimate(name: str, estimate: Estimate | None) -> dict[str, Any]:
    if estimate is None:
        return {}
    values = (estimate.ratio, estimate.low, estimate.high, estimate.basis)
    return {f"{name}_{part}": value for part, value in zip(PARTS[2:], values, strict=True)}

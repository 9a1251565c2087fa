"""The CPU arm and the CUDA arm of the same tactic on the same model, side by side; only where both were measured.

Where a device is hardware of several kinds, a row for each pair.
"""

from collections import defaultdict
from itertools import product
from typing import Any

from greenray.analysis.analyse import Analysis
from greenray.analysis.findings import Finding
from greenray.analysis.measures import Change, changes
from greenray.report.sections.over_models import change as said
from greenray.report.tables.table import Row, Table, table, text

DEVICES = ("cpu", "cuda")
MEASURED = ("energy_j", "gpu_energy_j", "time_s")
SHARED = ("sweep", "phase", "model", "model_family", "model_source", "model_revision", "dataset", "batch_size", "stage")
COLUMNS = (
    *SHARED,
    "tactic",
    "modelled",
    *(f"{device}_{place}" for device in DEVICES for place in ("hardware", "energy_scope")),
    *(
        f"{device}_{measure}_{part}"
        for device in DEVICES
        for measure in MEASURED
        for part in ("baseline", "with_tactic", "ratio", "ratio_low", "ratio_high", "basis")
    ),
)


def build(analysis: Analysis) -> Table:
    arms: dict[tuple[Any, ...], dict[str, list[Finding]]] = defaultdict(lambda: defaultdict(list))
    for finding in analysis.findings:
        subject = finding.effect.subject
        key = (*(getattr(subject, name) for name in SHARED), subject.hyperparameters, finding.tactic)
        arms[key][subject.device].append(finding)
    both = [
        (key, dict(zip(DEVICES, pair, strict=True)))
        for key, found in arms.items()
        for pair in product(*(found[device] for device in DEVICES))
    ]
    return table(
        [_row(key, found) for key, found in both],
        columns=COLUMNS,
        caption="The same tactic on the processor and on the board: change of the whole energy, and of the board's alone.",
        printed={
            "model": text("model"),
            "tactic": text("named"),
            "batch": text("batch_size"),
            "CPU arm, energy": text("cpu_energy_j"),
            "CPU arm, GPU alone": text("cpu_gpu_energy_j"),
            "CUDA arm, energy": text("cuda_energy_j"),
            "CUDA arm, GPU alone": text("cuda_gpu_energy_j"),
        },
        text=("model", "tactic"),
    )


def _row(key: tuple[Any, ...], found: dict[str, Finding]) -> Row:
    row: dict[str, Any] = dict(zip(SHARED, key, strict=False)) | {"tactic": key[-1]}
    for device in DEVICES:
        measured, subject = changes(found[device]), found[device].effect.subject
        row |= {f"{device}_hardware": subject.hardware, f"{device}_energy_scope": subject.scope}
        for name in MEASURED:
            row |= {f"{device}_{name}_{part}": value for part, value in _parts(measured[name]).items()}
            row[f"{device}_{name}"] = said(measured[name])  # for print
    row["modelled"] = any(found[device].effect.modelled for device in DEVICES)
    row["named"] = found[DEVICES[0]].named
    return row


def _parts(change: Change) -> dict[str, Any]:
    return {
        "baseline": change.baseline,
        "with_tactic": change.tactic,
        "ratio": change.value,
        "ratio_low": change.low,
        "ratio_high": change.high,
        "basis": change.basis,
    }

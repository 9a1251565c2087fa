"""The row of `cells`: what was declared, where it ran, what it cost and what came out."""

import json
import uuid
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from greenray import __version__
from greenray.gpu.power_limit import Held
from greenray.power.window import WindowReading
from greenray.tasks.registry import task_class
from greenray.worker.assignment import Assignment, WorkerInfo
from greenray.worker.supervise import Outcome

_FROM_CELL = {
    "cell_id",
    "block_id",
    "repeated_id",
    "bracket",
    "round",
    "experiment",
    "phase",
    "task",
    "batch_size",
    "device",
    "seed",
}
_FROM_INFO = ("host", "cpu_name", "gpu_uuid", "gpu_name", "power_limit_w", "driver_version")
_NO_COLUMNS = {"type", "status", "error", "refused", "resource", "device_error", "labels", "predictions", "versions"}


def cell_row(
    assignment: Assignment,
    *,
    info: WorkerInfo,
    outcome: Outcome,
    windows: list[dict[str, Any]],
    energy: WindowReading,
    run_id: str,
    started_at: datetime,
    duration_s: float,
    threads: int,
    warm: bool,
    limit: Held | None = None,
    not_bound: str | None = None,
) -> dict[str, Any]:
    """`not_bound`: why a cell with a board was not bound to the processors close to it; None if it was, or has none."""
    last_word: Any = outcome.done or outcome.failed
    grades = [w["grade"] for w in windows if w["kind"] in ("steady", "epoch") and w["grade"] and w["rejected"] is None]
    versions: Mapping[str, str] = info.versions | (last_word.versions if last_word else {})
    row = _declared(assignment, run_id=run_id) | {
        "status": outcome.status,
        "error": outcome.error,
        "error_kind": outcome.error_kind,
        **{name: getattr(info, name) for name in _FROM_INFO},
        **({} if limit is None else {"power_limit_w": limit.limit_w}),
        "greenray_version": __version__,
        **{f"{name}_version": versions.get(name) for name in ("python", "torch", "transformers")},
        "num_threads": threads,
        "warm": warm,
        "started_at": started_at,
        "finished_at": datetime.now(UTC),
        "duration_s": duration_s,
        "energy_j": energy.total_energy_j,
        "energy_scope": energy.energy_scope,
        "modelled_energy_j": energy.modelled_energy_j,
        "peak_host_memory_bytes": outcome.peak_rss_bytes,
        "grade": max(grades, default=None),
    }
    for kind in ("load", "optimize"):
        if marked := [w for w in windows if w["kind"] == kind]:
            energies = [w["total_energy_j"] for w in marked]
            row[f"{kind}_s"] = sum(w["duration_s"] for w in marked)
            row[f"{kind}_energy_j"] = None if None in energies else sum(energies)
    if last_word is not None:
        said = last_word.model_dump(exclude=_NO_COLUMNS, exclude_none=True)
        if limit is not None:  # the cell knows nothing of its board's settings
            said["evidence"] = said["evidence"] | {"power-limit": asdict(limit)}
        if not_bound is not None and "settings" in said:
            said["settings"]["cores_not_bound"] = not_bound
        row |= {name: json.dumps(value, sort_keys=True) if isinstance(value, dict) else value for name, value in said.items()}
    if outcome.done is not None:
        evaluated = [w["samples"] for w in windows if w["kind"] == "evaluate"]  # in training also after each epoch
        row["samples_evaluated"] = (evaluated[-1] if evaluated else None) or None
    return row


def unmeasured_row(
    assignment: Assignment, *, status: str, error: str, error_kind: str, duration_s: float, host: str | None
) -> dict[str, Any]:
    """The row of an attempt that has no measurements: its checkpoint is missing, or its worker ended with it."""
    now = datetime.now(UTC)
    return _declared(assignment, run_id=str(uuid.uuid4())) | {
        "status": status,
        "error": error,
        "error_kind": error_kind,
        "host": host,
        "greenray_version": __version__,
        "started_at": now - timedelta(seconds=duration_s),
        "finished_at": now,
        "duration_s": duration_s,
    }


def _declared(assignment: Assignment, *, run_id: str) -> dict[str, Any]:
    cell, hyper = assignment.cell, assignment.cell.hyperparameters
    task = task_class(cell.task)
    return cell.model_dump(include=_FROM_CELL) | {
        "run_id": run_id,
        **{name: getattr(assignment, name) for name in ("attempt", "visit", "order_in_visit")},
        "unit": task.unit,
        **{f"quality_{name}": getattr(task.quality, name) for name in ("kind", "higher_is_better")},
        "quality_measure": task.quality.name,
        "evaluation_unit": task.evaluation_unit or task.unit,
        "model": cell.model.label,
        "model_source": f"from:{cell.model.id}" if cell.model.source == "checkpoint" else cell.model.source,
        "model_revision": cell.model.revision,
        "dataset": cell.dataset.id,
        "dataset_split": cell.dataset.split,
        "hyperparameters": hyper.model_dump_json(include={*hyper.identity()}) if hyper else None,
        "tactic_params": json.dumps([step.model_dump() for step in cell.tactic], sort_keys=True),
    }

"""The row of `cells`: what was declared, where it ran, what it cost and what came out."""

import json
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from greenray import __version__
from greenray.power.window import WindowReading
from greenray.tasks.registry import task_class
from greenray.worker.assignment import Assignment, AttemptResult, WorkerInfo
from greenray.worker.supervise import Outcome

_GRADES = ("A", "B", "C", "D")
_FROM_DONE = (
    "dtype",
    "attention",
    "parameters",
    "nonzero_parameters",
    "size_bytes",
    "macs_per_sample",
    "flops_per_sample",
    "peak_gpu_memory_bytes",
    "accuracy",
    "accuracy_low",
    "accuracy_high",
)


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
) -> dict[str, Any]:
    """The row of `cells`: what was declared, where it ran, what it cost and what came out."""
    last_word: Any = outcome.done or outcome.failed
    grades = [w["grade"] for w in windows if w["kind"] in ("steady", "epoch") and w["grade"] and w["rejected"] is None]
    versions: Mapping[str, str] = info.versions | (last_word.versions if last_word else {})
    row = _declared(assignment, run_id=run_id) | {
        "status": outcome.status,
        "error": outcome.error,
        "error_kind": outcome.error_kind,
        "host": info.host,
        "cpu_name": info.cpu_name,
        "gpu_uuid": info.gpu_uuid,
        "gpu_name": info.gpu_name,
        "power_limit_w": info.power_limit_w,
        "driver_version": info.driver_version,
        "greenray_version": __version__,
        **{f"{name}_version": versions.get(name) for name in ("python", "torch", "transformers")},
        "num_threads": threads,
        "started_at": started_at,
        "finished_at": datetime.now(UTC),
        "duration_s": duration_s,
        "energy_j": energy.total_energy_j,
        "energy_scope": energy.energy_scope,
        "modelled_energy_j": energy.modelled_energy_j,
        "peak_host_memory_bytes": outcome.peak_rss_bytes,
        "grade": max(grades, key=_GRADES.index, default=None),
    }
    for kind in ("load", "optimize"):
        marked = [w for w in windows if w["kind"] == kind]
        if marked:
            energies = [w["total_energy_j"] for w in marked]
            row[f"{kind}_s"] = sum(w["duration_s"] for w in marked)
            row[f"{kind}_energy_j"] = None if None in energies else sum(energies)
    if last_word is not None:
        row["evidence"] = json.dumps(last_word.evidence, sort_keys=True)
        row["model_family"] = last_word.model_family
    if outcome.done is not None:
        done = outcome.done
        row["settings"] = json.dumps(done.settings, sort_keys=True)
        row["samples_evaluated"] = len(done.predictions) or None
        for name in _FROM_DONE:
            row[name] = getattr(done, name)
        row["dataset_split"] = done.dataset_split or row["dataset_split"]
        row["num_threads"] = done.num_threads or threads
    return row


def unmeasured_row(assignment: Assignment, *, result: AttemptResult, host: str | None) -> dict[str, Any]:
    """The row of an attempt that has no measurements: its checkpoint is missing, or its worker ended with it."""
    now = datetime.now(UTC)
    return _declared(assignment, run_id=str(uuid.uuid4())) | {
        "status": result.status,
        "error": result.error,
        "error_kind": result.error_kind,
        "host": host,
        "greenray_version": __version__,
        "started_at": now - timedelta(seconds=result.duration_s),
        "finished_at": now,
        "duration_s": result.duration_s,
    }


def _declared(assignment: Assignment, *, run_id: str) -> dict[str, Any]:
    cell = assignment.cell
    task = task_class(cell.task)
    return {
        "cell_id": cell.cell_id,
        "run_id": run_id,
        "attempt": assignment.attempt,
        "block_id": cell.block_id,
        "visit": assignment.visit,
        "bracket": cell.bracket,
        "order_in_visit": assignment.order_in_visit,
        "round": cell.round,
        "experiment": cell.experiment,
        "phase": cell.phase,
        "task": cell.task,
        "unit": task.unit,
        "quality_measure": task.quality.name,
        "model": cell.model.label,
        "model_source": f"from:{cell.model.id}" if cell.model.source == "checkpoint" else cell.model.source,
        "model_revision": cell.model.revision,
        "dataset": cell.dataset.id,
        "dataset_split": cell.dataset.split,
        "batch_size": cell.batch_size,
        "hyperparameters": cell.hyperparameters.model_dump_json() if cell.hyperparameters else None,
        "device": cell.device,
        "tactic_params": json.dumps([step.model_dump() for step in cell.tactic], sort_keys=True),
        "seed": cell.seed,
    }

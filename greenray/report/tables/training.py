"""What training each model cost, whole and by part; rows of other tables about training too.

A training that gave no model (its loss was not finite, memory ran out) has a row with the reason, and no figures.
"""

from typing import Any

import polars as pl

from greenray.analysis.analyse import Analysis
from greenray.analysis.arms import Arm, json_of
from greenray.analysis.training import SHARES, TrainingRun
from greenray.report.tables.table import IDENTITY, Row, Table, figure, identity, table, text, with_interval

PARTS = ("gpu", "cpu", "dram")
HYPERPARAMETERS = ("learning_rate", "optimizer", "schedule", "weight_decay", "precision")
REACHED = {
    share: tuple(
        f"{what}_to_{share * 100:.0f}_percent_of_best{unit}" for what, unit in (("epochs", ""), ("energy", "_j"), ("time", "_s"))
    )
    for share in SHARES
}
"""What it took to come to a share of the best quality, by that share: epochs, energy, time."""
COLUMNS = (
    *IDENTITY,
    *("round", "bracket", "tactic", "status", *HYPERPARAMETERS, "hyperparameters", "epochs", "samples"),
    *("energy_j", "epoch_energy_j", "active_j", *(f"{part}_energy_j" for part in PARTS)),
    *("power_w", *(f"{part}_power_w" for part in PARTS), "time_s", "epoch_time_s"),
    *("accuracy", "accuracy_low", "accuracy_high", "best_accuracy"),
    *(name for names in REACHED.values() for name in names),
    *("reason_no_share_of_best", "evaluation_energy_j", "training_share", "hardly_applied"),
    *("modelled_share", "grade", "contended", "run_id", "reason"),
)


def runs(analysis: Analysis) -> list[dict[str, Any]]:
    """A row for each training run; energies are of all its epochs together, and those without a result come last."""
    parts = _parts(analysis)
    failed = [arm for arm in analysis.arms if arm.cell["phase"] == "training" and not arm.ok]
    return [
        *(_row(run, analysis.labels[run.arm.key], parts.get(run.arm.cell["run_id"], {})) for run in analysis.training),
        *(_without_result(arm, analysis.labels[arm.key]) for arm in failed),
    ]


def build(analysis: Analysis) -> Table:
    rows = runs(analysis)
    return table(
        rows,
        lines=[row for row in rows if row["status"] == "ok"],
        columns=COLUMNS,
        caption="Training: energy of all epochs together, by part, and the quality that came of it.",
        printed={
            "model": text("model"),
            "tactic": text("named"),
            "batch": text("batch_size"),
            "rate": text("learning_rate"),
            "epochs": text("epochs"),
            "energy, J": figure("energy_j"),
            "GPU, J": figure("gpu_energy_j"),
            "CPU, J": figure("cpu_energy_j"),
            "DRAM, J": figure("dram_energy_j"),
            "power, W": figure("power_w"),
            "time, s": figure("time_s"),
            **{f"to {share:.0%} of best, J": figure(names[1]) for share, names in REACHED.items()},
            analysis.measure: with_interval("accuracy"),
        },
        text=("model", "tactic"),
    )


def _parts(analysis: Analysis) -> dict[str, dict[str, float | None]]:
    """Energy of each part over all epochs of a run, by run_id; None where an epoch does not know it."""
    epochs = analysis.frames.windows.filter(pl.col("kind") == "epoch")
    sums = {part: pl.col(f"{part}_energy_j") for part in PARTS}
    whole = {part: pl.when(column.is_null().any()).then(None).otherwise(column.sum()) for part, column in sums.items()}
    found = epochs.group_by("run_id").agg(samples=pl.col("samples").sum(), **whole)
    return {row.pop("run_id"): row for row in found.iter_rows(named=True)}


def _row(run: TrainingRun, label: str, parts: dict[str, float | None]) -> dict[str, Any]:
    cell, told = run.arm.cell, json_of(run.arm.cell, "hyperparameters")
    time_s = sum(run.windows_s) or None
    energies = {part: parts.get(part) for part in PARTS}

    def power(joules: float | None) -> float | None:
        return None if joules is None or time_s is None else joules / time_s

    reached: dict[str, Any] = {}
    for share, names in REACHED.items():
        after = run.to_share(share)
        reached |= dict(zip(names, (after.epoch, after.energy_j, after.time_s) if after else (None,) * 3, strict=True))
    why = "; ".join(run.arm.missing_reasons) or "an epoch has no total"
    return (
        identity(run.arm, label)
        | {name: told.get(name) for name in HYPERPARAMETERS}
        | {
            name: cell[name]
            for name in (
                "round",
                "bracket",
                "tactic",
                "status",
                "training_share",
                "hyperparameters",
                "accuracy",
                "accuracy_low",
                "accuracy_high",
                "run_id",
            )
        }
        | reached
        | {f"{part}_energy_j": joules for part, joules in energies.items()}
        | {f"{part}_power_w": power(joules) for part, joules in energies.items()}
        | {
            "named": run.named,
            "hardly_applied": run.hardly,
            "best_accuracy": run.best,
            "reason_no_share_of_best": run.why_no_quality_to_reach,
            "evaluation_energy_j": run.evaluation_j,
            "epochs": run.epochs,
            "samples": parts.get("samples"),
            "energy_j": run.energy_j,
            "epoch_energy_j": run.epoch_energy_j,
            "active_j": run.active_j,
            "power_w": power(run.energy_j),
            "time_s": time_s,
            "epoch_time_s": run.epoch_time_s,
            "modelled_share": run.arm.modelled_share,
            "grade": run.arm.grade,
            "contended": run.arm.contended,
            "reason": None if run.energy_j is not None else why,
        }
    )


def _without_result(arm: Arm, label: str) -> dict[str, Any]:
    cell, told = arm.cell, json_of(arm.cell, "hyperparameters")
    return (
        dict.fromkeys(COLUMNS)
        | identity(arm, label)
        | {name: told.get(name) for name in HYPERPARAMETERS}
        | {name: cell[name] for name in ("round", "bracket", "tactic", "status", "hyperparameters", "run_id")}
        | {"named": cell["tactic"], "hardly_applied": False, "reason": cell["error"] or "no reason was written down"}
    )


def by_rate(row: Row) -> tuple[Any, ...]:
    """What runs of a model at one learning rate and batch size have in common, all other settings included."""
    kept = ("sweep", "model", "model_family", "dataset", "device", "hardware", "tactic", "batch_size", "learning_rate")
    return tuple(row[name] for name in (*kept, "hyperparameters"))

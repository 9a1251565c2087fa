"""From the store to arms: one settled attempt of a cell, with its work windows summed up.

An arm is what effects are made of. Work windows are the steady windows of inference and the epochs of training; a window that was
rejected, did no work or has no total energy does not count towards energy.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from greenray.store import reader

Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A quantity over the windows of one attempt.

    Attributes:
        mean: arithmetic mean over windows.
        relative_error: standard error of the mean as a share of it; None with fewer than two windows.
        windows: how many windows it rests on.
    """

    mean: float
    relative_error: float | None
    windows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """The settled attempt of one cell.

    Attributes:
        cell: the row of the cells table, `sweep` and `tactic` included.
        energy_j: whole-scope energy per sample; None when no window knows it.
        active_j: the same without idle power x time; None when an idle power is unknown, or nothing is left.
        time_s: wall time per sample.
        latency_p50_s, latency_p95_s: mean over windows of the latency percentiles of an iteration.
        scope: `energy_scope` of the windows, or of the attempt where no window may be used; None when windows disagree.
        modelled_share: part of the energy that a model made up (0-1); None when unknown.
        shared_host: whether the host's energy was apportioned, or neighbours kept more than half a CPU busy.
        warmed_up: whether throughput was stable when the steady windows began; None when unknown.
        grades: grade of every window, in order; None where unknown.
        reasons: distinct reasons for the grades and for missing figures.
        windows_without_energy: work windows whose total is NULL.
        missing_reasons: distinct reasons of those windows.
        rejected: why windows were rejected, one sentence for each.
        idle_w: board power in the attempt's own idle window; None without a board.
        idle_settled: whether that window began with a steady board; None without one.
        host_idle_w: the host's idle power, of which the attempt was given its part.
    """

    cell: Row
    energy_j: Measured | None
    active_j: Measured | None
    time_s: Measured | None
    latency_p50_s: Measured | None
    latency_p95_s: Measured | None
    scope: str | None
    modelled_share: float | None
    shared_host: bool
    warmed_up: bool | None
    grades: tuple[str | None, ...]
    reasons: tuple[str, ...]
    windows_without_energy: int
    missing_reasons: tuple[str, ...]
    rejected: tuple[str, ...]
    idle_w: float | None
    idle_settled: bool | None
    host_idle_w: float | None

    @property
    def ok(self) -> bool:
        return bool(self.cell["status"] == "ok")

    @property
    def hardware(self) -> str:
        """What does the work: the board of a cuda cell, the processor of a cpu cell."""
        name = self.cell["gpu_name"] if self.cell["device"] == "cuda" else self.cell["cpu_name"]
        return str(name or "unknown hardware")


def settings(cell: Row) -> Row:
    """The switches that were set, from the JSON of the row; empty when there is none."""
    try:
        found = json.loads(cell["settings"] or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def work_windows(windows: pl.LazyFrame) -> pl.LazyFrame:
    """Windows that may be used: steady ones and epochs, not rejected, with work in them."""
    return windows.filter(
        pl.col("kind").is_in(["steady", "epoch"]) & pl.col("rejected").is_null() & (pl.col("samples") > 0)
    ).with_columns(
        _energy=pl.col("total_energy_j") / pl.col("samples"),
        _active=pl.col("active_energy_j") / pl.col("samples"),
        _time=pl.col("duration_s") / pl.col("samples"),
    )


def load(out: Path) -> list[Arm]:
    """Every settled cell of the store, brackets included, in a stable order."""
    cells = reader.settled(out)
    every = reader.scan(out, table="windows").join(cells.select("sweep", "run_id"), on=["sweep", "run_id"], how="semi")
    rejected = every.filter(pl.col("rejected").is_not_null()).sort("window")
    usable = work_windows(every)
    summary = usable.group_by("sweep", "run_id").agg(
        *(expression for name, column in _MEASURED for expression in _moments(name, column)),
        _scopes=pl.col("energy_scope").drop_nulls().unique().sort(),
        _modelled=(pl.col("modelled_energy_j").fill_null(0) * pl.col("total_energy_j").is_not_null()).sum(),
        _total=pl.col("total_energy_j").sum(),
        _apportioned=pl.col("cpu_apportioned").any(),
        _neighbours=pl.col("neighbours_busy").mean(),
        _grades=pl.col("grade").sort_by("window"),
        _reasons=pl.col("grade_reasons").explode().drop_nulls().unique().sort(),
        _missing=pl.col("total_energy_j").is_null().sum(),
        _why_missing=pl.col("grade_reasons").filter(pl.col("total_energy_j").is_null()).explode().drop_nulls().unique().sort(),
        _idle_w=pl.col("gpu_idle_w").drop_nulls().first(),
        _idle_settled=pl.col("gpu_idle_settled").drop_nulls().first(),
        _host_idle_w=pl.col("cpu_idle_w").mean(),
    )
    found = cells.join(summary, on=["sweep", "run_id"], how="left").join(
        rejected.group_by("sweep", "run_id").agg(_rejected=pl.col("rejected")), on=["sweep", "run_id"], how="left"
    )
    return list(_arms(found.sort(*_ORDER, nulls_last=False).collect().iter_rows(named=True)))


_ORDER = (
    "sweep",
    "phase",
    "model",
    "dataset",
    "batch_size",
    "device",
    "block_id",
    "visit",
    "order_in_visit",
    "tactic",
    "cell_id",
)
_MEASURED = (("energy", "_energy"), ("active", "_active"), ("time", "_time"), ("p50", "latency_p50_s"), ("p95", "latency_p95_s"))


def _moments(name: str, column: str) -> Iterator[pl.Expr]:
    yield pl.col(column).mean().alias(f"_{name}_mean")
    yield pl.col(column).std().alias(f"_{name}_std")
    yield pl.col(column).count().alias(f"_{name}_count")


def _arms(rows: Iterator[Row]) -> Iterator[Arm]:
    for row in rows:
        scopes = row["_scopes"] or [row["energy_scope"]]  # with no window to go by, the attempt's own
        yield Arm(
            cell={name: value for name, value in row.items() if not name.startswith("_")},
            energy_j=_measured(row, "energy"),
            active_j=_measured(row, "active"),
            time_s=_measured(row, "time"),
            latency_p50_s=_measured(row, "p50"),
            latency_p95_s=_measured(row, "p95"),
            scope=scopes[0] if len(scopes) == 1 else None,
            modelled_share=row["_modelled"] / row["_total"] if row["_total"] else None,
            shared_host=bool(row["_apportioned"]) or (row["_neighbours"] or 0) > 0.5,
            warmed_up=settings(row).get("warmup_stable"),
            grades=tuple(row["_grades"] or ()),
            reasons=tuple(row["_reasons"] or ()),
            windows_without_energy=row["_missing"] or 0,
            missing_reasons=tuple(row["_why_missing"] or ()),
            rejected=tuple(row["_rejected"] or ()),
            idle_w=row["_idle_w"],
            idle_settled=row["_idle_settled"],
            host_idle_w=row["_host_idle_w"],
        )


def _measured(row: Row, name: str) -> Measured | None:
    count, centre, spread = row[f"_{name}_count"], row[f"_{name}_mean"], row[f"_{name}_std"]
    if not count or centre is None or centre <= 0 or not math.isfinite(centre):
        return None
    error = spread / centre / math.sqrt(count) if count > 1 and spread is not None else None
    return Measured(mean=centre, relative_error=error, windows=count)

"""From the store to arms: one settled attempt of a cell, with its work windows summed up.

An arm is what effects are made of. Work windows are the steady windows of inference and the epochs of training; a window that was
rejected, did no work or has no total energy does not count towards energy.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import polars as pl

from greenray.analysis import stats
from greenray.analysis.frames import Frames

Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A quantity over the windows of one attempt.

    Attributes:
        mean: arithmetic mean over windows.
        half_width: 95 % half-width of the mean as a share of it, by a t interval; None with fewer than two windows.
    """

    mean: float
    half_width: float | None


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
        grade: worst grade of its work windows; None where none has one.
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
    grade: str | None
    windows_without_energy: int
    missing_reasons: tuple[str, ...]
    rejected: tuple[str, ...]
    idle_w: float | None
    idle_settled: bool | None
    host_idle_w: float | None

    @property
    def key(self) -> tuple[str, str]:
        return self.cell["sweep"], self.cell["cell_id"]

    @property
    def ok(self) -> bool:
        return bool(self.cell["status"] == "ok")

    @property
    def modelled(self) -> bool:
        """Whether a model made up over half of the energy, so that a saving must not be called measured."""
        return self.modelled_share is not None and self.modelled_share > 0.5

    @property
    def hardware(self) -> str:
        """What does the work: the board of a cuda cell, the processor of a cpu cell."""
        name = self.cell["gpu_name"] if self.cell["device"] == "cuda" else self.cell["cpu_name"]
        return str(name or "unknown hardware")


def json_of(cell: Row, column: str) -> Row:
    """A column that holds a JSON object; empty where it holds none."""
    try:
        found = json.loads(cell[column] or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def load(frames: Frames) -> list[Arm]:
    """Every settled cell of the store, brackets included, in a stable order."""
    keys = ["sweep", "run_id"]
    why = pl.col("grade_reasons").filter(pl.col("total_energy_j").is_null())
    summary = frames.work.group_by(keys).agg(
        *(expression for name, quantity in _MEASURED.items() for expression in _moments(name, quantity)),
        _scopes=pl.col("energy_scope").drop_nulls().unique().sort(),
        _modelled=(pl.col("modelled_energy_j").fill_null(0) * pl.col("total_energy_j").is_not_null()).sum(),
        _total=pl.col("total_energy_j").sum(),
        _apportioned=pl.col("cpu_apportioned").any(),
        _neighbours=pl.col("neighbours_busy").mean(),
        _grade=pl.col("grade").max(),
        _missing=pl.col("total_energy_j").is_null().sum(),
        _why_missing=why.explode().drop_nulls().unique().sort(),
        _idle_w=pl.col("gpu_idle_w").drop_nulls().first(),
        _idle_settled=pl.col("gpu_idle_settled").drop_nulls().first(),
        _host_idle_w=pl.col("cpu_idle_w").mean(),
    )
    rejected = frames.windows.drop_nulls("rejected").sort("window").group_by(keys).agg(_rejected=pl.col("rejected"))
    found = frames.settled.join(summary, on=keys, how="left").join(rejected, on=keys, how="left").sort(*_ORDER)
    return [_arm(row) for row in found.iter_rows(named=True)]


_ORDER = [
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
]
_SAMPLES = pl.col("samples")
_MEASURED = {
    "energy_j": pl.col("total_energy_j") / _SAMPLES,
    "active_j": pl.col("active_energy_j") / _SAMPLES,
    "time_s": pl.col("duration_s") / _SAMPLES,
    "latency_p50_s": pl.col("latency_p50_s"),
    "latency_p95_s": pl.col("latency_p95_s"),
}


def _moments(name: str, quantity: pl.Expr) -> Iterator[pl.Expr]:
    yield quantity.mean().alias(f"_{name}_mean")
    yield quantity.std().alias(f"_{name}_std")
    yield quantity.count().alias(f"_{name}_count")


def _arm(row: Row) -> Arm:
    scopes = row["_scopes"] or [row["energy_scope"]]  # with no window to go by, the attempt's own
    return Arm(
        cell={name: value for name, value in row.items() if not name.startswith("_")},
        **{name: _measured(row, name) for name in _MEASURED},
        scope=scopes[0] if len(scopes) == 1 else None,
        modelled_share=row["_modelled"] / row["_total"] if row["_total"] else None,
        shared_host=bool(row["_apportioned"]) or (row["_neighbours"] or 0) > 0.5,
        warmed_up=json_of(row, "settings").get("warmup_stable"),
        grade=row["_grade"],
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
    noise = None if spread is None else spread / centre / math.sqrt(count)
    return Measured(mean=centre, half_width=None if noise is None else stats.t_quantile(count - 1) * noise)

"""From the store to arms: one settled attempt of a cell, with its work windows summed up.

An arm is what effects are made of; where a task has several stages, an arm of each, since they do different work. Work windows
are the steady windows of inference and the epochs of training; one that was rejected, did no work or has no total energy does not
count towards energy. Where others kept the host busy in some of them only (epochs cannot be taken again), the quiet ones are
compared.

A training is compared as a whole: what it used is counted per sample that it was asked to learn from, all epochs of the split.
That is energy per sample where all were learnt from, as they are but for tactics that end training early or hold samples out.
"""

import json
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from greenray.analysis.frames import Frames
from greenray.tasks.base import QualityMeasure

Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Mean of a quantity over windows, and their coefficient of variation; None for a single window.

    What windows of one process do says nothing of the next process, so no interval is made of it.
    """

    mean: float
    spread: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """The settled attempt of one cell; what no window knows is None, and of several stages together what is per sample.

    Attributes:
        cell: the row of the cells table, `sweep` and `tactic` included.
        energy_j: whole-scope energy per sample (of training: per sample asked for); `active_j` the same without idle power x
            time, None too where nothing is left.
        time_s: wall time per sample.
        latency_p50_s, latency_p95_s: mean over windows of the latency percentiles of an iteration.
        scope: `energy_scope` of the windows, or of the attempt where no window may be used; None when windows disagree.
        modelled_share: part of the energy that a model made up (0-1).
        apportioned: whether the host's energy was divided between workers.
        neighbours: mean number of processors that others kept busy; None when unknown.
        contended: whether others took enough of the host to matter in every window, or in over half of the epochs.
        warmed_up: whether throughput was stable when the steady windows began.
        heating: whether the board still became warmer by 1 C or more in 5 s then; None where nobody knows.
        grade: worst grade of the work windows that are compared.
        windows_without_energy: work windows whose total is NULL, and `missing_reasons` their distinct reasons.
        rejected: why windows were rejected, one sentence for each.
        idle_w: board power in the attempt's own idle window, and `idle_settled` whether that began with a steady board.
        host_idle_w: the host's idle power, of which the attempt was given its part.
        gpu_energy_j, cpu_energy_j, dram_energy_j: the parts of the energy per sample, whether its scope counts them or not;
            `gpu_power_w`, `cpu_power_w`, `dram_power_w` the same over time.
        gpu_utilization: share of time in which a kernel ran (0-1); 0 is known.
        stage: the stage that this is about, where the task has several; `stages` are the arms of each, of a cell as a whole.
    """

    cell: Row
    energy_j: Measured | None
    active_j: Measured | None
    time_s: Measured | None
    latency_p50_s: Measured | None
    latency_p95_s: Measured | None
    scope: str | None
    modelled_share: float | None
    apportioned: bool
    neighbours: float | None
    contended: bool
    warmed_up: bool | None
    grade: str | None
    windows_without_energy: int
    missing_reasons: tuple[str, ...]
    rejected: tuple[str, ...]
    idle_w: float | None
    idle_settled: bool | None
    host_idle_w: float | None
    heating: bool | None = None
    stage: str = ""
    stages: "tuple[Arm, ...]" = ()
    gpu_energy_j: Measured | None = None
    cpu_energy_j: Measured | None = None
    dram_energy_j: Measured | None = None
    gpu_power_w: Measured | None = None
    cpu_power_w: Measured | None = None
    dram_power_w: Measured | None = None
    gpu_utilization: Measured | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        return self.cell["sweep"], self.cell["cell_id"], self.stage

    @property
    def parts(self) -> "tuple[Arm, ...]":
        """What can be compared: its stages, itself where there is only one."""
        return self.stages or (self,)

    @property
    def measure(self) -> QualityMeasure:
        name, kind, higher = (self.cell[f"quality_{part}"] for part in ("measure", "kind", "higher_is_better"))
        return QualityMeasure(name=name or "accuracy", kind=kind or "right-answers", higher_is_better=higher is not False)

    @property
    def ok(self) -> bool:
        return bool(self.cell["status"] == "ok")

    @property
    def modelled(self) -> bool:
        return mostly_modelled(self.modelled_share)

    @property
    def hardware(self) -> str:
        """What does the work: the board of a cuda cell, the processor of a cpu cell."""
        name = self.cell["gpu_name"] if self.cell["device"] == "cuda" else self.cell["cpu_name"]
        return str(name or "unknown hardware")


def mostly_modelled(share: float | None) -> bool:
    """Whether a model made up over half of an energy, so that a saving must not be called measured."""
    return share is not None and share > 0.5


def json_of(cell: Row, column: str) -> Row:
    """A column that holds a JSON object; empty where it holds none."""
    try:
        found = json.loads(cell[column] or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def load(frames: Frames) -> list[Arm]:
    """Every settled cell of the store, brackets included, in a stable order."""
    cells, keys, task = frames.settled, ["sweep", "run_id"], ["phase", "task"]
    steady = frames.windows.filter(pl.col("kind") == "steady").select(*keys, _stage="stage").drop_nulls().unique()
    several = cells.join(steady, on=keys).select(*task, "_stage").unique().filter(pl.len().over(task) > 1)
    stages: dict[str, list[Arm]] = defaultdict(list)
    for part in _arms(frames, cells.join(several, on=task), [*keys, "_stage"]):
        stages[part.cell["run_id"]].append(part)
    unknown: dict[str, Any] = dict.fromkeys(_MEASURED)
    whole = ((arm, stages.get(arm.cell["run_id"])) for arm in _arms(frames, cells, keys))
    return [replace(arm, stages=tuple(of), **unknown) if of else arm for arm, of in whole]


def _arms(frames: Frames, cells: pl.DataFrame, keys: Sequence[str]) -> list[Arm]:
    """An arm of each row, with the windows that have its keys."""
    work, windows = (frame.with_columns(_stage="stage") for frame in (frames.work, frames.windows))
    why = pl.col("grade_reasons").filter(pl.col("total_energy_j").is_null())
    moments = ("mean", "std", "count")
    quiet = pl.col("contention").is_null()
    compared = quiet | ~quiet.any()
    epochs = pl.col("epochs").fill_null(1)
    busy_epochs = (pl.col("kind") == "epoch").any() & (2 * epochs.filter(quiet).sum() < epochs.sum())
    summary = work.group_by(keys).agg(
        *(
            getattr(quantity.filter(compared), each)().alias(f"_{name}_{each}")
            for name, quantity in _MEASURED.items()
            for each in moments
        ),
        _scopes=pl.col("energy_scope").drop_nulls().unique().sort(),
        _modelled=pl.col("modelled_energy_j").filter(compared & pl.col("total_energy_j").is_not_null()).sum(),
        _total=pl.col("total_energy_j").filter(compared).sum(),
        _apportioned=pl.col("cpu_apportioned").any(),
        _neighbours=pl.col("neighbours_busy").mean(),
        _contended=~quiet.any() | busy_epochs,
        _grade=pl.col("grade").filter(compared).max(),
        _missing=pl.col("total_energy_j").is_null().sum(),
        _why_missing=why.explode().drop_nulls().unique().sort(),
        _idle_w=pl.col("gpu_idle_w").drop_nulls().first(),
        _idle_settled=pl.col("gpu_idle_settled").drop_nulls().first(),
        _host_idle_w=pl.col("cpu_idle_w").mean(),
    )
    rejected = windows.drop_nulls("rejected").sort("window").group_by(keys).agg(_rejected=pl.col("rejected"))
    found = cells.join(summary, on=keys, how="left").join(rejected, on=keys, how="left").sort(*_ORDER.split(), *keys[2:])
    return [_arm(row) for row in found.iter_rows(named=True)]


_ORDER = "sweep phase model dataset batch_size device block_id visit order_in_visit tactic cell_id"
_SAMPLES = pl.col("samples")
_MEASURED = {
    "energy_j": pl.col("total_energy_j") / _SAMPLES,
    "active_j": pl.col("active_energy_j") / _SAMPLES,
    "time_s": pl.col("duration_s") / _SAMPLES,
    "latency_p50_s": pl.col("latency_p50_s"),
    "latency_p95_s": pl.col("latency_p95_s"),
    **{f"{part}_energy_j": pl.col(f"{part}_energy_j") / _SAMPLES for part in ("gpu", "cpu", "dram")},
    **{f"{part}_power_w": pl.col(f"{part}_energy_j") / pl.col("duration_s") for part in ("gpu", "cpu", "dram")},
    "gpu_utilization": pl.col("gpu_utilization"),
}
_MAY_BE_ZERO = ("gpu_utilization",)
_OF_THE_RUN = ("energy_j", "active_j", "time_s", "gpu_energy_j", "cpu_energy_j", "dram_energy_j")
"""What a training that learns from fewer samples has less of."""


def _arm(row: Row) -> Arm:
    settings, scopes = json_of(row, "settings"), row["_scopes"] or [row["energy_scope"]]  # with no window, the attempt's own
    asked = 1.0 if row["training_share"] is None else row["training_share"]
    summed: Row = {name: row[f"_{name}"] for name in ("grade", "idle_w", "idle_settled", "host_idle_w")}
    return Arm(
        cell={name: value for name, value in row.items() if not name.startswith("_")},
        **summed | {name: _measured(row, name, share=asked if name in _OF_THE_RUN else 1.0) for name in _MEASURED},
        scope=scopes[0] if len(scopes) == 1 else None,
        modelled_share=row["_modelled"] / row["_total"] if row["_total"] else None,
        apportioned=bool(row["_apportioned"]),
        neighbours=row["_neighbours"],
        contended=bool(row["_contended"]),
        warmed_up=settings.get("warmup_stable"),
        heating=None if (warm := settings.get("warmup_warm")) is None else not warm,
        windows_without_energy=row["_missing"] or 0,
        missing_reasons=tuple(row["_why_missing"] or ()),
        rejected=tuple(row["_rejected"] or ()),
        stage=row.get("_stage", ""),
    )


def _measured(row: Row, name: str, *, share: float) -> Measured | None:
    count, centre, spread = row[f"_{name}_count"], row[f"_{name}_mean"], row[f"_{name}_std"]
    if not count or centre is None or not math.isfinite(centre) or not (centre > 0 or (centre == 0 and name in _MAY_BE_ZERO)):
        return None
    return Measured(mean=centre * share, spread=None if spread is None or not centre else spread / centre)

"""Simulated sweeps as the analysis reads them: two tables that were never on a disk, of many sweeps at once."""

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from greenray.analysis import arms
from greenray.analysis.frames import Frames
from greenray.analysis.repeats import wanted_of
from greenray.config.matrix import Asked
from greenray.store.reader import polars_schema
from tests.benchmarks.worlds import TACTICS, WINDOWS, Array, Sweeps

TARGET = 0.02
"""Half-width that adaptive rounds are to reach."""
SAMPLES = 1000
POWER_W = 10.0
"""Time is energy over this: what an effect does to one it does to the other."""
_SAME = {
    "attempt": 1,
    "status": "ok",
    "experiment": "serve",
    "phase": "inference",
    "task": "image-classification",
    "model_source": "config",
    "dataset": "digits",
    "batch_size": 32,
    "device": "cpu",
    "num_threads": 1,
    "settings": "{}",
    "host": "host-1",
    "energy_scope": "cpu",
    "unit": "image",
    "quality_measure": "accuracy",
}


class Simulated(Frames):
    """The tables of simulated sweeps; each is a sweep of its own by name and on a processor of that name, `s0` the first."""

    def __init__(self, sweeps: Sweeps) -> None:
        sweep, round_, model, place = np.nonzero(sweeps.measured)
        tactic = sweeps.tactics[sweep, round_, model, place]
        names = np.array([*(tactic.name for tactic in TACTICS), "baseline", "baseline"])
        brackets = np.array([*(None for _ in TACTICS), "close", "open"])
        index = pl.DataFrame({"sweep": sweep, "round": round_ + 1, "model": model, "order_in_visit": place})
        cells = index.with_row_index("cell_id").with_columns(pl.lit(value).alias(name) for name, value in _SAME.items())
        cells = cells.with_columns(
            pl.format("c{}", "cell_id").alias("cell_id"),
            pl.format("r{}", "cell_id").alias("run_id"),
            pl.format("s{}", "sweep").alias("sweep"),
            pl.format("s{}", "sweep").alias("cpu_name"),
            pl.format("b{}-{}", "model", "round").alias("block_id"),
            pl.format("model-{}", "model").alias("model"),
            pl.lit(1).alias("visit"),
            pl.Series("model_family", sweeps.families[model]).cast(pl.String),
            pl.Series("tactic", names[tactic]),
            pl.Series("bracket", brackets[tactic].tolist(), dtype=pl.String),
            pl.Series("repeated_id", [" ".join(map(str, one)) for one in zip(sweep, model, tactic, strict=True)]),
        )
        self.attempts = self.settled = _as("cells", cells)
        joules = np.exp(sweeps.levels[sweep, round_, model, place]) * SAMPLES
        busy = sweeps.contended[sweep, round_, model, place]
        rows = self.settled.select("sweep", "tactic", "cell_id", "run_id", "attempt")
        self.windows = pl.concat(_as("windows", _window(rows, number, joules[:, number], busy)) for number in range(WINDOWS))
        rounds = sweeps.world.rounds
        asked = rounds if isinstance(rounds, int) else dict(zip(("min", "max"), rounds, strict=True))
        config = {"experiments": [{"name": "serve", "rounds": asked}], "measure": {"target_ci": TARGET}, "limits": {}}
        self.manifests = {f"s{number}": {"config": config, "cells": []} for number in range(len(sweeps.levels))}

    def rows(self, table: str, cells: Any) -> dict[str, pl.DataFrame]:
        """Neither traces nor predictions were made."""
        return {}


def adapted(sweeps: Sweeps) -> Sweeps:
    """The same with no more rounds than the analysis asks for, where the world leaves that to it; asked as the driver asks."""
    if isinstance(sweeps.world.rounds, int):
        return sweeps
    number = np.arange(sweeps.world.most_rounds)[:, None, None]
    measured = np.broadcast_to(number < sweeps.world.rounds[0], sweeps.tactics.shape)
    while True:
        asked = replace(sweeps, measured=measured)
        wanted = _wanted(asked, *sweeps.world.rounds)
        rows = np.arange(len(wanted))[:, None, None, None], np.arange(wanted.shape[1])[:, None]
        more = number < wanted[*rows, sweeps.tactics]
        tactic = sweeps.tactics >= 0
        more = np.where(tactic, more, (more & tactic).any(axis=-1, keepdims=True))  # no visit is made for nothing
        if (more == measured).all() or not sweeps.contended.any():  # only where rounds are lost are others asked for later
            return replace(sweeps, measured=more)
        measured = more


def _wanted(sweeps: Sweeps, fewest: int, most: int) -> Array:
    """Rounds in all that the analysis wants of what was measured so far (sweep, model, tactic)."""
    frames = Simulated(sweeps)
    # As one sweep of many models, which is asked about at once; what is wanted of one depends on no other.
    frames.attempts = frames.settled = frames.settled.with_columns(
        pl.format("{} {}", "sweep", "model").alias("model"),
        pl.format("{} {}", "sweep", "block_id").alias("block_id"),
        pl.lit("all").alias("sweep"),
    )
    frames.windows = frames.windows.with_columns(pl.lit("all").alias("sweep"))
    bounds = dict.fromkeys(frames.settled["repeated_id"], Asked(fewest, most))
    total = wanted_of(arms.load(frames), bounds=bounds, target=TARGET)
    found = np.zeros(sweeps.effects.shape, dtype=int)
    found[*np.array([one.split() for one in total], dtype=int).T] = list(total.values())
    return found


def _window(cells: pl.DataFrame, number: int, joules: np.ndarray[Any, Any], busy: np.ndarray[Any, Any]) -> pl.DataFrame:
    seconds, begin_s = joules / POWER_W, 100.0 * number
    return cells.with_columns(
        window=pl.lit(number),
        kind=pl.lit("steady"),
        start_monotonic_s=pl.lit(begin_s),
        end_monotonic_s=pl.Series(begin_s + seconds),
        duration_s=pl.Series(seconds),
        samples=pl.lit(SAMPLES),
        iterations=pl.lit(SAMPLES // 32),
        total_energy_j=pl.Series(joules),
        energy_scope=pl.lit("cpu"),
        modelled_energy_j=pl.lit(0.0),
        neighbours_busy=pl.Series(np.where(busy, 0.9, 0.05)),
        contention=pl.when(pl.Series(busy)).then(pl.lit("others kept 0.9 CPUs busy")),
        grade=pl.when(pl.Series(busy)).then(pl.lit("B")).otherwise(pl.lit("A")),
    )


def _as(table: str, found: pl.DataFrame) -> pl.DataFrame:
    """With every column of the table, in its types; what was not simulated is NULL."""
    known = polars_schema(table)
    absent = [pl.lit(None, dtype=kind).alias(name) for name, kind in known.items() if name not in found.columns]
    return found.with_columns(*absent, *(pl.col(name).cast(kind) for name, kind in known.items() if name in found.columns))

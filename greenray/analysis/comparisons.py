"""Every comparison behind the report as a table: each tactic against the two baselines of its visit, and their drift."""

import math
from typing import Any

import pyarrow as pa

from greenray.analysis.analyse import Analysis
from greenray.analysis.arms import Arm
from greenray.analysis.effects import ModelEffect
from greenray.analysis.visits import VisitEffect, drifted
from greenray.store.schema import arrow_schema
from greenray.store.tables import parquet

KEY = "comparisons.parquet"


def rows(analysis: Analysis) -> list[dict[str, Any]]:
    """One row a visit and tactic; names, units and meaning are those of the `comparisons` table in `greenray schema`."""
    return [_row(visit, finding.effect) for finding in analysis.findings for visit in finding.effect.visits]


def write(analysis: Analysis) -> None:
    """Put the table into the store that was analysed, or raise StoreError; the same analysis gives the same bytes."""
    table = pa.Table.from_pylist(rows(analysis), schema=arrow_schema("comparisons"))
    analysis.frames.store.replace(KEY, parquet(table))


def _row(visit: VisitEffect, effect: ModelEffect) -> dict[str, Any]:
    subject, energy = visit.subject, visit.energy
    row: dict[str, Any] = {name: getattr(subject, name) for name in ("sweep", "model", "batch_size", "device", "hardware")}
    for end in ("open", "close"):
        bracket = next((baseline for baseline in visit.baselines if baseline.cell["bracket"] == end), None)
        row |= {f"{end}_run_id": bracket and bracket.cell["run_id"], f"{end}_j": _joules(bracket)}
    return row | {
        "block_id": visit.visit[0],
        "visit": visit.visit[1],
        "round": visit.round,
        "contended": visit.contended,
        "tactic": visit.arm.cell["tactic"],
        "energy_scope": subject.scope,
        "stage": subject.stage or None,
        "run_id": visit.arm.cell["run_id"],
        "tactic_j": _joules(visit.arm),
        "energy_ratio": _ratio(energy),
        "rounds": effect.rounds,
        "energy_low": effect.energy and effect.energy.low,
        "energy_high": effect.energy and effect.energy.high,
        "active_ratio": _ratio(visit.active),
        "time_ratio": _ratio(visit.time),
        "drift": None if visit.drift is None else math.expm1(visit.drift),
        "drifted": None if visit.drift is None else drifted(visit.drift),
        "idle_spread_w": visit.idle_spread_w,
        "idle_drifted": None if visit.idle_spread_w is None else visit.idle_drifted,
        "flags": list(visit.flags),
    }


def _joules(arm: Arm | None) -> float | None:
    return None if arm is None or arm.energy_j is None else arm.energy_j.mean


def _ratio(found: float | None) -> float | None:
    return None if found is None else math.exp(found)

"""Every comparison behind the report as a table: each tactic against the two baselines of its visit, and their drift."""

import math
from typing import Any

import pyarrow as pa

from greenray.analysis.analyse import Analysis
from greenray.analysis.arms import Arm
from greenray.analysis.visits import LogRatio, VisitEffect, drifted
from greenray.store.schema import arrow_schema
from greenray.store.tables import parquet

KEY = "comparisons.parquet"


def rows(analysis: Analysis) -> list[dict[str, Any]]:
    """One row a visit and tactic; names, units and meaning are those of the `comparisons` table in `greenray schema`."""
    return [_row(visit) for finding in analysis.findings for visit in finding.effect.visits]


def write(analysis: Analysis) -> None:
    """Put the table into the store that was analysed; the same analysis gives the same bytes.

    Raises:
        StoreError: it cannot be written.
    """
    table = pa.Table.from_pylist(rows(analysis), schema=arrow_schema("comparisons"))
    analysis.frames.store.replace(KEY, parquet(table))


def _row(visit: VisitEffect) -> dict[str, Any]:
    bracket = {baseline.cell["bracket"]: baseline for baseline in visit.baselines}
    opening, closing = bracket.get("open"), bracket.get("close")
    low, high = _interval(visit.energy)
    return {
        "sweep": visit.subject.sweep,
        "block_id": visit.visit[0],
        "visit": visit.visit[1],
        "model": visit.subject.model,
        "tactic": visit.tactic,
        "batch_size": visit.subject.batch_size,
        "device": visit.subject.device,
        "hardware": visit.subject.hardware,
        "energy_scope": visit.subject.scope,
        "run_id": visit.arm.cell["run_id"],
        "open_run_id": opening and opening.cell["run_id"],
        "close_run_id": closing and closing.cell["run_id"],
        "tactic_j": _joules(visit.arm),
        "open_j": _joules(opening),
        "close_j": _joules(closing),
        "energy_ratio": _ratio(visit.energy),
        "energy_low": low,
        "energy_high": high,
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


def _ratio(found: LogRatio | None) -> float | None:
    return None if found is None else math.exp(found.value)


def _interval(found: LogRatio | None) -> tuple[float | None, float | None]:
    if found is None or found.half_width is None:
        return None, None
    return math.exp(found.value - found.half_width), math.exp(found.value + found.half_width)

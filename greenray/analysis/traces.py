"""One cell's sensors over time, for the report's picture of what a measurement looks like."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from greenray.analysis.arms import Arm
from greenray.analysis.results import PowerTrace
from greenray.store import reader

MAX_POINTS = 1500
DIFFERENCE_S = 0.1


def pick(out: Path, arms: Sequence[Arm], labels: dict[tuple[str, str], str]) -> PowerTrace | None:
    """The trace of the first inference cell (else any) that is ok and has one; rather a tactic than a baseline."""
    traced = set(reader.scan(out, table="trace").select("run_id").unique().collect()["run_id"])
    candidates = [arm for arm in arms if arm.ok and arm.cell["run_id"] in traced]
    candidates.sort(key=lambda arm: (arm.cell["phase"] != "inference", arm.cell["tactic"] == "baseline"))
    for arm in candidates:
        found = _trace(out, arm, labels[arm.cell["sweep"], arm.cell["cell_id"]])
        if found is not None:
            return found
    return None


def _trace(out: Path, arm: Arm, label: str) -> PowerTrace | None:
    run = pl.col("run_id") == arm.cell["run_id"]
    samples = reader.scan(out, table="trace").filter(run).sort("sensor", "monotonic_s").collect()
    windows = (
        reader.scan(out, table="windows")
        .filter(run & (pl.col("kind") != "attempt"))
        .select("window", "kind", "start_monotonic_s", "end_monotonic_s")
        .sort("window")
        .collect()
    )
    start = min(
        (value for value in (samples["monotonic_s"].min(), windows["start_monotonic_s"].min()) if isinstance(value, float)),
        default=0.0,
    )
    series, quantity = _power(samples), "power"
    if not series:
        series, quantity = _busy(samples), "busy CPUs"
    if not series:
        return None
    return PowerTrace(
        label=f"{label}: {arm.cell['tactic']}",
        quantity=quantity,
        series={name: (tuple(round(t - start, 3) for t in times), values) for name, (times, values) in series.items()},
        windows=tuple((kind, round(low - start, 3), round(high - start, 3)) for _, kind, low, high in windows.iter_rows()),
    )


Series = dict[str, tuple[list[float], tuple[float, ...]]]


def _power(samples: pl.DataFrame) -> Series:
    """Instant power where a sensor gives it, else the slope of its energy counter."""
    found: Series = {}
    for (sensor,), rows in samples.group_by("sensor", maintain_order=True):
        known = rows.drop_nulls("power_w")
        if known.height > 1:
            found[str(sensor)] = _thin(known["monotonic_s"].to_list(), known["power_w"].to_list())
        elif rows["counter_j"].drop_nulls().len() > 1:
            found[str(sensor)] = _slope(rows, "counter_j")
    return {name: values for name, values in found.items() if values[0]}


def _busy(samples: pl.DataFrame) -> Series:
    """Processor time per second, where that is all there is to see."""
    groups = samples.drop_nulls("cpu_seconds").group_by("sensor", maintain_order=True)
    return {str(sensor): _slope(rows, "cpu_seconds") for (sensor,), rows in groups if rows.height > 1}


def _slope(rows: pl.DataFrame, column: str) -> tuple[list[float], tuple[float, ...]]:
    """Differences over at least DIFFERENCE_S: counters move in steps, and shorter differences would show the steps."""
    times, values = [], []
    before: tuple[float, float] | None = None
    for moment, value in rows.drop_nulls(column).select("monotonic_s", column).iter_rows():
        if before is not None and moment - before[0] >= DIFFERENCE_S and value >= before[1]:
            times.append((moment + before[0]) / 2)
            values.append((value - before[1]) / (moment - before[0]))
        if before is None or moment - before[0] >= DIFFERENCE_S:
            before = (moment, value)
    return _thin(times, values)


def _thin(times: list[float], values: list[float]) -> tuple[list[float], tuple[float, ...]]:
    step = -(-len(times) // MAX_POINTS) or 1
    return times[::step], tuple(round(value, 2) for value in values[::step])

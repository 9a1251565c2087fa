"""What the recorder saw: for each sensor a frozen set of columns over time."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
TRACE_COLUMNS = ("counter_j", "power_w", "utilization", "temperature_c", "clock_mhz", "cpu_seconds")


@dataclass(frozen=True, slots=True, kw_only=True)
class Readings:
    """Samples of one rate: `times` (n,) in seconds of CLOCK_MONOTONIC, every column (n,), NaN where a reading failed."""

    times: Floats
    columns: Mapping[str, Floats]

    def column(self, name: str) -> Floats:
        """The column, all NaN when the sensor does not have it."""
        found = self.columns.get(name)
        return np.full(len(self.times), np.nan) if found is None else found

    def known(self, name: str) -> tuple[Floats, Floats]:
        """Times and values of the column where it could be read."""
        values = self.column(name)
        valid = np.isfinite(values)
        return self.times[valid], values[valid]

    def within(self, start_s: float, end_s: float) -> "Readings":
        """The samples with start_s <= time <= end_s."""
        inside = (self.times >= start_s) & (self.times <= end_s)
        return Readings(times=self.times[inside], columns={name: values[inside] for name, values in self.columns.items()})


def readings(times: Any, **columns: Any) -> Readings:
    """Readings of plain sequences; for made traces."""
    return Readings(
        times=np.asarray(times, dtype=np.float64),
        columns={name: np.asarray(values, dtype=np.float64) for name, values in columns.items()},
    )


EMPTY = readings([])


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """All of one sensor.

    Attributes:
        sensor: name in the trace table, `gpu:<uuid>`, `rapl:<domain>`, `cpu:host`, `cpu:cell`, ...
        part, range_j: see `greenray.power.sensors.Sampler`.
        fast, slow: readings at the sampling rate, and at 5 Hz.
        faults: (time, sentence) of the first of each run of failed readings.
        period_s: time between the readings of a sensor that brings its own times; NaN for those read at the sampling rate.
    """

    sensor: str
    part: str
    fast: Readings = EMPTY
    slow: Readings = EMPTY
    range_j: float = float("nan")
    faults: tuple[tuple[float, str], ...] = ()
    period_s: float = float("nan")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """Everything that was recorded during an attempt; `hz` is the rate that was asked for."""

    hz: float
    series: Mapping[str, Series] = field(default_factory=dict)

    def of_part(self, part: str) -> list[Series]:
        """The sensors of one part, in the order in which they were opened."""
        return [series for series in self.series.values() if series.part == part]

    def part(self, start_s: float, end_s: float) -> "Trace":
        """The same trace between two moments; a sensor with times of its own, whose readings are few, is kept whole."""
        series = {
            name: replace(one, fast=one.fast.within(start_s, end_s), slow=one.slow.within(start_s, end_s))
            if math.isnan(one.period_s)
            else one
            for name, one in self.series.items()
        }
        return Trace(hz=self.hz, series=series)

    def rows(self) -> dict[str, list[Any]]:
        """The `trace` table without its keys: one row a reading, NULL where it has no such column or failed."""
        table: dict[str, list[Any]] = {name: [] for name in ("monotonic_s", "sensor", *TRACE_COLUMNS)}
        for series in self.series.values():
            for part in (series.fast, series.slow):
                if not any(name in part.columns for name in TRACE_COLUMNS):
                    continue
                table["monotonic_s"] += part.times.tolist()
                table["sensor"] += [series.sensor] * len(part.times)
                for name in TRACE_COLUMNS:
                    table[name] += [None if value != value else value for value in part.column(name).tolist()]
        return table

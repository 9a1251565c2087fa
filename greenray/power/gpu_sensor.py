"""The recorder's sensor of one GPU, of whichever vendor, and how its counter moves."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from greenray.gpu.base import Gpu
from greenray.power.estimate.grid import changes
from greenray.power.sensors import Setup
from greenray.power.trace import EMPTY, Readings, readings

_POLLED_S, _ENOUGH_MOVES = 1.2, 48


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuFacts:
    """What must be known about a GPU's meter to read its series.

    Attributes:
        power_source, counter_missing: see `greenray.gpu.base.Meter`.
        period_s: update period of the counter, None when it could not be measured (no counter, or it did not move).
        jitter_s: half-width of the updates' deviation from a steady grid.
        polled: the readings that this was found by, column counter_j.
    """

    power_source: str | None = "gpu"
    counter_missing: str | None = None
    period_s: float | None = None
    jitter_s: float = 0.0
    polled: Readings = EMPTY


class GpuSensor:
    """Reads one GPU; see `greenray.power.sensors.Sampler`. `facts` are complete after `calibrate`."""

    part, range_j = "gpu", math.nan
    fast: tuple[str, ...] = ("counter_j", "power_w")
    slow: tuple[str, ...] = ("utilization", "temperature_c", "clock_mhz", "throttle_bits")

    def __init__(self, gpu: Gpu) -> None:
        self.gpu = gpu
        self.name = f"gpu:{gpu.uuid}"
        self.meter = gpu.meter()
        self.facts = GpuFacts(power_source=self.meter.power_source, counter_missing=self.meter.counter_missing)
        self.sample = self.meter.sample
        self.sample_slow = self.meter.sample_slow
        self.close = self.meter.close

    @property
    def fault(self) -> str | None:
        return self.meter.fault


def open_sensors(setup: Setup) -> list[GpuSensor]:
    """A sensor for each GPU of the setup."""
    return [GpuSensor(gpu) for gpu in setup.gpus]


def calibrate(sensors: Sequence[GpuSensor]) -> None:
    """Measures how the GPUs' counters move: reads all as fast as is sensible until each moved often enough, 1.2 s at most."""
    polled = [sensor for sensor in sensors if sensor.facts.counter_missing is None]
    times: list[list[float]] = [[] for _ in polled]
    values: list[list[float]] = [[] for _ in polled]
    moved = [0] * len(polled)
    until_s = time.monotonic() + _POLLED_S
    while polled and min(moved) <= _ENOUGH_MOVES and time.monotonic() < until_s:
        for i, sensor in enumerate(polled):
            before_s = time.monotonic()
            value = sensor.sample()[0]
            times[i].append((before_s + time.monotonic()) / 2)
            moved[i] += bool(values[i]) and value != values[i][-1]
            values[i].append(value)
        time.sleep(0.0004)
    for i, sensor in enumerate(polled):
        sensor.facts = _with_steadiness(sensor.facts, np.array(times[i]), np.array(values[i]))


def _with_steadiness(facts: GpuFacts, times: Any, values: Any) -> GpuFacts:
    """Period and jitter of a finely sampled counter: a line through its update moments and what is left over."""
    valid = np.isfinite(values)
    after, until, _ = changes(times[valid], values[valid])
    if len(until) < 4:
        return replace(facts, period_s=None, jitter_s=0.0, polled=EMPTY)
    moments, half_s = (after + until) / 2, (until - after) / 2
    # A descheduled poll may hide an update, and jitter shift one: of all periods near the usual distance the one counts whose
    # multiples the moments keep closest to.
    sharp = 1 / (half_s**2 + 1e-6)
    tried_s = float(np.median(np.diff(moments))) * np.linspace(0.6, 1.6, 2001)
    together = sharp @ np.exp(2j * np.pi * (moments - moments[0])[:, None] / tried_s) / sharp.sum()
    best = int(np.argmax(np.abs(together)))
    period_s = float(tried_s[best])
    start_s = float(moments[0] + np.angle(together[best]) / (2 * np.pi) * period_s)
    steps = np.round((moments - start_s) / period_s)
    slope, offset = (float(x) for x in np.polyfit(steps, moments, 1, w=np.sqrt(sharp)))
    # How far updates stray from their grid, beyond what the polls leave open; only the closest polls tell.
    fine = half_s <= max(float(np.median(half_s)), slope / 100)
    stray_s = np.maximum(np.abs(moments - offset - slope * steps)[fine] - half_s[fine], 0.0)
    polled = readings(times[valid], counter_j=values[valid])
    return replace(facts, period_s=slope, jitter_s=float(np.quantile(stray_s, 0.97)), polled=polled)

"""The sensor of one NVIDIA board: energy counter and instant power, and slowly clocks, temperature, throttling, utilisation."""

import ctypes
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pynvml

from greenray.gpu.nvidia import nvml
from greenray.power.estimate.grid import changes
from greenray.power.sensors import Setup
from greenray.power.trace import EMPTY, Readings, readings

logger = logging.getLogger(__name__)

_NAN = math.nan
_POWER_INSTANT = pynvml.NVML_FI_DEV_POWER_INSTANT
_SCOPES = ((pynvml.NVML_POWER_SCOPE_GPU, "gpu"), (pynvml.NVML_POWER_SCOPE_MODULE, "module"))

# Bits of nvmlDeviceGetCurrentClocksEventReasons. The first group costs a grade, the others are only recorded.
THROTTLE_REASONS = {
    0x08: "hw_slowdown",
    0x20: "sw_thermal_slowdown",
    0x40: "hw_thermal_slowdown",
    0x80: "hw_power_brake_slowdown",
    0x01: "gpu_idle",
    0x02: "applications_clocks_setting",
    0x04: "sw_power_cap",
    0x10: "sync_boost",
    0x100: "display_clock_setting",
}
SLOWDOWNS = frozenset({"hw_slowdown", "sw_thermal_slowdown", "hw_thermal_slowdown", "hw_power_brake_slowdown"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """How a board's counter moves.

    Attributes:
        period_s: update period, None when it could not be measured (no counter, or it did not move).
        jitter_s: half-width of the updates' deviation from a steady grid.
        polled: the readings that this was found by, column counter_j.
    """

    period_s: float | None = None
    jitter_s: float = 0.0
    polled: Readings = EMPTY


class GpuSensor:
    """Reads one board; see `Sensor`. `power_source` is gpu, module (instant power of the whole module), average or None."""

    part = "gpu"
    fast = ("counter_j", "power_w")
    slow = ("utilization", "temperature_c", "clock_mhz", "throttle_bits")
    range_j = _NAN

    def __init__(self, board: nvml.Board) -> None:
        self.board = board
        self.name = f"gpu:{board.uuid}"
        self.fault: str | None = None
        self._handle = board.handle
        self._energy = nvml.function("nvmlDeviceGetTotalEnergyConsumption")
        self._fields = nvml.function("nvmlDeviceGetFieldValues")
        self._usage = nvml.function("nvmlDeviceGetPowerUsage")
        self._mj = ctypes.c_ulonglong()
        self._mj_at = ctypes.byref(self._mj)
        self._mw = ctypes.c_uint()
        self._mw_at = ctypes.byref(self._mw)
        self.counter_missing: str | None = None
        self.lost = False
        self._find_counter()
        self.power_source: str | None = None
        self._find_power()
        self.calibration = Calibration()

    def _find_counter(self) -> None:
        code = -1 if self._energy is None else self._energy(self._handle, self._mj_at)
        if code == 0:
            return
        self._energy = None
        if code == pynvml.NVML_ERROR_NO_PERMISSION:
            self.counter_missing = "no permission to read the board's energy counter"
        elif code == pynvml.NVML_ERROR_GPU_IS_LOST:
            self.counter_missing, self.lost = "the board is lost", True
        else:
            self.counter_missing = "the board has no energy counter"

    def _find_power(self) -> None:
        for scope, name in _SCOPES:
            self._values = nvml.field_values((_POWER_INSTANT, scope))
            self._values_at = ctypes.byref(self._values)
            self._value = self._values[0]
            if self._fields is not None and self._fields(self._handle, 1, self._values_at) == 0 and self._value.nvmlReturn == 0:
                self.power_source = name
                return
        if self._usage is not None and self._usage(self._handle, self._mw_at) == 0:
            self.power_source = "average"

    def sample(self) -> tuple[float, float]:
        counter_j = power_w = _NAN
        fault = None
        if self._energy is not None:
            code = self._energy(self._handle, self._mj_at)
            if code == 0:
                counter_j = self._mj.value * 1e-3
            else:
                fault = _FAULTS.get(code) or _fault(code)
        if self.power_source == "average":
            if self._usage(self._handle, self._mw_at) == 0:
                power_w = self._mw.value * 1e-3
        elif self.power_source is not None:
            code = self._fields(self._handle, 1, self._values_at)
            if code == 0 and self._value.nvmlReturn == 0:
                power_w = self._value.value.uiVal * 1e-3
            elif code != 0 and fault is None:
                fault = _FAULTS.get(code) or _fault(code)
        self.fault = fault
        return counter_j, power_w

    def sample_slow(self) -> tuple[float, float, float, float]:
        utilization = nvml.ask("nvmlDeviceGetUtilizationRates", self._handle)
        bits = nvml.ask("nvmlDeviceGetCurrentClocksEventReasons", self._handle)
        if bits is None:  # drivers before 535
            bits = nvml.ask("nvmlDeviceGetCurrentClocksThrottleReasons", self._handle)
        return (
            _NAN if utilization is None else utilization.gpu / 100,
            _number(nvml.ask("nvmlDeviceGetTemperature", self._handle, pynvml.NVML_TEMPERATURE_GPU)),
            _number(nvml.ask("nvmlDeviceGetClockInfo", self._handle, pynvml.NVML_CLOCK_SM)),
            _number(bits),
        )

    def close(self) -> None:
        self._energy = self._fields = self._usage = None
        self.power_source = None


def open_sensors(setup: Setup) -> list[GpuSensor]:
    """A sensor for each board of the setup."""
    return [GpuSensor(board) for board in setup.boards]


def calibrate(
    sensors: Sequence[GpuSensor],
    *,
    limit_s: float = 1.2,
    enough: int = 48,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], object] = time.sleep,
) -> None:
    """Measures how the boards' counters move.

    Reads all of them as fast as is sensible until each moved `enough` times, at most `limit_s` seconds.
    """
    polled = [sensor for sensor in sensors if sensor.counter_missing is None]
    times: list[list[float]] = [[] for _ in polled]
    values: list[list[float]] = [[] for _ in polled]
    moved = [0] * len(polled)
    until_s = clock() + limit_s
    while polled and min(moved) <= enough and clock() < until_s:
        for i, sensor in enumerate(polled):
            before_s = clock()
            value = sensor.sample()[0]
            times[i].append((before_s + clock()) / 2)
            moved[i] += bool(values[i]) and value != values[i][-1]
            values[i].append(value)
        pause(0.0004)
    for i, sensor in enumerate(polled):
        sensor.calibration = _steadiness(np.array(times[i]), np.array(values[i]))


def throttle_names(bits: int) -> list[str]:
    """The clock event reasons in a bit mask, by name."""
    return [name for bit, name in sorted(THROTTLE_REASONS.items()) if bits & bit]


def _steadiness(times: Any, values: Any) -> Calibration:
    """Period and jitter of a finely sampled counter: a line through its update moments and what is left over."""
    valid = np.isfinite(values)
    after, until, _ = changes(times[valid], values[valid])
    if len(until) < 4:
        return Calibration()
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
    return Calibration(period_s=slope, jitter_s=float(np.quantile(stray_s, 0.97)), polled=polled)


def _number(value: float | None) -> float:
    return _NAN if value is None else float(value)


_FAULTS: dict[int, str] = {pynvml.NVML_ERROR_GPU_IS_LOST: "the board is lost"}


def _fault(code: int) -> str:
    # Kept, so that a lasting fault is one and the same object and reported once.
    return _FAULTS.setdefault(code, f"the board does not answer ({nvml.sentence(code)})")

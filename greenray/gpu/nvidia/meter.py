"""Energy counter and instant power of one NVIDIA GPU, and slowly its clocks, temperature, throttling and utilisation."""

import ctypes
import math
from typing import Any

import pynvml

from greenray.gpu.nvidia import nvml

_NAN = math.nan
_POWER_INSTANT = pynvml.NVML_FI_DEV_POWER_INSTANT
_SCOPES = ((pynvml.NVML_POWER_SCOPE_GPU, "gpu"), (pynvml.NVML_POWER_SCOPE_MODULE, "module"))
_FAULTS: dict[int, str] = {pynvml.NVML_ERROR_GPU_IS_LOST: "the board is lost"}


class NvmlMeter:
    """See `greenray.gpu.base.Meter`. Bits of the clock event reasons are those of `THROTTLE_REASONS`."""

    def __init__(self, handle: Any) -> None:
        self.fault: str | None = None
        self._handle = handle
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
        bits = nvml.ask_number("nvmlDeviceGetCurrentClocksEventReasons", self._handle)
        if bits is None:  # drivers before 535
            bits = nvml.ask_number("nvmlDeviceGetCurrentClocksThrottleReasons", self._handle)
        celsius = nvml.ask_number("nvmlDeviceGetTemperature", self._handle, pynvml.NVML_TEMPERATURE_GPU)
        clock_mhz = nvml.ask_number("nvmlDeviceGetClockInfo", self._handle, pynvml.NVML_CLOCK_SM)
        used = None if utilization is None else utilization.gpu / 100
        found = [_NAN if value is None else value for value in (used, celsius, clock_mhz, bits)]
        return found[0], found[1], found[2], found[3]

    def close(self) -> None:
        self._energy = self._fields = self._usage = None
        self.power_source = None


def _fault(code: int) -> str:
    # Kept, so that a lasting fault is one and the same object and reported once.
    return _FAULTS.setdefault(code, f"the board does not answer ({nvml.sentence(code)})")

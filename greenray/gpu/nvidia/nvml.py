"""NVML's calls, as this folder makes them: a failure is None or a sentence, never an exception. And a board's meter."""

import ctypes
import functools
import logging
import math
from typing import Any

import pynvml

logger = logging.getLogger(__name__)

_LAST_INSTANT = (8, 0)
"""Compute capability of GA100: up to there nvmlDeviceGetPowerUsage tells instant power, afterwards a 1 s average (NVML's manual).
It matters with drivers before 530, which have no field for instant power."""
_SCOPES = ((pynvml.NVML_POWER_SCOPE_GPU, "gpu"), (pynvml.NVML_POWER_SCOPE_MODULE, "module"))


def start() -> str | None:
    """Initialises NVML; returns None, or why there is none (a sentence)."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return f"NVML is not available ({error})"
    return None


def ask(function: str, *arguments: Any) -> Any:
    """One NVML call by name; None when the board or driver does not answer it."""
    try:
        return getattr(pynvml, function)(*arguments)
    except pynvml.NVMLError as error:
        logger.debug("%s: %s", function, error)
        return None


def ask_number(function: str, *arguments: Any, per: int = 1) -> float | None:
    """One NVML call that answers a number, divided by `per`; None when it does not answer."""
    value = ask(function, *arguments)
    return None if value is None else value / per


def ask_text(function: str, *arguments: Any) -> str:
    """One NVML call that answers bytes or text, depending on the version of its Python module; empty when it does not answer."""
    value = ask(function, *arguments) or ""
    return value.decode() if isinstance(value, bytes) else value


def function(name: str) -> Any:
    """NVML's C function itself, for the sampling thread: a tenth of the cost of the checked Python call. None when it is missing.

    The call gives the interpreter's lock away while it runs.
    """
    try:
        return pynvml._nvmlGetFunctionPointer(name)
    except pynvml.NVMLError:
        return None


@functools.cache  # a lasting fault is one and the same object and is reported once
def _fault(code: int) -> str:
    if code == pynvml.NVML_ERROR_GPU_IS_LOST:
        return "the board is lost"
    try:
        meaning = str(pynvml.NVMLError(code))
    except Exception:  # an unknown code of a newer driver
        meaning = f"NVML error {code}"
    return f"the board does not answer ({meaning})"


class NvmlMeter:
    """See `greenray.gpu.base.Meter`. Bits of the clock event reasons are those of `THROTTLE_REASONS`."""

    def __init__(self, handle: Any) -> None:
        self.fault: str | None = None
        self._handle = handle
        self._energy = function("nvmlDeviceGetTotalEnergyConsumption")
        self._fields = function("nvmlDeviceGetFieldValues")
        self._usage = function("nvmlDeviceGetPowerUsage")
        capability = ask("nvmlDeviceGetCudaComputeCapability", handle)
        self._usage_is_instant = capability is not None and tuple(capability) <= _LAST_INSTANT
        self._reads_usage = False
        self._mj, self._mw = ctypes.c_ulonglong(), ctypes.c_uint()
        self._mj_at, self._mw_at = ctypes.byref(self._mj), ctypes.byref(self._mw)
        self.counter_missing, self.lost = self._find_counter()
        self.power_source = self._find_power()

    def _find_counter(self) -> tuple[str | None, bool]:
        code = -1 if self._energy is None else self._energy(self._handle, self._mj_at)
        if code == 0:
            return None, False
        self._energy = None
        if code == pynvml.NVML_ERROR_GPU_IS_LOST:
            return _fault(code), True
        refused = code == pynvml.NVML_ERROR_NO_PERMISSION
        return "no permission to read the board's energy counter" if refused else "the board has no energy counter", False

    def _find_power(self) -> str | None:
        for scope, name in _SCOPES:
            self._values = (pynvml.c_nvmlFieldValue_t * 1)()
            self._values_at, self._value = ctypes.byref(self._values), self._values[0]
            self._value.fieldId, self._value.scopeId = pynvml.NVML_FI_DEV_POWER_INSTANT, scope
            if self._fields is not None and self._fields(self._handle, 1, self._values_at) == 0 and self._value.nvmlReturn == 0:
                return name
        self._reads_usage = self._usage is not None and self._usage(self._handle, self._mw_at) == 0
        if not self._reads_usage:
            return None
        return "gpu" if self._usage_is_instant else "average"

    def sample(self) -> tuple[float, float]:
        counter_j = power_w = math.nan
        fault = None
        if self._energy is not None:
            code = self._energy(self._handle, self._mj_at)
            if code == 0:
                counter_j = self._mj.value * 1e-3
            else:
                fault = _fault(code)
        if self._reads_usage:
            if self._usage(self._handle, self._mw_at) == 0:
                power_w = self._mw.value * 1e-3
        elif self.power_source is not None:
            code = self._fields(self._handle, 1, self._values_at)
            if code == 0 and self._value.nvmlReturn == 0:
                power_w = self._value.value.uiVal * 1e-3
            elif code != 0 and fault is None:
                fault = _fault(code)
        self.fault = fault
        return counter_j, power_w

    def sample_slow(self) -> tuple[float, float, float, float]:
        utilization = ask("nvmlDeviceGetUtilizationRates", self._handle)
        bits = ask_number("nvmlDeviceGetCurrentClocksEventReasons", self._handle)
        if bits is None:  # drivers before 535
            bits = ask_number("nvmlDeviceGetCurrentClocksThrottleReasons", self._handle)
        celsius = ask_number("nvmlDeviceGetTemperature", self._handle, pynvml.NVML_TEMPERATURE_GPU)
        clock_mhz = ask_number("nvmlDeviceGetClockInfo", self._handle, pynvml.NVML_CLOCK_SM)
        used = None if utilization is None else utilization.gpu / 100
        found = [math.nan if value is None else value for value in (used, celsius, clock_mhz, bits)]
        return found[0], found[1], found[2], found[3]

    def close(self) -> None:
        self._energy = self._fields = self._usage = None
        self.power_source, self._reads_usage = None, False

"""The peers' side of meters.py, run by the peers' own Python: the same windows, measured by several meters at once.

    python peer_meters.py zeus,zeus-instant,codecarbon,counter < PLAN

The first line of PLAN is JSON, [[gap_s, length_s], ...]; the windows begin when a second line arrives. Writes `ready`, and at the
end one line of JSON: for each window and meter the moments (CLOCK_MONOTONIC) between which it measured, and what it says, J.

The moments are those at which the meter itself read the board's energy counter: a note is taken around each such call into NVML.
Whatever else a meter does before, between and after its readings is thus not held against it.
"""

import importlib
import json
import sys
import time
from collections.abc import Callable
from typing import Any, Protocol

import pynvml

_J_PER_KWH = 3.6e6
_moments_s: list[float] = []


def _noting(read: Callable[[Any], int]) -> Callable[[Any], int]:
    """The same call, with a note of when it was made: the middle of the call."""

    def call(handle: Any) -> int:
        before_s = time.monotonic()
        value = read(handle)
        _moments_s.append((before_s + time.monotonic()) / 2)
        return value

    return call


class Meter(Protocol):
    def begin(self) -> None: ...

    def end(self) -> float: ...


class Counter:
    """The plain difference of the energy counter."""

    def __init__(self) -> None:
        pynvml.nvmlInit()
        self._handle = pynvml.nvmlDeviceGetHandleByIndex(0)

    def begin(self) -> None:
        self._before_mj = pynvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)

    def end(self) -> float:
        return (pynvml.nvmlDeviceGetTotalEnergyConsumption(self._handle) - self._before_mj) / 1000


class Zeus:
    """ZeusMonitor; there is no GPU work to wait for, so `sync_execution` is off."""

    def __init__(self, *, instant: bool = False) -> None:
        monitor = importlib.import_module("zeus.monitor")
        self._monitor = monitor.ZeusMonitor(gpu_indices=[0], cpu_indices=[], approx_instant_energy=instant)

    def begin(self) -> None:
        self._monitor.begin_window("window", sync_execution=False)

    def end(self) -> float:
        return float(self._monitor.end_window("window", sync_execution=False).gpu_energy[0])


class CodeCarbon:
    """A task of an offline tracker: the shorter way of the two that CodeCarbon has from a mark to its reading."""

    def __init__(self) -> None:
        codecarbon = importlib.import_module("codecarbon")
        self._tracker = codecarbon.OfflineEmissionsTracker(
            country_iso_code="USA", save_to_file=False, allow_multiple_runs=True, log_level="critical"
        )

    def begin(self) -> None:
        self._tracker.start_task()

    def end(self) -> float:
        return float(self._tracker.stop_task().gpu_energy * _J_PER_KWH)


METERS: dict[str, Callable[[], Meter]] = {
    "counter": Counter,
    "zeus": Zeus,
    "zeus-instant": lambda: Zeus(instant=True),
    "codecarbon": CodeCarbon,
}


def _moment_s(call: Callable[[], Any], *, last: bool) -> tuple[float, Any]:
    """When a call read the counter (the middle of the call where it did not), and what it answered."""
    _moments_s.clear()
    before_s = time.monotonic()
    answer = call()
    after_s = time.monotonic()
    return (_moments_s[-1 if last else 0] if _moments_s else (before_s + after_s) / 2), answer


def window(meters: dict[str, Meter], length_s: float) -> dict[str, tuple[float, float, float]]:
    """One window: begun in one order and ended in the other, so that each meter's lies within that of the one before it."""
    starts = {name: _moment_s(meter.begin, last=True)[0] for name, meter in meters.items()}
    time.sleep(length_s)
    found = {}
    for name, meter in reversed(meters.items()):
        end_s, energy_j = _moment_s(meter.end, last=False)
        found[name] = (starts[name], end_s, energy_j)
    return found


def main() -> None:
    # The meters look the call up when they make it.
    pynvml.nvmlDeviceGetTotalEnergyConsumption = _noting(pynvml.nvmlDeviceGetTotalEnergyConsumption)
    meters = {name: METERS[name]() for name in sys.argv[1].split(",")}
    window(meters, 0.1)  # the first is slow: hardware is looked for
    plan = json.loads(sys.stdin.readline())
    print("ready", flush=True)
    sys.stdin.readline()
    windows = []
    for gap_s, length_s in plan:
        time.sleep(gap_s)
        windows.append(window(meters, length_s))
    print(json.dumps(windows), flush=True)


if __name__ == "__main__":
    main()

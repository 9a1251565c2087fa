"""Section 10: how long each call of NVML takes: idle, under load, and while contexts come and go."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pynvml

from greenray.gpu.nvidia import nvml
from tests.gpu_check.finding import Finding, Table
from tests.gpu_check.rig import HZ, Rig, Stretch

SLOWEST_S = 0.25 / HZ
"""A call of the sampling thread may take a quarter of the time between two samples in 99 of 100 cases."""
STALL_S = 5 / HZ
"""A gap in the recording that is as long costs a window its power integral."""
_EVERY_S, _LENGTH_S = 0.004, 12.0


def calls(rig: Rig) -> dict[str, Callable[[], object]]:
    """What GreenRay asks of a board: a sample's two readings, the four of a slow one, and what is asked at windows' edges."""
    handle = pynvml.nvmlDeviceGetHandleByUUID(rig.gpu.uuid)
    ask = nvml.ask
    return {
        "sample (counter and instant power)": rig.sensor.sample,
        "TotalEnergyConsumption": lambda: ask("nvmlDeviceGetTotalEnergyConsumption", handle),
        "FieldValues (instant power)": lambda: ask("nvmlDeviceGetFieldValues", handle, [pynvml.NVML_FI_DEV_POWER_INSTANT]),
        "PowerUsage": lambda: ask("nvmlDeviceGetPowerUsage", handle),
        "UtilizationRates": lambda: ask("nvmlDeviceGetUtilizationRates", handle),
        "CurrentClocksEventReasons": lambda: ask("nvmlDeviceGetCurrentClocksEventReasons", handle),
        "Temperature": lambda: ask("nvmlDeviceGetTemperature", handle, pynvml.NVML_TEMPERATURE_GPU),
        "ClockInfo": lambda: ask("nvmlDeviceGetClockInfo", handle, pynvml.NVML_CLOCK_SM),
        "MemoryInfo": lambda: ask("nvmlDeviceGetMemoryInfo", handle),
        "ComputeRunningProcesses": lambda: ask("nvmlDeviceGetComputeRunningProcesses", handle),
        "UUID": lambda: ask("nvmlDeviceGetUUID", handle),
    }


def run(rig: Rig) -> Finding:
    """Every call in turn, again and again, in three states; a recorder runs beside them in the last."""
    rows: list[list[Any]] = []
    data: dict[str, Any] = {}
    notes: list[str] = []
    asked = calls(rig)
    for state in ("idle", "loaded"):
        rig.load.play("steady" if state == "loaded" else "none")
        time.sleep(1.0 * rig.scale)
        data[state] = _rows(rows, state, latencies(asked, seconds=_LENGTH_S * rig.scale))
    contexts = rig.load.contexts()
    try:
        time.sleep(1.0 * rig.scale)
        # Recorded alone: calls beside each other wait for each other.
        _, stretch = rig.record_while(lambda: time.sleep(_LENGTH_S * rig.scale))
        data["contexts"] = _rows(rows, "contexts come and go", latencies(asked, seconds=_LENGTH_S * rig.scale))
        made = contexts.collect(until_s=time.monotonic() + 0.1)
    finally:
        contexts.close()
        rig.load.play("none")
    data["contexts made"], data["gaps"] = len(made.rows), gaps(stretch)
    if made.rows:
        notes.append(f"{len(made.rows)} contexts were made beside steady work, {_took(made.rows)} each.")
    else:
        notes.append(
            f"No context was made ({made.problem or 'this board is simulated'}): what that does to the calls is unknown."
        )
    gap = data["gaps"]
    notes.append(
        f"The recorder's samples were at most {1000 * gap['longest_s']:.0f} ms apart meanwhile ({gap['over_two_periods']} gaps "
        f"of more than two periods, {gap['over_limit']} of more than {1000 * STALL_S:.0f} ms; {100 * gap['share']:.2f} % of the "
        "time)."
    )
    slow = [
        f"{call} {state} ({1000 * found['p99_s']:.1f} ms)"
        for state in ("idle", "loaded")
        for call, found in data[state].items()
        if call.startswith("sample") and found["p99_s"] > SLOWEST_S
    ]
    sample = {state: next(iter(data[state].values())) for state in ("idle", "loaded", "contexts")}
    told = ", ".join(
        f"{state} {1e6 * s['median_s']:.0f} us (longest {1000 * s['longest_s']:.1f} ms)" for state, s in sample.items()
    )
    return Finding(
        verdict="off" if slow else "ok",
        summary=f"A sample takes, in the median: {told}.",
        method=f"Every call in turn, one each {1000 * _EVERY_S:.0f} ms, for {_LENGTH_S * rig.scale:.0f} s a state: without a "
        "context, under matrix products, and under them while processes make contexts, hold 256 MiB for 0.2 s and end.",
        tables=[
            Table(title="Latency", columns=["state", "call", "calls", "median us", "95 % us", "99 % us", "longest ms"], rows=rows)
        ],
        notes=notes,
        data=data,
    )


def latencies(asked: dict[str, Callable[[], object]], *, seconds: float) -> dict[str, list[float]]:
    """Seconds that each call took, all in turn."""
    found: dict[str, list[float]] = {name: [] for name in asked}
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s:
        for name, call in asked.items():
            start_s = time.perf_counter()
            call()
            found[name].append(time.perf_counter() - start_s)
            time.sleep(_EVERY_S)
    return found


def gaps(stretch: Stretch) -> dict[str, float]:
    """How far the samples of a recording lie apart; `share` is the part of the time in gaps of more than two periods."""
    apart_s = np.diff(stretch.series.fast.times)
    long_s = apart_s[apart_s > 2 / HZ]
    return {
        "longest_s": float(apart_s.max()),
        "over_two_periods": len(long_s),
        "over_limit": int((apart_s > STALL_S).sum()),
        "share": float(long_s.sum() / apart_s.sum()),
    }


def _rows(rows: list[list[Any]], state: str, found: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """The quantiles of each call, put into the table as well."""
    told = {}
    for call, taken_s in found.items():
        median_s, p95_s, p99_s = np.quantile(taken_s, (0.5, 0.95, 0.99)).tolist()
        told[call] = {"calls": len(taken_s), "median_s": median_s, "p95_s": p95_s, "p99_s": p99_s, "longest_s": max(taken_s)}
        rows.append([state, call, len(taken_s), 1e6 * median_s, 1e6 * p95_s, 1e6 * p99_s, 1000 * max(taken_s)])
    return told


def _took(rows: list[dict[str, float]]) -> str:
    taken_s = [row["made_s"] - row["start_s"] for row in rows]
    return f"{1000 * min(taken_s):.0f} to {1000 * max(taken_s):.0f} ms"

"""Section 3: what a board draws when nothing runs, without and with a context and a model, and how soon it settles after work."""

from typing import Any

import numpy as np

from greenray.power.trace import Readings
from tests.gpu_check.finding import Finding, Table
from tests.gpu_check.rig import Rig

STEADY_SHARE, STEADY_S = 0.05, 1.0  # as a cell's idle window asks for it
WAIT_S = 10.0  # and how long a cell waits for it


def run(rig: Rig) -> Finding:
    """Idle power of three states, then the way back to it after steady work."""
    rows: list[list[Any]] = []
    data: dict[str, Any] = {}
    for name, mode in (("no context", "none"), ("context", "context"), ("model loaded", "model")):
        rig.load.play(mode)
        stretch = rig.record(max(5.0, 1.5 / rig.scale), settle_s=4.0)
        reading = stretch.read(stretch.start_s, stretch.end_s)
        settled_s = settled_after_s(stretch.series.fast, stretch.start_s)
        rows.append([name, reading.power_w, reading.sm_clock_mhz, reading.temperature_end_c, settled_s is not None])
        data[name] = {"power_w": reading.power_w, "sm_clock_mhz": reading.sm_clock_mhz, "steady": settled_s is not None}
    rig.load.play("steady")
    hot = rig.record(4, settle_s=2.0)
    rig.load.play("model")
    cooling = rig.record(max(14.0, 3.0 / rig.scale), settle_s=0.0)
    fast = cooling.series.fast
    begin_s = float(fast.times[0])
    settled_s = settled_after_s(fast, begin_s)
    last = cooling.read(max(cooling.start_s, cooling.end_s - 2), cooling.end_s)
    data["after work"] = {"settled_after_s": settled_s, "work_w": hot.power_w(), "last_w": last.power_w}
    at = [
        [moment_s, _mean_w(fast.within(begin_s + moment_s, begin_s + moment_s + 0.5))]
        for moment_s in (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 12.0)
        if begin_s + moment_s + 0.5 <= cooling.end_s
    ]
    rig.load.play("none")
    tables = [
        Table(
            title="Idle", columns=["state", "power W", "SM clock MHz", "temperature C", "steady within 5 % for 1 s"], rows=rows
        ),
        Table(title="After steady work, with the model loaded", columns=["s after the end", "power W (next 0.5 s)"], rows=at),
    ]
    watts = {name: data[name]["power_w"] for name in ("no context", "context", "model loaded")}
    told = ", ".join(f"{name} {'unknown' if value is None else f'{value:.1f} W'}" for name, value in watts.items())
    if settled_s is None:
        verdict, way = "off", f"after work it did not settle within {fast.times[-1] - begin_s:.0f} s"
    else:
        verdict, way = ("ok" if settled_s <= WAIT_S else "off"), f"{settled_s:.1f} s after work it is steady"
    if any(value is None for value in watts.values()):
        verdict = "off"
    unsteady = [name for name in watts if not data[name]["steady"]]
    notes = [f"Not steady within 5 % for 1 s at idle: {', '.join(unsteady)}."] if unsteady else []
    if last.power_w is not None and watts["model loaded"] is not None and last.power_w > 1.1 * watts["model loaded"]:
        notes.append(
            f"At the end of the recording the board still drew {last.power_w:.1f} W: steady is not yet idle "
            f"({watts['model loaded']:.1f} W before the work)."
        )
    return Finding(
        verdict=verdict,  # type: ignore[arg-type]
        summary=f"Idle: {told}; {way}.",
        method="Mean power by the counter over 5 s, 4 s after each change of state. Settled is what a cell's idle window waits "
        f"for: instant power within 5 % of its mean for a second, at most {WAIT_S:.0f} s; counted from the last product.",
        tables=tables,
        notes=notes,
        data=data,
    )


def settled_after_s(samples: Readings, begin_s: float) -> float | None:
    """How long after a moment power had been steady for a second; None when it never was."""
    watts = samples.column("power_w")
    known = np.isfinite(watts) & (samples.times >= begin_s)
    times, watts = samples.times[known], watts[known]
    for first in range(len(times)):
        end = int(np.searchsorted(times, times[first] + STEADY_S))
        if end >= len(times):
            return None
        mean_w = float(watts[first:end].mean())
        if float(np.abs(watts[first:end] - mean_w).max()) <= STEADY_SHARE * mean_w:
            return float(times[end]) - begin_s
    return None


def _mean_w(samples: Readings) -> float | None:
    watts = samples.column("power_w")
    return float(np.nanmean(watts)) if np.any(np.isfinite(watts)) else None

"""Section 1: how the energy counter moves, and how often instant power really changes."""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from greenray.power.gpu_reading import calibrate
from greenray.power.trace import Floats, Series, readings
from tests.gpu_check import traces
from tests.gpu_check.finding import Finding, Table
from tests.gpu_check.rig import Rig, Stretch

_POLLED_S, _BURSTS_S = 6.0, 0.71
_SCOPES = {
    "gpu": "of the GPU",
    "module": "of the whole module (GPU and its neighbours)",
    "average": "a 1 s average, not instant",
    None: "not told",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Movement:
    """When a finely polled reading changed. All None where it did not change at least three times.

    Attributes:
        changes: how often it changed.
        median_s, low_s, high_s: median, 5 % and 95 % quantile of the time between changes.
        poll_s: median time between two readings, which is how finely the rest is known.
    """

    changes: int
    poll_s: float | None
    median_s: float | None = None
    low_s: float | None = None
    high_s: float | None = None


def movement(times: Floats, values: Floats) -> Movement:
    """The movement of a reading; NaN readings are left out."""
    known = np.isfinite(values)
    times, values = times[known], values[known]
    if len(times) < 2:
        return Movement(changes=0, poll_s=None)
    moments = times[1:][np.diff(values) != 0]
    poll_s = float(np.median(np.diff(times)))
    if len(moments) < 3:
        return Movement(changes=len(moments), poll_s=poll_s)
    low_s, median_s, high_s = np.quantile(np.diff(moments), (0.05, 0.5, 0.95)).tolist()
    return Movement(changes=len(moments), poll_s=poll_s, median_s=median_s, low_s=low_s, high_s=high_s)


def resolution_j(counter_j: Floats) -> float | None:
    """The largest step of which every rise of the counter is a multiple (it counts whole millijoules); None if it never rose."""
    rises_mj = np.round(np.diff(counter_j[np.isfinite(counter_j)]) * 1000).astype(np.int64)
    rises_mj = rises_mj[rises_mj > 0]
    return None if len(rises_mj) == 0 else int(np.gcd.reduce(rises_mj)) / 1000


def run(rig: Rig) -> Finding:
    """Calibrates again and again, and polls the board as fast as is sensible, idle and at work."""
    rows: list[list[Any]] = []
    polled: list[list[Any]] = []
    notes: list[str] = []
    data: dict[str, Any] = {"power_source": rig.facts.power_source, "counter_missing": rig.facts.counter_missing}
    periods: list[float] = []
    for mode in ("none", "steady"):
        rig.load.play(mode)
        time.sleep(1.0 * rig.scale)
        for _ in range(3):
            calibrate([rig.sensor])
            found = rig.sensor.facts
            rows.append([mode, _ms(found.period_s), _ms(found.jitter_s)])
            if found.period_s is not None:
                periods.append(found.period_s)
        times, counter_j, power_w = _poll(rig, mode, seconds=_POLLED_S * rig.scale)
        for what, values in (("counter", counter_j), ("instant power", power_w)):
            moved = movement(times, values)
            polled.append(
                [mode, what, moved.changes, *(_ms(s) for s in (moved.median_s, moved.low_s, moved.high_s, moved.poll_s))]
            )
            data[f"{what} {mode}"] = {"changes": moved.changes, "median_s": moved.median_s, "poll_s": moved.poll_s}
        data[f"resolution_j {mode}"] = resolution_j(counter_j)
    if rig.keep is not None:
        rig.load.play("bursts", period_s=_BURSTS_S, duty=0.4)
        time.sleep(1.0 * rig.scale)
        _poll(rig, "bursts", seconds=_POLLED_S * rig.scale)
        notes.append(
            "What was polled is kept, with bursts of work beside it: which moment a reading tells of can be found there."
        )
    rig.load.play("none")
    data["periods_s"] = periods
    steps = [data[f"resolution_j {mode}"] for mode in ("none", "steady") if data[f"resolution_j {mode}"] is not None]
    step = f"{1000 * min(steps):.0f} mJ" if steps else "unknown"
    notes.append(f"Every rise of the counter is a multiple of {step}.")
    notes.append(f"Instant power is {_SCOPES[rig.facts.power_source]}.")
    stale_s = data["instant power steady"]["median_s"]
    if stale_s is None:
        notes.append("Instant power did not change while it was polled: how old it is cannot be told.")
    tables = [
        Table(title="Calibration, as a worker does it at its start", columns=["load", "period ms", "jitter ms"], rows=rows),
        Table(
            title="Polled finely: time between changes",
            columns=["load", "reading", "changes", "median ms", "5 % ms", "95 % ms", "between polls ms"],
            rows=polled,
        ),
    ]
    verdict, summary = _verdict(rig, periods, stale_s)
    return Finding(
        verdict=verdict,
        summary=summary,
        method="`calibrate` of the board's sensor three times idle and three times under steady matrix products, then counter "
        "and instant power polled every half millisecond.",
        tables=tables,
        notes=notes,
        data=data,
    )


def _verdict(rig: Rig, periods: list[float], stale_s: float | None) -> Any:
    if rig.facts.counter_missing is not None:
        return "off", f"There is no counter to measure with: {rig.facts.counter_missing}."
    if len(periods) < 6:
        return "off", f"The calibration found a period in {len(periods)} of 6 tries only."
    middle_s = float(np.median(periods))
    spread = (max(periods) - min(periods)) / middle_s
    power = "instant power does not tell its rate" if stale_s is None else f"instant power changes every {1000 * stale_s:.0f} ms"
    summary = f"The counter moves every {1000 * middle_s:.2f} ms ({100 * spread:.1f} % apart in 6 calibrations); {power}."
    return ("ok" if spread <= 0.02 else "off"), summary


def _poll(rig: Rig, mode: str, *, seconds: float) -> tuple[Floats, Floats, Floats]:
    """Times, counter and instant power; kept as a trace where traces are kept."""
    rows: list[tuple[float, float, float]] = []
    until_s = time.monotonic() + seconds
    while (now_s := time.monotonic()) < until_s:
        rows.append((now_s, *rig.sensor.sample()))
        time.sleep(0.0004)
    table = np.array(rows)
    times, counter_j, power_w = table[:, 0], table[:, 1], table[:, 2]
    if rig.keep is not None:
        margin_s = min(0.5, seconds / 4)
        series = Series(sensor=rig.sensor.name, part="gpu", fast=readings(times, counter_j=counter_j, power_w=power_w))
        stretch = Stretch(series=series, facts=rig.facts, start_s=times[0] + margin_s, end_s=times[-1] - margin_s)
        period_s = _BURSTS_S if mode == "bursts" else None
        traces.keep(rig.keep, f"polled-{mode}", stretch, gpu=rig.gpu, load=mode, seconds=seconds, period_s=period_s)
    return times, counter_j, power_w


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else 1000 * seconds

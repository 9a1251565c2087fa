"""Section 2: the energy counter against integrated instant power, under steady work, bursts and idle."""

from typing import Any

import numpy as np

from greenray.power.grade import AGREEMENT_A
from tests.gpu_check import traces
from tests.gpu_check.finding import Finding, Table
from tests.gpu_check.rig import HZ, Rig, Stretch

# No multiples of the periods at which boards refresh their readings: bursts in step with those would always look the same.
PERIODS_S = (0.053, 0.23, 0.71, 2.03)
_KEPT_S = 6.0
_SHORTEST_S = 4 / HZ  # instant power at the sampling rate cannot show shorter bursts: they are measured, not judged
_SHIFTS_S = np.arange(-0.3, 0.3001, 0.005)


def run(rig: Rig) -> Finding:
    """Records each load and compares the two meters over the whole of it."""
    rows: list[list[Any]] = []
    data: dict[str, Any] = {}
    notes: list[str] = []
    loads: list[tuple[str, str, float]] = [("idle", "none", 0.0), ("steady", "steady", 0.0)]
    loads += [(f"bursts of {period_s:g} s", "bursts", period_s) for period_s in PERIODS_S]
    for name, mode, period_s in loads:
        about = rig.load.play(mode, period_s=period_s, duty=0.4 if period_s else 0.0)
        stretch = rig.record(8, settle_s=2.0)
        lag_s = power_lag_s(stretch) if period_s else None
        row = compare(stretch)
        rows.append([name, *row.values(), None if lag_s is None else 1000 * lag_s])
        data[name] = {**row, "lag_s": lag_s, "load": about}
        if rig.keep is not None and name in ("idle", "steady", "bursts of 0.71 s"):
            traces.keep(rig.keep, mode, stretch, gpu=rig.gpu, load=name, seconds=_KEPT_S, period_s=period_s or None)
    rig.load.play("none")
    if rig.keep is not None:
        notes.append("Traces of idle, steady and bursts (0.71 s) are kept.")
    if any(data[name]["lag_s"] is None for name, _, period_s in loads if period_s):
        notes.append("Where instant power shows no bursts its lag is unknown.")
    columns = ["load", "mean W", "counter J", "± J", "power J", "± J", "power / counter", "apart %", "power lags by ms"]
    judged = [name for name, _, period_s in loads if not 0 < period_s < _SHORTEST_S]
    apart = {name: data[name]["apart"] for name in judged if data[name]["apart"] is not None}
    verdict, summary = _verdict(apart, asked=len(judged))
    notes.append(f"Bursts shorter than {_SHORTEST_S:g} s are not judged: power read {HZ:.0f} times a second cannot show them.")
    return Finding(
        verdict=verdict,
        summary=summary,
        method="One recording at 50 Hz a load; energy of the whole of it by the counter and by the integral of instant power, "
        "each with its stated error (a power sensor counts as good to 5 %). The lag is the shift of instant power in time that "
        "fits the counter's steps best.",
        tables=[Table(title="Counter and instant power", columns=columns, rows=rows)],
        notes=notes,
        data=data,
    )


def compare(stretch: Stretch) -> dict[str, float | None]:
    """Both energies of a stretch; None where a meter does not answer."""
    reading = stretch.read(stretch.start_s, stretch.end_s)
    counter = reading.energy if reading.source == "counter" else None
    ratio = None
    if counter is not None and counter.energy_j and reading.power.energy_j is not None:
        ratio = reading.power.energy_j / counter.energy_j
    return {
        "mean_w": reading.power_w,
        "counter_j": None if counter is None else counter.energy_j,
        "counter_error_j": None if counter is None else counter.error_j,
        "power_j": reading.power.energy_j,
        "power_error_j": reading.power.error_j,
        "ratio": ratio,
        "apart": None if ratio is None else 100 * (ratio - 1),
    }


def power_lag_s(stretch: Stretch) -> float | None:
    """How late instant power tells what the counter counted: the shift that fits best, None when no shift stands out.

    Compared are the counter's rises from sample to sample, summed over a tenth of a second, with the integral of shifted power.
    """
    fast = stretch.series.fast
    counter_j, power_w = fast.column("counter_j"), fast.column("power_w")
    known = np.isfinite(counter_j) & np.isfinite(power_w)
    times, counter_j, power_w = fast.times[known], counter_j[known], power_w[known]
    if len(times) < 50:
        return None
    total_j = np.concatenate([[0.0], np.cumsum(np.diff(times) * (power_w[1:] + power_w[:-1]) / 2)])
    moved = np.flatnonzero(np.diff(counter_j) > 0) + 1
    # The counter shows a moment up to a sampling period before the sample that saw it move.
    moments, values = (times[moved] + times[moved - 1]) / 2, counter_j[moved]
    inside = (moments > times[0] + _SHIFTS_S[-1]) & (moments < times[-1] - _SHIFTS_S[-1])
    moments, values = moments[inside], values[inside]
    stride = max(1, round(0.1 / float(np.median(np.diff(moments))))) if len(moments) > 10 else 0
    if not stride:
        return None
    moments, values = moments[::stride], values[::stride]
    misfit = np.array([_misfit(np.diff(np.interp(moments + shift, times, total_j)), np.diff(values)) for shift in _SHIFTS_S])
    best = int(np.argmin(misfit))
    if misfit[best] > 0.5 * np.median(misfit) or best in (0, len(misfit) - 1):
        return None
    return round(float(_SHIFTS_S[best]), 4)


def _misfit(power_j: Any, counter_j: Any) -> float:
    """Root mean square of what is left when the two scales have been made equal."""
    scale = float(counter_j.sum() / max(power_j.sum(), 1e-9))
    return float(np.sqrt(np.mean((power_j * scale - counter_j) ** 2)))


def _verdict(apart: dict[str, float], *, asked: int) -> Any:
    if not apart:
        return "off", "No load could be compared: a meter is missing."
    worst = max(apart, key=lambda name: abs(apart[name]))
    summary = f"Power and counter are at most {abs(apart[worst]):.1f} % apart ({worst}: {apart[worst]:+.1f} %)"
    if len(apart) < asked:
        return "off", f"{summary}; {asked - len(apart)} of {asked} loads could not be compared."
    return ("ok" if abs(apart[worst]) <= 100 * AGREEMENT_A else "off"), f"{summary}; a grade A needs 5 %."

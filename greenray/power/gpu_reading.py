"""One window of a GPU, read off its series: from the trace to joules, with what says how far they can be trusted."""

from dataclasses import dataclass, field

import numpy as np

from greenray.gpu.base import throttle_names
from greenray.power.estimate.counter import CounterEnergy, counter_energy
from greenray.power.estimate.energy import Energy, power_energy, unknown
from greenray.power.gpu_sensor import GpuFacts
from greenray.power.trace import EMPTY, Floats, Readings, Series

CLOCK_SHIFT = 0.05
"""A change of level by more than this share of the clock rejects a window. A boost step is 15 MHz, under 1 %; power goes with
clock x voltage squared, so a twentieth of the clock is a tenth or more of the power, far beyond what the meters disagree by."""
_MIN_CLOCK_READINGS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuReading:
    """A GPU over one window; see the `windows` table for the columns of the same names.

    `energy` is by the counter, or by power where there is none: `source` says which, None when it is unknown. `power` is the
    integral of the instant power, beside the counter.
    """

    energy: Energy
    source: str | None = None
    power: Energy = field(default_factory=Energy)
    power_w: float | None = None
    power_max_w: float | None = None
    utilization: float | None = None
    temperature_start_c: float | None = None
    temperature_end_c: float | None = None
    sm_clock_mhz: float | None = None
    sm_clock_min_mhz: float | None = None
    sm_clock_max_mhz: float | None = None
    clock_change: str | None = None
    throttle_reasons: list[str] | None = None
    facts: GpuFacts = field(default_factory=GpuFacts)


def prepare_counter(series: Series, facts: GpuFacts, *, hz: float) -> CounterEnergy | None:
    """The GPU's counter over all of the series, to be asked for any number of windows; None where the GPU has none."""
    if facts.counter_missing is not None:
        return None
    polled, period_s = facts.polled, facts.period_s
    times = series.fast.times
    # What calibration read counts where the recording began right after it.
    close = len(polled.times) and len(times) and 0 < times[0] - polled.times[-1] < 1.0
    return counter_energy(
        # The 1 s average knows nothing of what happens between two updates.
        series.fast if facts.power_source != "average" else _without(series, "power_w"),
        hz=hz,
        period_s=float("nan") if period_s is None else period_s,
        jitter_s=facts.jitter_s,
        before=polled if close else EMPTY,
    )


def read_gpu(
    series: Series,
    facts: GpuFacts,
    *,
    start_s: float,
    end_s: float,
    hz: float,
    counter: CounterEnergy | None = None,
) -> GpuReading:
    """A GPU's figures. A counter that fails is not replaced by the power integral; a GPU without one is read by power.

    `counter` is what `prepare_counter` made of a series that holds the window; by default it is made of this one.
    """
    averaged = facts.power_source == "average"
    power = unknown("the board does not tell its power")
    if facts.power_source is not None:
        power = power_energy(series.fast, start_s, end_s, hz=hz, lag_s=1.0 if averaged else 0.0)
    source: str | None
    if facts.counter_missing is None:
        counter = counter or prepare_counter(series, facts, hz=hz)
        energy = counter.between(start_s, end_s) if counter else unknown("the energy counter was not read")
        source = "counter"
    else:
        energy, source = power, "power"
    fault = next((text for time_s, text in series.faults if time_s <= end_s), None)
    if energy.energy_j is None:
        source = None
        if fault is not None:
            energy = unknown(f"{fault}: {energy.reason}", updates=energy.updates)
    duration_s = end_s - start_s
    inside = series.fast.within(start_s, end_s)
    watts = inside.column("power_w")
    slow = series.slow.within(start_s - 0.25, end_s + 0.25)
    clock_mhz = series.slow.within(start_s, end_s).column("clock_mhz")
    lowest_mhz, highest_mhz = _extremes(clock_mhz)
    return GpuReading(
        energy=energy,
        source=source,
        power=power if not averaged else unknown("no instant power: the board tells a 1 s average only"),
        power_w=None if energy.energy_j is None else energy.energy_j / duration_s,
        power_max_w=float(np.nanmax(watts)) if np.any(np.isfinite(watts)) and not averaged else None,
        utilization=_mean(slow.column("utilization")),
        temperature_start_c=_nearest(series, "temperature_c", start_s),
        temperature_end_c=_nearest(series, "temperature_c", end_s),
        sm_clock_mhz=_mean(clock_mhz if lowest_mhz is not None else slow.column("clock_mhz")),
        sm_clock_min_mhz=lowest_mhz,
        sm_clock_max_mhz=highest_mhz,
        clock_change=clock_change(clock_mhz),
        throttle_reasons=_throttling(slow.column("throttle_bits")),
        facts=facts,
    )


def clock_change(clock_mhz: Floats) -> str | None:
    """Why these readings of the SM clock, all of one window, are not of one level; None when they are, or cannot tell.

    A loaded board moves its clock all the time, above all under a power cap, and that is no change: every window has its share of
    it. What counts is a lasting change of level, for joules per sample on either side of it are two different figures. The last
    third of the readings (two at least) must lie wholly above or wholly below the first third, and their medians must differ by
    more than `CLOCK_SHIFT`. A wobble fails the first condition, a single boost step the second, and a dip that recovers reaches
    neither third for long. With few readings (a window of one second has five) a wobble wider than `CLOCK_SHIFT` may still look
    like a change; that costs another window, never the cell's figure.
    """
    known = clock_mhz[np.isfinite(clock_mhz)]
    if len(known) < _MIN_CLOCK_READINGS:
        return None
    third = max(2, len(known) // 3)
    first, last = known[:third], known[-third:]
    if first.min() <= last.max() and last.min() <= first.max():
        return None
    before, after = float(np.median(first)), float(np.median(last))
    if abs(after - before) <= CLOCK_SHIFT * float(np.median(known)):
        return None
    return f"the SM clock went from {before:.0f} to {after:.0f} MHz inside the window"


def _without(series: Series, column: str) -> Readings:
    return Readings(
        times=series.fast.times, columns={name: values for name, values in series.fast.columns.items() if name != column}
    )


def _mean(values: Floats) -> float | None:
    return float(np.nanmean(values)) if np.any(np.isfinite(values)) else None


def _extremes(values: Floats) -> tuple[float | None, float | None]:
    known = values[np.isfinite(values)]
    return (float(known.min()), float(known.max())) if len(known) else (None, None)


def _nearest(series: Series, column: str, at_s: float) -> float | None:
    """The slow reading next to a moment, at most a second away."""
    values = series.slow.column(column)
    valid = np.isfinite(values)
    if not np.any(valid):
        return None
    times, values = series.slow.times[valid], values[valid]
    index = int(np.argmin(np.abs(times - at_s)))
    return float(values[index]) if abs(times[index] - at_s) <= 1.0 else None


def _throttling(bits: Floats) -> list[str] | None:
    seen = bits[np.isfinite(bits)].astype(np.int64)
    return throttle_names(int(np.bitwise_or.reduce(seen))) if len(seen) else None

"""A GPU: the recorder's sensor of it, how its counter moves, and its windows.

`read_gpu` goes from the trace to joules, with what says how far they can be trusted.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from greenray.gpu.base import Gpu, throttle_names
from greenray.power.estimate.counter import CounterEnergy, counter_energy
from greenray.power.estimate.energy import Energy, power_energy, unknown
from greenray.power.estimate.grid import changes
from greenray.power.renewal import Renewal
from greenray.power.sensors import Setup
from greenray.power.trace import EMPTY, Floats, Readings, Series, readings
from greenray.processes.awake import AwakeClock

CLOCK_SHIFT = 0.05
"""A change of level by more than this share of the clock rejects a window. A boost step is 15 MHz, under 1 %; power goes with
clock x voltage squared, so a twentieth of the clock is a tenth or more of the power, far beyond what the meters disagree by."""
_MIN_CLOCK_READINGS = 4
_POLLED_S, _LONGEST_POLL_S, _ENOUGH_MOVES = 1.2, 0.1, 48
_FEW_MOVES, _OTHER_PERIOD = 8, 0.05  # how many tell a period under load, and by what share it must differ to be another one
MOVED_BY = 1.5
"""Of the counter's periods: so long after a moment even a counter that jitters by a fifth has moved."""
_FINE = 3  # sampling periods in one of the counter's: then the samples tell its grid, and not only how many updates there were


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

    def renewal(self, *, sampled_s: float) -> Renewal | None:
        """When its counter will move, for a recorder that reads it every `sampled_s`; None if extra reads tell little."""
        return Renewal.worth(period_s=self.facts.period_s, jitter_s=self.facts.jitter_s, sampled_s=sampled_s)


def open_sensors(setup: Setup) -> list[GpuSensor]:
    """A sensor for each GPU of the setup."""
    return [GpuSensor(gpu) for gpu in setup.gpus]


def calibrate(sensors: Sequence[GpuSensor]) -> None:
    """Measures how the GPUs' counters move: reads all as fast as is sensible until each moved often enough, 1.2 s at most.

    A moment for which this process was stopped does not count: what is found here holds for all that is measured later.
    """
    polled = [sensor for sensor in sensors if sensor.facts.counter_missing is None]
    times: list[list[float]] = [[] for _ in polled]
    values: list[list[float]] = [[] for _ in polled]
    moved = [0] * len(polled)
    clock = AwakeClock(longest_turn_s=_LONGEST_POLL_S)
    until_s = clock() + _POLLED_S
    while polled and min(moved) <= _ENOUGH_MOVES and clock() < until_s:
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


def under_load(facts: GpuFacts, samples: Readings) -> GpuFacts:
    """What is known of a meter, by samples of a loaded board: some update their counters at another rate than an idle one.

    Calibration polls finely, so its period stays unless the samples contradict it. Of a counter that moves between any two of
    them they tell only that its period is no longer than theirs.
    """
    times, counter_j = samples.known("counter_j")
    after, until, _ = changes(times, counter_j)
    if len(until) < _FEW_MOVES:
        return facts
    seen_s = float((until[-1] + after[-1] - until[0] - after[0]) / 2 / (len(until) - 1))
    sampled_s = float(np.median(np.diff(times)))
    known_s = facts.period_s
    if known_s is not None and (abs(seen_s / known_s - 1) <= _OTHER_PERIOD or known_s < seen_s < 1.5 * sampled_s):
        return facts
    found = replace(facts, period_s=seen_s)
    if seen_s > _FINE * sampled_s:
        found = _with_steadiness(facts, times, counter_j)
    return replace(found, jitter_s=max(found.jitter_s, facts.jitter_s), polled=facts.polled)


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
    polled, fast = facts.polled, series.fast
    # What calibration read counts where the recording began right after it.
    close = len(polled.times) and len(fast.times) and 0 < fast.times[0] - polled.times[-1] < 1.0
    if facts.power_source == "average":  # over 1 s: it knows nothing of what happens between two updates
        fast = replace(fast, columns={"counter_j": fast.column("counter_j")})
    period_s = math.nan if facts.period_s is None else facts.period_s
    return counter_energy(fast, hz=hz, period_s=period_s, jitter_s=facts.jitter_s, before=polled if close else EMPTY)


def read_gpu(
    series: Series, facts: GpuFacts, *, start_s: float, end_s: float, hz: float, counter: CounterEnergy | None
) -> GpuReading:
    """A GPU's figures. A counter that fails is not replaced by the power integral; a GPU without one is read by power.

    `counter` is what `prepare_counter` made of a series that holds the window.
    """
    averaged = facts.power_source == "average"
    power = unknown("the board does not tell its power")
    if facts.power_source is not None:
        power = power_energy(series.fast, start_s, end_s, hz=hz, lag_s=1.0 if averaged else 0.0)
    energy, source = (power, "power") if counter is None else (counter.between(start_s, end_s), "counter")
    fault = next((text for time_s, text in series.faults if time_s <= end_s), None)
    if energy.energy_j is None and fault is not None:
        energy = unknown(f"{fault}: {energy.reason}", updates=energy.updates)
    _, watts = series.fast.within(start_s, end_s).known("power_w")
    slow = series.slow.within(start_s - 0.25, end_s + 0.25)
    _, clock_mhz = series.slow.within(start_s, end_s).known("clock_mhz")
    _, bits = slow.known("throttle_bits")
    return GpuReading(
        energy=energy,
        source=None if energy.energy_j is None else source,
        power=power if not averaged else unknown("no instant power: the board tells a 1 s average only"),
        power_w=None if energy.energy_j is None else energy.energy_j / (end_s - start_s),
        power_max_w=float(watts.max()) if len(watts) and not averaged else None,
        utilization=_mean(slow.known("utilization")[1]),
        temperature_start_c=_nearest(series, "temperature_c", start_s),
        temperature_end_c=_nearest(series, "temperature_c", end_s),
        sm_clock_mhz=_mean(clock_mhz if len(clock_mhz) else slow.known("clock_mhz")[1]),
        sm_clock_min_mhz=float(clock_mhz.min()) if len(clock_mhz) else None,
        sm_clock_max_mhz=float(clock_mhz.max()) if len(clock_mhz) else None,
        clock_change=clock_change(clock_mhz),
        throttle_reasons=throttle_names(int(np.bitwise_or.reduce(bits.astype(np.int64)))) if len(bits) else None,
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


def _mean(values: Floats) -> float | None:
    return float(values.mean()) if len(values) else None


def _nearest(series: Series, column: str, at_s: float) -> float | None:
    """The slow reading next to a moment, at most a second away."""
    times, values = series.slow.known(column)
    if not len(times):
        return None
    index = int(np.argmin(np.abs(times - at_s)))
    return float(values[index]) if abs(times[index] - at_s) <= 1.0 else None

"""One window's figures, read off a trace: pure functions of (trace, start, end) and of what is known about host and boards."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from greenray.config.settings import CpuModel
from greenray.gpu.nvidia.sensor import Calibration, GpuSensor, throttle_names
from greenray.power.activity import HOST_STEP_S
from greenray.power.estimate.counter import CounterEnergy, counter_energy
from greenray.power.estimate.energy import Energy, interpolate, power_energy, rapl_energy, unknown
from greenray.power.modelled import modelled_host_j, modelled_idle
from greenray.power.sharing import IdlePower, share_j
from greenray.power.sm_clock import clock_change
from greenray.power.trace import EMPTY, Floats, Readings, Series, Trace
from greenray.power.wall.plug import plug_energy

NO_WALL_METER = unknown("no wall meter")


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardFacts:
    """What must be known about a board to read its series. `power_source`: gpu, module, average or None."""

    power_source: str | None = "gpu"
    counter_missing: str | None = None
    calibration: Calibration = field(default_factory=Calibration)


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuReading:
    """A board over one window; see the `windows` table for the columns of the same names."""

    energy: Energy
    source: str | None
    power: Energy
    power_w: float | None
    power_max_w: float | None
    utilization: float | None
    temperature_start_c: float | None
    temperature_end_c: float | None
    sm_clock_mhz: float | None
    sm_clock_min_mhz: float | None
    sm_clock_max_mhz: float | None
    clock_change: str | None
    throttle_reasons: list[str] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuReading:
    """Processors and memory over one window; `energy` and `dram` are the cell's share, `host` and `host_dram` are everybody's.

    `metered` says whether the processors have a meter; `host_dram` is None where the memory has none.
    """

    energy: Energy
    source: str | None
    host: Energy
    dram: Energy
    host_dram: Energy | None
    metered: bool
    idle_w: float
    dram_idle_w: float | None
    idle_known: bool
    cell_s: float | None
    neighbours_busy: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HostShare:
    """How the host is shared: its idle power (None: never measured), its workers and the model of its processor.

    `no_meter` says why the processor is not metered, None when it is.
    """

    logical_cores: int
    model: CpuModel
    idle: IdlePower | None = None
    workers: int = 1
    no_meter: str | None = None


def facts_of(sensor: GpuSensor) -> BoardFacts:
    """The facts of an open sensor."""
    return BoardFacts(power_source=sensor.power_source, counter_missing=sensor.counter_missing, calibration=sensor.calibration)


def prepare_counter(series: Series, facts: BoardFacts, *, hz: float) -> CounterEnergy | None:
    """The board's counter over all of the series, to be asked for any number of windows; None where the board has none."""
    if facts.counter_missing is not None:
        return None
    polled, period_s = facts.calibration.polled, facts.calibration.period_s
    times = series.fast.times
    # What calibration read counts where the recording began right after it.
    close = len(polled.times) and len(times) and 0 < times[0] - polled.times[-1] < 1.0
    return counter_energy(
        # The 1 s average knows nothing of what happens between two updates.
        series.fast if facts.power_source != "average" else _without(series, "power_w"),
        hz=hz,
        period_s=float("nan") if period_s is None else period_s,
        jitter_s=facts.calibration.jitter_s,
        before=polled if close else EMPTY,
    )


def read_gpu(
    series: Series,
    facts: BoardFacts,
    *,
    start_s: float,
    end_s: float,
    hz: float,
    counter: CounterEnergy | None = None,
) -> GpuReading:
    """A board's figures. A counter that fails is not replaced by the power integral; a board without one is read by power.

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
    )


def read_cpu(trace: Trace, host_share: HostShare, *, start_s: float, end_s: float) -> CpuReading:
    """The cell's share of processors and memory, metered where the trace has RAPL packages, else modelled."""
    duration_s = end_s - start_s
    host_s = _used(trace, "cpu:host", start_s, end_s)
    cell_s = _used(trace, "cpu:cell", start_s, end_s)
    packages = trace.of_part("cpu")
    idle_known = True
    if packages:
        host, source = _sum(packages, start_s, end_s, trace.hz), "rapl"
        idle = host_share.idle
        if idle is None or idle.source != "rapl":
            idle_known = False
            idle = replace(modelled_idle(host_share.model, logical_cores=host_share.logical_cores), source="assumed")
    else:
        source = "modelled"
        idle = modelled_idle(host_share.model, logical_cores=host_share.logical_cores)
        host = unknown("the host's processor time is unknown")
        if host_s is not None:
            busy_s = max(host_s, cell_s or 0.0)
            host = Energy(
                energy_j=modelled_host_j(
                    host_share.model, logical_cores=host_share.logical_cores, host_s=busy_s, duration_s=duration_s
                )
            )
    memory = trace.of_part("dram")
    dram = _sum(memory, start_s, end_s, trace.hz) if memory else unknown("no DRAM domain")
    return CpuReading(
        energy=_cell_share(host, idle.cpu_w, host_share.workers, cell_s, host_s, duration_s),
        source=source if host.energy_j is not None and cell_s is not None and host_s is not None else None,
        host=host,
        host_dram=dram if memory else None,
        metered=bool(packages),
        # Without a known idle power all of the memory's energy goes by processor time.
        dram=_cell_share(dram, idle.dram_w or 0.0, host_share.workers, cell_s, host_s, duration_s),
        idle_w=idle.cpu_w,
        dram_idle_w=idle.dram_w,
        idle_known=idle_known,
        cell_s=cell_s,
        neighbours_busy=None if host_s is None or cell_s is None or duration_s <= 0 else max(0.0, host_s - cell_s) / duration_s,
    )


def read_wall(trace: Trace, *, start_s: float, end_s: float) -> Energy:
    """Energy at the plug, by a counter where a wall sensor has one, else by its power; `NO_WALL_METER` without such a sensor."""
    meters = trace.of_part("wall")
    if not meters:
        return NO_WALL_METER
    meter = meters[0]
    if np.isfinite(meter.period_s):
        return plug_energy(meter, start_s, end_s)
    if "counter_j" in meter.fast.columns:
        return counter_energy(meter.fast, hz=trace.hz).between(start_s, end_s)
    return power_energy(meter.fast, start_s, end_s, hz=trace.hz)


def _cell_share(
    host: Energy, idle_w: float, workers: int, cell_s: float | None, host_s: float | None, duration_s: float
) -> Energy:
    if host.energy_j is None:
        return host
    if cell_s is None or host_s is None:
        return unknown("the cell's processor time is unknown")

    def share(host_j: float, busy_s: float) -> float:
        return share_j(
            host_j=host_j, idle_w=idle_w, duration_s=duration_s, workers=workers, cell_s=min(cell_s, busy_s), host_s=busy_s
        )

    energy_j = share(host.energy_j, max(host_s, cell_s))
    if host.error_j is None:
        return Energy(energy_j=energy_j)
    # Both the meter and the coarse count of the host's processor seconds carry over.
    metered_j = abs(share(host.energy_j + host.error_j, max(host_s, cell_s)) - energy_j)
    counted_j = abs(share(host.energy_j, max(host_s, cell_s) + 2 * HOST_STEP_S) - energy_j)
    return Energy(energy_j=energy_j, error_j=float(np.hypot(metered_j, counted_j)))


def _sum(domains: Sequence[Series], start_s: float, end_s: float, hz: float) -> Energy:
    """Domains that do not contain each other, added up; unknown as soon as one of them is."""
    total_j, square = 0.0, 0.0
    for series in domains:
        energy = rapl_energy(series.fast, start_s, end_s, hz=hz, range_j=series.range_j)
        if energy.energy_j is None or energy.error_j is None:
            fault = next((text for time_s, text in series.faults if time_s <= end_s), None)
            return unknown(f"{series.sensor}: {fault or energy.reason}")
        if energy.energy_j <= 0 and end_s - start_s > 5 / hz:
            # A counter of the kernel's moves every millisecond; some virtual machines show one that never does.
            return unknown(f"{series.sensor}: the counter did not move")
        total_j += energy.energy_j
        square += energy.error_j**2
    return Energy(energy_j=total_j, error_j=float(np.sqrt(square)))


def _used(trace: Trace, sensor: str, start_s: float, end_s: float) -> float | None:
    """Processor seconds between two moments.

    A cell has used none before it is followed, unless it had used more by then than the time since the recording began allows.
    """
    series = trace.series.get(sensor)
    if series is None:
        return None
    times, values = series.fast.times, series.fast.column("cpu_seconds")
    valid = np.isfinite(values)
    if sensor == "cpu:cell" and np.any(valid) and not valid[0]:
        first = int(np.argmax(valid))
        fits = values[first] <= (times[first] - times[0]) * (os.cpu_count() or 1)
        values = np.where(np.arange(len(values)) < first, 0.0 if fits else values[first], values)
    before, after = interpolate(times, values, start_s), interpolate(times, values, end_s)
    return None if before is None or after is None else max(0.0, after - before)


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

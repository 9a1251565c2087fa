"""One window of processors and memory, read off a trace: the host's energy by RAPL or a model, and the cell's share of it."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from greenray.config.settings import CpuModel
from greenray.power.activity import HOST_STEP_S
from greenray.power.contention import contention
from greenray.power.estimate.energy import GAP_PERIODS, GAP_SHARE, Energy, gaps_of, interpolate, rapl_energy, unknown
from greenray.power.sharing import CoreShare, IdlePower, inferred_idle, modelled_host_j, modelled_idle, share_j
from greenray.power.trace import EMPTY, Readings, Series, Trace


@dataclass(frozen=True, slots=True, kw_only=True)
class HostShare:
    """How the host is shared: its idle power (None: never measured), its workers and the model of its processor.

    `no_meter` says why the processor is not metered, None when it is; `modelled` are the cores that a model counts, None: all.
    """

    logical_cores: int
    model: CpuModel
    idle: IdlePower | None = None
    workers: int = 1
    no_meter: str | None = None
    modelled: CoreShare | None = None

    @property
    def counted(self) -> CoreShare:
        """The cores that a model counts."""
        return self.modelled or CoreShare(cores=self.logical_cores)


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuReading:
    """Processors and memory over one window; `energy` and `dram` are the cell's share, `host` and `host_dram` are everybody's.

    `host_dram` is None where the memory has no meter. `idle` and `host_share` are what the cell's share was computed with.
    `neighbours_busy` and `steal` are processors, `cpu_pressure` is a share of the time, `contention` what the rule says to them.
    """

    energy: Energy
    source: str | None = None
    host: Energy = field(default_factory=Energy)
    dram: Energy = field(default_factory=Energy)
    host_dram: Energy | None = None
    idle: IdlePower
    cell_s: float | None = None
    neighbours_busy: float | None = None
    steal: float | None = None
    cpu_pressure: float | None = None
    contention: str | None = None
    host_share: HostShare


def read_cpu(trace: Trace, host_share: HostShare, *, start_s: float, end_s: float) -> CpuReading:
    """The cell's share of processors and memory, metered where the trace has RAPL packages, else modelled."""
    duration_s = end_s - start_s
    host_s = _between(trace, "cpu:host", "cpu_seconds", start_s, end_s)
    cell_s = _between(trace, "cpu:cell", "cpu_seconds", start_s, end_s)
    packages = trace.of_part("cpu")
    model, cores = host_share.model, host_share.logical_cores
    memory = trace.of_part("dram")
    dram = _sum(memory, start_s, end_s, trace.hz) if memory else unknown("no DRAM domain")
    idle = modelled_idle(model, logical_cores=host_share.counted.cores)
    if packages:
        host, source = _sum(packages, start_s, end_s, trace.hz), "rapl"
        known = host_share.idle
        if known is None or known.source != "rapl":
            seconds = {"host_s": max(host_s or 0.0, cell_s or 0.0), "duration_s": duration_s}
            known = inferred_idle(model, host_j=host.energy_j or 0.0, dram_j=dram.energy_j, **seconds)
        idle = known
    elif host_s is None:
        host, source = unknown("the host's processor time is unknown"), "modelled"
    else:
        busy_s = max(host_s, cell_s or 0.0)
        host_j = modelled_host_j(model, logical_cores=host_share.counted.cores, host_s=busy_s, duration_s=duration_s)
        host, source = Energy(energy_j=host_j), "modelled"
    others = None if host_s is None or cell_s is None else max(0.0, host_s - cell_s)
    neighbours_busy, own_busy = _rate(others, duration_s), _rate(cell_s, duration_s)
    steal = _rate(_between(trace, "cpu:host", "steal_seconds", start_s, end_s), duration_s)
    waited = _rate(_between(trace, "cpu:host", "pressure_seconds", start_s, end_s), duration_s)
    # The kernel and the recorder read their clocks one after the other.
    cpu_pressure = None if waited is None else min(waited, 1.0)
    missed = _missed(trace, start_s, end_s)
    energy = _cell_share(host, idle.cpu_w, host_share.workers, cell_s, host_s, duration_s, missed)
    return CpuReading(
        energy=energy,
        source=source if energy.energy_j is not None else None,
        host=host,
        host_dram=dram if memory else None,
        dram=_cell_share(dram, idle.dram_w or 0.0, host_share.workers, cell_s, host_s, duration_s, missed),
        idle=idle,
        cell_s=cell_s,
        neighbours_busy=neighbours_busy,
        steal=steal,
        cpu_pressure=cpu_pressure,
        contention=contention(
            neighbours_busy=neighbours_busy,
            steal=steal,
            cpu_pressure=cpu_pressure,
            logical_cores=cores,
            workers_sharing=host_share.workers,
            own_busy=own_busy,
        ),
        host_share=host_share,
    )


def idle_of(trace: Trace) -> IdlePower | None:
    """Mean power of the processors (and memory) of a trace that was taken while nothing ran; None when it holds too little."""
    watts: dict[str, float] = {}
    seconds = 0.0
    for part in ("cpu", "dram"):
        for series in trace.of_part(part):
            times, counter = series.fast.times, series.fast.column("counter_j")
            if len(times) < 2 or not np.all(np.isfinite(counter)):
                return None
            steps = np.diff(counter)
            steps = np.where(steps < 0, steps + series.range_j, steps)
            seconds = float(times[-1] - times[0])
            watts[part] = watts.get(part, 0.0) + float(steps.sum()) / seconds
    if "cpu" not in watts or not np.isfinite(watts["cpu"]):
        return None
    return IdlePower(cpu_w=watts["cpu"], dram_w=watts.get("dram"), source="rapl", seconds=seconds, busy=_busy(trace))


def _busy(trace: Trace) -> float | None:
    """Processors that the host kept busy over all of a trace."""
    series = trace.series.get("cpu:host")
    times, used_s = (EMPTY if series is None else _holds(series, "cpu_seconds")).known("cpu_seconds")
    return _rate(float(used_s[-1] - used_s[0]), float(times[-1] - times[0])) if len(times) > 1 else None


def _holds(series: Series, column: str) -> Readings:
    """Those of its readings that have a column."""
    return series.fast if column in series.fast.columns else series.slow


def _cell_share(
    host: Energy,
    idle_w: float,
    workers: int,
    cell_s: float | None,
    host_s: float | None,
    duration_s: float,
    missed: tuple[float, float],
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
    gap_s, doubt_s = missed
    doubt_j = doubt_s * max(host.energy_j - idle_w * duration_s, 0.0) / max(host_s, cell_s, 1e-9)
    if doubt_j > GAP_SHARE * energy_j:
        return unknown(f"the recorder missed {gap_s:.2f} s at an edge of the window")
    if host.error_j is None:
        return Energy(energy_j=energy_j)
    # Both the meter and the coarse count of the host's processor seconds carry over.
    metered_j = abs(share(host.energy_j + host.error_j, max(host_s, cell_s)) - energy_j)
    counted_j = abs(share(host.energy_j, max(host_s, cell_s) + 2 * HOST_STEP_S) - energy_j)
    return Energy(energy_j=energy_j, error_j=float(np.linalg.norm([metered_j, counted_j, doubt_j])))


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


def _missed(trace: Trace, start_s: float, end_s: float) -> tuple[float, float]:
    """The longest pause of the recorder that an edge falls into, and by how many seconds of use the cell's may be off for it."""
    cell = trace.series.get("cpu:cell")
    if cell is None:
        return 0.0, 0.0
    times, values = cell.fast.times, cell.fast.column("cpu_seconds")
    times, values = times[np.isfinite(values)], values[np.isfinite(values)]
    gaps = [(begin, end) for begin, end in gaps_of(times, hz=trace.hz) if begin < start_s < end or begin < end_s < end]
    if not gaps:
        return 0.0, 0.0
    doubts_s = []
    for begin, end in gaps:
        at = int(np.searchsorted(times, begin))
        around = np.unique(np.clip([at - GAP_PERIODS, at, at + 1, at + 1 + GAP_PERIODS], 0, len(times) - 1))
        # Who goes on as before was not missed: as with a meter, a quarter of what the gap and its neighbours differ by.
        doubts_s.append(0.25 * np.ptp(np.diff(values[around]) / np.diff(times[around])) * (end - begin))
    return max(end - begin for begin, end in gaps), float(np.linalg.norm(doubts_s))


def _rate(seconds: float | None, duration_s: float) -> float | None:
    return None if seconds is None or duration_s <= 0 else seconds / duration_s


def _between(trace: Trace, sensor: str, column: str, start_s: float, end_s: float) -> float | None:
    series = trace.series.get(sensor)
    if series is None:
        return None
    read = _holds(series, column)
    times, values = read.times, read.column(column)
    valid = np.isfinite(values)
    # A cell has used none before it is followed, unless it had used more by then than the time since the recording began allows.
    if sensor == "cpu:cell" and np.any(valid) and not valid[0]:
        first = int(np.argmax(valid))
        fits = values[first] <= (times[first] - times[0]) * (os.cpu_count() or 1)
        values = np.where(np.arange(len(values)) < first, 0.0 if fits else values[first], values)
    before, after = interpolate(times, values, start_s), interpolate(times, values, end_s)
    return None if before is None or after is None else max(0.0, after - before)

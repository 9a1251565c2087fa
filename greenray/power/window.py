"""One row of the `windows` table: every part's figures put together, with total, scope and grade."""

from dataclasses import dataclass, field

from greenray.power.estimate.energy import Energy
from greenray.power.grade import CpuEvidence, GpuEvidence, grade_cpu, grade_gpu
from greenray.power.reading import NO_WALL_METER, CpuReading, GpuReading, HostShare
from greenray.power.wall.plug import WallCheck, check_wall


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowReading:
    """Energy and grade of one window; names, units and meaning are those of the `windows` table."""

    gpu_uuid: str | None = None
    gpu_energy_j: float | None = None
    gpu_energy_source: str | None = None
    gpu_energy_error_j: float | None = None
    gpu_power_energy_j: float | None = None
    gpu_idle_w: float | None = None
    gpu_active_energy_j: float | None = None
    gpu_counter_updates: int | None = None
    cpu_energy_j: float | None = None
    cpu_energy_source: str | None = None
    cpu_energy_error_j: float | None = None
    cpu_idle_w: float | None = None
    cpu_active_energy_j: float | None = None
    cpu_apportioned: bool | None = None
    dram_energy_j: float | None = None
    host_cpu_energy_j: float | None = None
    host_dram_energy_j: float | None = None
    wall_energy_j: float | None = None
    wall_energy_error_j: float | None = None
    wall_parts: str | None = None
    wall_parts_energy_j: float | None = None
    wall_check: bool | None = None
    total_energy_j: float | None = None
    energy_scope: str | None = None
    modelled_energy_j: float | None = None
    active_energy_j: float | None = None
    gpu_utilization: float | None = None
    gpu_power_w: float | None = None
    gpu_power_max_w: float | None = None
    gpu_temperature_start_c: float | None = None
    gpu_temperature_end_c: float | None = None
    sm_clock_mhz: float | None = None
    sm_clock_min_mhz: float | None = None
    sm_clock_max_mhz: float | None = None
    clock_change: str | None = None
    throttle_reasons: list[str] | None = None
    foreign_processes: int | None = None
    neighbours_busy: float | None = None
    cpu_seconds: float | None = None
    grade: str | None = None
    grade_reasons: list[str] = field(default_factory=list)


def combine(
    *,
    gpu: GpuReading | None,
    gpu_uuid: str | None,
    gpu_power_source: str | None,
    gpu_counter_missing: str | None,
    gpu_idle_w: float | None,
    foreign: int | None,
    cpu: CpuReading,
    host_share: HostShare,
    wall: Energy,
    scope: str,
    device: str,
    duration_s: float,
) -> WindowReading:
    """The row of one window. The total is NULL when a part named in `scope` is unknown; the grade is the main meter's."""
    parts = {"cpu": cpu.energy, "dram": cpu.dram}
    grade, reasons = grade_cpu(cpu_evidence(cpu, host_share))
    gpu_energy = None if gpu is None else gpu.energy.energy_j
    if gpu is not None:
        parts["gpu"] = gpu.energy
        if device == "cuda":
            evidence = gpu_evidence(gpu, power_source=gpu_power_source, counter_missing=gpu_counter_missing, foreign=foreign)
            grade, reasons = grade_gpu(evidence)
    elif device == "cuda":
        grade, reasons = None, ["no board is measured on this host"]
    in_scope = {name: parts[name] for name in scope.split("+")}
    missing = {name: energy for name, energy in in_scope.items() if energy.energy_j is None}
    main = "gpu" if device == "cuda" else "cpu"
    reasons = reasons + [f"{name}: {energy.reason}" for name, energy in missing.items() if name != main]
    known_j = [energy.energy_j for energy in in_scope.values() if energy.energy_j is not None]
    modelled_j = cpu.energy.energy_j if cpu.source == "modelled" and "cpu" in in_scope else 0.0
    # A cell's part of the host's idle power is the even one of the sharing rule; the board is the cell's alone.
    dram_idle_w = None if cpu.dram_idle_w is None else cpu.dram_idle_w / host_share.workers
    idle_w = {"gpu": gpu_idle_w, "cpu": cpu.idle_w / host_share.workers, "dram": dram_idle_w}
    active_j = {name: _above_idle(energy, idle_w=idle_w[name], duration_s=duration_s) for name, energy in parts.items()}
    above_idle = [joules for name, joules in active_j.items() if name in in_scope and joules is not None]
    if "dram" in in_scope and dram_idle_w is None:
        reasons = [*reasons, "dram: its idle power is unknown, so it is shared by processor time alone and nothing is active"]
    check = WallCheck()
    if wall != NO_WALL_METER:
        check = _check(wall, cpu=cpu, gpu=gpu)
        reasons = reasons + [reason for reason in (wall.reason and f"wall: {wall.reason}", check.reason) if reason]
    return WindowReading(
        gpu_uuid=gpu_uuid,
        gpu_energy_j=gpu_energy,
        gpu_energy_source=None if gpu is None else gpu.source,
        gpu_energy_error_j=None if gpu is None else gpu.energy.error_j,
        gpu_power_energy_j=None if gpu is None else gpu.power.energy_j,
        gpu_idle_w=gpu_idle_w,
        gpu_active_energy_j=active_j.get("gpu"),
        gpu_counter_updates=None if gpu is None else gpu.energy.updates,
        cpu_energy_j=cpu.energy.energy_j,
        cpu_energy_source=cpu.source,
        cpu_energy_error_j=cpu.energy.error_j,
        cpu_idle_w=cpu.idle_w,
        cpu_active_energy_j=active_j["cpu"],
        cpu_apportioned=host_share.workers > 1,
        dram_energy_j=cpu.dram.energy_j,
        host_cpu_energy_j=cpu.host.energy_j,
        host_dram_energy_j=None if cpu.host_dram is None else cpu.host_dram.energy_j,
        wall_energy_j=wall.energy_j,
        wall_energy_error_j=wall.error_j,
        wall_parts=check.parts,
        wall_parts_energy_j=check.parts_j,
        wall_check=check.holds,
        total_energy_j=None if missing else sum(known_j),
        energy_scope=scope,
        modelled_energy_j=None if missing else modelled_j,
        active_energy_j=None if len(above_idle) < len(in_scope) else sum(above_idle),
        gpu_utilization=None if gpu is None else gpu.utilization,
        gpu_power_w=None if gpu is None else gpu.power_w,
        gpu_power_max_w=None if gpu is None else gpu.power_max_w,
        gpu_temperature_start_c=None if gpu is None else gpu.temperature_start_c,
        gpu_temperature_end_c=None if gpu is None else gpu.temperature_end_c,
        sm_clock_mhz=None if gpu is None else gpu.sm_clock_mhz,
        sm_clock_min_mhz=None if gpu is None else gpu.sm_clock_min_mhz,
        sm_clock_max_mhz=None if gpu is None else gpu.sm_clock_max_mhz,
        clock_change=None if gpu is None else gpu.clock_change,
        throttle_reasons=None if gpu is None else gpu.throttle_reasons,
        foreign_processes=foreign,
        neighbours_busy=cpu.neighbours_busy,
        cpu_seconds=cpu.cell_s,
        grade=grade,
        grade_reasons=reasons,
    )


def _check(wall: Energy, *, cpu: CpuReading, gpu: GpuReading | None) -> WallCheck:
    """The host's metered parts against the plug; everybody's processors and memory, and of the boards the one of this worker."""
    if not cpu.metered:
        return WallCheck(reason="wall check: the host's processors are not metered")
    parts = {"gpu": gpu.energy} if gpu is not None else {}
    parts["cpu"] = cpu.host
    if cpu.host_dram is not None:
        parts["dram"] = cpu.host_dram
    return check_wall(wall, parts)


def _above_idle(energy: Energy, *, idle_w: float | None, duration_s: float) -> float | None:
    """What is left of a part's energy without its idle power, J; slightly below 0 where a part did nothing."""
    return None if energy.energy_j is None or idle_w is None else energy.energy_j - idle_w * duration_s


def cpu_evidence(cpu: CpuReading, host_share: HostShare) -> CpuEvidence:
    """What the grade of a processor's reading rests on."""
    return CpuEvidence(
        energy_j=cpu.energy.energy_j,
        source=cpu.source,
        energy_reason=cpu.energy.reason,
        workers=host_share.workers,
        idle_known=cpu.idle_known,
        neighbours_busy=cpu.neighbours_busy,
        logical_cores=host_share.logical_cores,
        model=host_share.model,
        no_meter=host_share.no_meter,
    )


def gpu_evidence(gpu: GpuReading, *, power_source: str | None, counter_missing: str | None, foreign: int | None) -> GpuEvidence:
    """What the grade of a board's reading rests on."""
    return GpuEvidence(
        energy_j=gpu.energy.energy_j,
        source=gpu.source,
        energy_reason=gpu.energy.reason or counter_missing,
        power_energy_j=gpu.power.energy_j,
        power_source=power_source,
        power_reason=gpu.power.reason,
        updates=gpu.energy.updates,
        throttle_reasons=gpu.throttle_reasons,
        foreign_processes=foreign,
        temperature_start_c=gpu.temperature_start_c,
        temperature_end_c=gpu.temperature_end_c,
    )

"""What this host can measure, by what source, and how well at best."""

import math
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from greenray.doctor.advice import problems_of
from greenray.doctor.findings import GpuReport, PartReport, Problem, RaplReport, Surroundings
from greenray.gpu.nvidia import nvml
from greenray.gpu.nvidia.sensor import GpuSensor, calibrate, throttle_names
from greenray.power.activity import HostActivity
from greenray.power.grade import CpuEvidence, GpuEvidence, grade_cpu, grade_gpu
from greenray.power.host import (
    HostInfo,
    clock_limit,
    container,
    host_info,
    nvidia_boards_on_bus,
    sees_all_processes,
)
from greenray.power.rapl import Survey, powercap_root, survey


@dataclass(frozen=True, slots=True, kw_only=True)
class HostReport:
    """One host; `as_json` gives plain data.

    Attributes:
        host: what the host is.
        container: kubernetes, docker, podman, container, or None on a plain host.
        gpus: its boards, in NVML's order.
        nvml_problem: why there are none, None when NVML works.
        boards_on_bus: NVIDIA boards on the PCI bus, driver or not.
        cpu, dram, wall: what else would be measured.
        rapl: its powercap tree.
        busy_cores: processors that other processes keep busy just now, None when that is unknown.
        able: whether every board can be measured, and the processor metered or modelled.
        problems: what is wrong and how to mend it.
    """

    host: HostInfo
    container: str | None
    gpus: list[GpuReport]
    nvml_problem: str | None
    boards_on_bus: int
    cpu: PartReport
    dram: PartReport
    wall: PartReport
    rapl: RaplReport
    busy_cores: float | None
    able: bool
    problems: list[Problem]

    def as_json(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def examine(*, environ: Mapping[str, str] | None = None, busy_s: float = 0.5) -> HostReport:
    """Looks at this host; takes about two seconds with boards, `busy_s` without. Changes nothing.

    Args:
        environ: environment, for GREENRAY_POWERCAP_ROOT and to know a pod; this process's by default.
        busy_s: how long to watch what other processes do.
    """
    environ = os.environ if environ is None else environ
    host = host_info()
    root = powercap_root(environ)
    found = survey(root)
    busy_cores = _busy_cores(busy_s)
    nvml_problem = nvml.start()
    gpus = [] if nvml_problem is not None else _boards()
    silent = 0 if nvml_problem is not None else (nvml.ask("nvmlDeviceGetCount") or 0) - len(gpus)
    around = Surroundings(
        host=host,
        container=container(environ),
        sees_all_processes=sees_all_processes(),
        boards_on_bus=nvidia_boards_on_bus(),
        nvml_problem=nvml_problem,
        silent_boards=silent,
        busy_cores=busy_cores,
        clock_limit_mhz=clock_limit(),
        niceness=os.getpriority(os.PRIO_PROCESS, 0),
    )
    unmeasured = any(gpu.source is None for gpu in gpus) or silent > 0
    return HostReport(
        host=host,
        container=around.container,
        gpus=gpus,
        nvml_problem=nvml_problem,
        boards_on_bus=around.boards_on_bus,
        cpu=_cpu(found),
        dram=_dram(found),
        wall=PartReport(
            source=None, best_grade=None, reasons=["no meter is named; a sweep's config does so under host: wall_meter"]
        ),
        rapl=RaplReport(root=str(root), domains=[zone.domain for zone in found.zones], problem=found.problem),
        busy_cores=busy_cores,
        able=not unmeasured and (nvml_problem is None or around.boards_on_bus == 0),
        problems=problems_of(around, gpus=gpus, rapl=found, root=root),
    )


def _boards() -> list[GpuReport]:
    sensors = [GpuSensor(board) for board in nvml.boards()]
    calibrate(sensors)
    return [_board(sensor) for sensor in sensors]


def _board(sensor: GpuSensor) -> GpuReport:
    board = sensor.board
    _, temperature_c, _, bits = sensor.sample_slow()
    doing = None if math.isnan(bits) else throttle_names(int(bits))
    processes = board.processes()
    counter = sensor.counter_missing is None
    instant = sensor.power_source if sensor.power_source in ("gpu", "module") else None
    source = None if board.mig else "counter" if counter else "power" if sensor.power_source else None
    reason = nvml.IN_MIG_MODE if board.mig else sensor.counter_missing
    # The grade of a window in which everything goes as well as it can on this board.
    temperature = None if math.isnan(temperature_c) else temperature_c
    best, reasons = grade_gpu(
        GpuEvidence(
            energy_j=None if source is None else 1.0,
            source=source,
            energy_reason=reason,
            power_energy_j=1.0 if instant else None,
            power_source=sensor.power_source,
            updates=10**6,
            throttle_reasons=None if doing is None else (),
            foreign_processes=None if processes is None else 0,
            temperature_start_c=temperature,
            temperature_end_c=temperature,
        )
    )
    default = nvml.ask("nvmlDeviceGetPowerManagementDefaultLimit", board.handle)
    return GpuReport(
        index=board.index,
        uuid=board.uuid,
        name=board.name,
        driver_version=board.driver_version,
        power_limit_w=board.power_limit_w,
        default_power_limit_w=None if default is None else default / 1000,
        counter=counter,
        counter_missing=sensor.counter_missing,
        counter_period_s=sensor.calibration.period_s,
        counter_jitter_s=None if sensor.calibration.period_s is None else sensor.calibration.jitter_s,
        instant_power=instant,
        mig=board.mig,
        persistence=board.persistence,
        clocks_limited_by=doing,
        processes=processes,
        memory_used_bytes=board.memory_used_bytes(),
        source=source,
        best_grade=best,
        reasons=reasons,
    )


def _cpu(found: Survey) -> PartReport:
    """The processor's share of a command or cell that has a quiet host to itself, its idle power measured."""
    source = "rapl" if found.problem is None else "modelled"
    grade, reasons = grade_cpu(CpuEvidence(energy_j=1.0, source=source, neighbours_busy=0.0, no_meter=found.problem))
    return PartReport(source=source, best_grade=grade, reasons=reasons)


def _dram(found: Survey) -> PartReport:
    if found.problem is None and any(zone.part == "dram" for zone in found.zones):
        return PartReport(source="rapl", best_grade="A", reasons=[])
    why = found.problem or "RAPL has no readable DRAM zone here; AMD and most desktop processors have none"
    return PartReport(source=None, best_grade=None, reasons=[why])


def _busy_cores(busy_s: float) -> float | None:
    try:
        activity = HostActivity()
    except OSError:
        return None
    before, start_s = activity.sample()[0], time.monotonic()
    time.sleep(busy_s)
    after, end_s = activity.sample()[0], time.monotonic()
    activity.close()
    busy = (after - before) / (end_s - start_s)
    return None if math.isnan(busy) else busy

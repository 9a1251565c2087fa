"""What the GPUs of this host can tell, vendor by vendor, and how well they can be measured at best."""

import math
from dataclasses import dataclass

from greenray.gpu import registry
from greenray.gpu.base import GpuReport, Problem, VendorReport, throttle_names
from greenray.power.estimate.energy import Energy
from greenray.power.gpu_reading import GpuReading
from greenray.power.gpu_sensor import GpuSensor, calibrate
from greenray.power.grade import ENOUGH_UPDATES, grade_gpu


@dataclass(frozen=True, slots=True, kw_only=True)
class GpusFound:
    """All vendors' GPUs.

    Attributes:
        problem: why there are none, None when a driver answers.
        on_bus: how many the host has, driver or not.
        able: whether each of them can be measured.
        problems: what spoils that, and what mends it.
    """

    gpus: list[GpuReport]
    problem: str | None
    on_bus: int
    able: bool
    problems: list[Problem]


def examine_gpus(*, container: str | None, sees_all_processes: bool) -> GpusFound:
    """Looks at every GPU; takes about a second where there is one."""
    reports: dict[str, VendorReport] = {}
    vendors = registry.vendors()
    for key, vendor in vendors.items():
        problem = vendor.start()
        silent = 0 if problem is not None else vendor.silent()
        gpus = [] if problem is not None else [GpuSensor(gpu) for gpu in vendor.gpus()]
        calibrate(gpus)
        reports[key] = VendorReport(problem=problem, silent=silent, on_bus=vendor.on_bus(), gpus=[_report(one) for one in gpus])
    found = list(reports.values())
    gpus_found = [gpu for report in found for gpu in report.gpus]
    # A vendor of whom this host has nothing is no problem where another's GPUs answer.
    told = {key: report for key, report in reports.items() if report.problem is None or report.on_bus or not gpus_found}
    absent = [report.problem for report in found if report.problem is not None]
    return GpusFound(
        gpus=gpus_found,
        problem="; ".join(absent) if len(absent) == len(found) else None,
        on_bus=sum(report.on_bus for report in found),
        able=all(gpu.source is not None for gpu in gpus_found)
        and not any(report.silent or (report.problem is not None and report.on_bus) for report in found),
        problems=[
            problem
            for key, report in told.items()
            for problem in vendors[key].problems(report, container=container, sees_all_processes=sees_all_processes)
        ],
    )


def _report(sensor: GpuSensor) -> GpuReport:
    gpu, facts = sensor.gpu, sensor.facts
    _, temperature_c, _, bits = sensor.sample_slow()
    doing = None if math.isnan(bits) else throttle_names(int(bits))
    processes = gpu.processes()
    counter = facts.counter_missing is None
    instant = facts.power_source if facts.power_source in ("gpu", "module") else None
    source = "counter" if counter else "power" if facts.power_source else None
    # A window in which everything goes as well as it can on this GPU.
    temperature = None if math.isnan(temperature_c) else temperature_c
    best = GpuReading(
        energy=Energy(energy_j=None if source is None else 1.0, updates=ENOUGH_UPDATES),
        source=source,
        power=Energy(energy_j=1.0 if instant else None),
        throttle_reasons=None if doing is None else [],
        temperature_start_c=temperature,
        temperature_end_c=temperature,
        facts=facts,
    )
    grade, reasons = grade_gpu(best, foreign=None if processes is None else 0)
    if gpu.partitioned is not None:
        source, grade, reasons = None, None, [gpu.partitioned]
    return GpuReport(
        index=gpu.index,
        uuid=gpu.uuid,
        name=gpu.name,
        driver_version=gpu.driver_version,
        power_limit_w=gpu.power_limit_w,
        counter=counter,
        counter_missing=facts.counter_missing,
        counter_period_s=facts.period_s,
        counter_jitter_s=None if facts.period_s is None else facts.jitter_s,
        instant_power=instant,
        clocks_limited_by=doing,
        processes=processes,
        memory_used_bytes=gpu.memory_used_bytes(),
        source=source,
        best_grade=grade,
        reasons=reasons,
        details=gpu.details(),
    )

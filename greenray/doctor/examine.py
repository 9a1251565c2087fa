"""What this host can measure, by what source, and how well at best."""

import math
import os
import time
from dataclasses import asdict
from typing import Any

from greenray.doctor.advice import Surroundings, problems_of
from greenray.gpu import registry
from greenray.gpu.base import Gpu, Problem, VendorReport, throttle_names
from greenray.power.activity import HostActivity
from greenray.power.estimate.energy import Energy
from greenray.power.gpu_reading import GpuReading, GpuSensor, calibrate
from greenray.power.grade import ENOUGH_UPDATES, grade_gpu
from greenray.power.host import clock_limit, container, host_info, sees_all_processes
from greenray.power.rapl import Survey, powercap_root, survey
from greenray.processes.launcher import Spawn

_TORCH_S = 45.0  # less than `doctor --address` waits for a host


def examine(*, busy_s: float = 0.5) -> dict[str, Any]:
    """Looks at this host, changes nothing; takes `busy_s` (to watch other processes), with GPUs a few seconds more.

    In those each GPU's meter is watched, and a fresh process tries whether torch can use the first: where not, that is the first
    problem. `able` does not count it: a GPU that torch cannot use can be measured.

    Returns plain data for JSON: the host, its GPUs (see `_gpu`, and what only the vendor knows), each other part's
    source, best grade and why no better, `rapl`'s domains, `able` (whether every GPU can be measured, and the processor metered
    or modelled) and the problems with what mends them. `gpu_problem` says why there are no GPUs, None when a driver answers;
    `boards_on_bus` counts them driver or not; `busy_cores`, kept busy by other processes, is None where that is unknown.
    """
    root = powercap_root(os.environ)
    found = survey(root)
    around = Surroundings(
        host=host_info(),
        container=container(os.environ),
        busy_cores=_busy_cores(busy_s),
        clock_limit_mhz=clock_limit(),
        niceness=os.getpriority(os.PRIO_PROCESS, 0),
    )
    vendors = registry.vendors()
    reports: dict[str, VendorReport] = {}
    whole: list[Gpu] = []
    for key, vendor in vendors.items():
        problem = vendor.start()
        sensors = [] if problem is not None else [GpuSensor(gpu) for gpu in vendor.gpus()]
        calibrate(sensors)
        whole += [sensor.gpu for sensor in sensors if sensor.gpu.partitioned is None]
        gpu_reports = [_gpu(sensor) for sensor in sensors]
        silent = 0 if problem is not None else vendor.silent()
        reports[key] = VendorReport(problem=problem, silent=silent, on_bus=vendor.on_bus(), gpus=gpu_reports)
    gpus = [gpu for report in reports.values() for gpu in report.gpus]
    absent = [report.problem for report in reports.values() if report.problem is not None]
    missed = any(report.silent or (report.problem is not None and report.on_bus) for report in reports.values())
    of_torch = _of_torch(whole[0]) if whole else None
    problems = [] if of_torch is None else [of_torch]
    problems += [
        problem
        for key, report in reports.items()
        # A vendor of whom this host has nothing is no problem where another's GPUs answer.
        if report.problem is None or report.on_bus or not gpus
        for problem in vendors[key].problems(report, container=around.container, sees_all_processes=sees_all_processes())
    ]
    problems += problems_of(around, rapl=found, root=root)
    modelled = found.problem and f"processor energy is modelled from CPU time ({found.problem})"
    return {
        "host": asdict(around.host),
        "container": around.container,
        "gpus": gpus,
        "gpu_problem": "; ".join(absent) if len(absent) == len(reports) else None,
        "boards_on_bus": sum(report.on_bus for report in reports.values()),
        # As the share of a command or cell that has a quiet host to itself, its idle power measured.
        "cpu": _part("rapl", "A") if modelled is None else _part("modelled", "D", modelled),
        "dram": _dram(found),
        "wall": _part(None, None, "no meter is named; a sweep's config does so under host: wall_meter"),
        "rapl": {"root": str(root), "domains": [zone.domain for zone in found.zones], "problem": found.problem},
        "busy_cores": around.busy_cores,
        "able": all(gpu["source"] is not None for gpu in gpus) and not missed,
        "problems": [asdict(problem) for problem in problems],
    }


def _of_torch(gpu: Gpu) -> Problem | None:
    """Why torch cannot use a GPU, if so; asked as a worker asks before its first cell."""
    from greenray.cell.preload import CELL_TARGET
    from greenray.cell.protocol import Failed, Probe
    from greenray.worker.probe import probe, reason_of

    with Spawn(target=CELL_TARGET) as launcher:
        answer = probe(launcher, Probe(device="cuda"), gpu=gpu, deadline_s=_TORCH_S)
    if (reason := reason_of(answer)) is None:
        return None
    return gpu.unusable(reason, built_for=answer.versions.get("cuda") if isinstance(answer, Failed) else None)


def _part(source: str | None, best_grade: str | None, *reasons: str) -> dict[str, Any]:
    return {"source": source, "best_grade": best_grade, "reasons": list(reasons)}


def _dram(found: Survey) -> dict[str, Any]:
    if found.problem is None and any(zone.part == "dram" for zone in found.zones):
        return _part("rapl", "A")
    return _part(None, None, found.problem or "RAPL has no readable DRAM zone here; AMD and most desktop processors have none")


def _busy_cores(busy_s: float) -> float | None:
    try:
        activity = HostActivity()
    except OSError:
        return None
    before, start_s = activity.sample_slow()[0], time.monotonic()
    time.sleep(busy_s)
    after, end_s = activity.sample_slow()[0], time.monotonic()
    activity.close()
    busy = (after - before) / (end_s - start_s)
    return None if math.isnan(busy) else busy


def _gpu(sensor: GpuSensor) -> dict[str, Any]:
    """One GPU; None is what is not told.

    counter_missing says why there is no energy counter; its period and jitter were measured, None when it did not move;
    instant_power is the scope of it, gpu or module; clocks_limited_by are names of `THROTTLE_REASONS` just now; processes are
    pids of the driver's namespace; source is what its energy would come from, counter, power or nothing.
    """
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
    return {
        **{name: getattr(gpu, name) for name in ("index", "uuid", "name", "driver_version", "power_limit_w")},
        "counter": counter,
        "counter_missing": facts.counter_missing,
        "counter_period_s": facts.period_s,
        "counter_jitter_s": None if facts.period_s is None else facts.jitter_s,
        "instant_power": instant,
        "clocks_limited_by": doing,
        "processes": processes,
        "memory_used_bytes": gpu.memory_used_bytes(),
        "source": source,
        "best_grade": grade,
        "reasons": reasons,
        **gpu.details(),
    }

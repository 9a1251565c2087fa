"""What this host can measure, by what source, and how well at best."""

import math
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from greenray.doctor.advice import problems_of
from greenray.doctor.findings import PartReport, RaplReport, Surroundings
from greenray.doctor.gpus import examine_gpus
from greenray.gpu.base import GpuReport, Problem
from greenray.power.activity import HostActivity
from greenray.power.host import HostInfo, clock_limit, container, host_info, sees_all_processes
from greenray.power.rapl import Survey, powercap_root, survey


@dataclass(frozen=True, slots=True, kw_only=True)
class HostReport:
    """One host; `as_json` gives plain data.

    Attributes:
        host: what the host is.
        container: kubernetes, docker, podman, container, or None on a plain host.
        gpus: its GPUs, each vendor's in his driver's order.
        gpu_problem: why there are none, None when a driver answers.
        boards_on_bus: GPUs that the host has, driver or not.
        cpu, dram, wall: what else would be measured.
        rapl: its powercap tree.
        busy_cores: processors that other processes keep busy just now, None when that is unknown.
        able: whether every GPU can be measured, and the processor metered or modelled.
        problems: what is wrong and how to mend it.
    """

    host: HostInfo
    container: str | None
    gpus: list[GpuReport]
    gpu_problem: str | None
    boards_on_bus: int
    cpu: PartReport
    dram: PartReport
    wall: PartReport
    rapl: RaplReport
    busy_cores: float | None
    able: bool
    problems: list[Problem]

    def as_json(self) -> dict[str, Any]:
        """Plain data for JSON; what only its vendor knows of a GPU stands beside the rest."""
        plain = asdict(self)
        plain["gpus"] = [gpu | gpu.pop("details") for gpu in plain["gpus"]]
        return plain


def examine(*, environ: Mapping[str, str] | None = None, busy_s: float = 0.5) -> HostReport:
    """Looks at this host; takes about two seconds with GPUs, `busy_s` without. Changes nothing.

    Args:
        environ: environment, for GREENRAY_POWERCAP_ROOT and to know a pod; this process's by default.
        busy_s: how long to watch what other processes do.
    """
    environ = os.environ if environ is None else environ
    host = host_info()
    root = powercap_root(environ)
    found = survey(root)
    around = Surroundings(
        host=host,
        container=container(environ),
        busy_cores=_busy_cores(busy_s),
        clock_limit_mhz=clock_limit(),
        niceness=os.getpriority(os.PRIO_PROCESS, 0),
    )
    gpus = examine_gpus(container=around.container, sees_all_processes=sees_all_processes())
    return HostReport(
        host=host,
        container=around.container,
        gpus=gpus.gpus,
        gpu_problem=gpus.problem,
        boards_on_bus=gpus.on_bus,
        cpu=_cpu(found),
        dram=_dram(found),
        wall=PartReport(
            source=None, best_grade=None, reasons=["no meter is named; a sweep's config does so under host: wall_meter"]
        ),
        rapl=RaplReport(root=str(root), domains=[zone.domain for zone in found.zones], problem=found.problem),
        busy_cores=around.busy_cores,
        able=gpus.able,
        problems=[*gpus.problems, *problems_of(around, rapl=found, root=root)],
    )


def _cpu(found: Survey) -> PartReport:
    """The processor's share of a command or cell that has a quiet host to itself, its idle power measured."""
    if found.problem is None:
        return PartReport(source="rapl", best_grade="A", reasons=[])
    return PartReport(
        source="modelled", best_grade="D", reasons=[f"processor energy is modelled from CPU time ({found.problem})"]
    )


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

"""What this host can measure, how well, and what would improve it."""

import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from greenray.power import nvml
from greenray.power.activity import HostActivity
from greenray.power.board import BoardSensor, calibrate
from greenray.power.host import HostInfo, host_info
from greenray.power.rapl import Survey, powercap_root, survey

_BUSY_CORES = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something that spoils or prevents measurements, and how to mend it; one sentence each."""

    what: str
    mend: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuReport:
    """One board: `source` is what its energy would come from (counter, power, None), `best_grade` the best that allows."""

    index: int
    uuid: str
    name: str
    driver_version: str
    power_limit_w: float | None
    counter: bool
    counter_period_s: float | None
    instant_power: str | None
    mig: bool
    persistence: bool | None
    processes: list[int] | None
    memory_used_bytes: int | None
    source: str | None
    best_grade: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RaplReport:
    """The powercap tree: domains that will be read, and why the processor cannot be measured by it, if so."""

    root: str
    domains: list[str]
    problem: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HostReport:
    """One host; `as_json` gives plain data.

    Attributes:
        host: what the host is.
        gpus: its boards, in NVML's order.
        nvml_problem: why there are none, None when NVML works.
        rapl: its powercap tree.
        cpu_source: what processor energy would come from: rapl or modelled.
        busy_cores: processors that other processes keep busy just now, None when that is unknown.
        problems: what is wrong and how to mend it.
    """

    host: HostInfo
    gpus: list[GpuReport]
    nvml_problem: str | None
    rapl: RaplReport
    cpu_source: str
    busy_cores: float | None
    problems: list[Problem]

    def as_json(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def examine(*, environ: Mapping[str, str] | None = None, busy_s: float = 0.5) -> HostReport:
    """Looks at this host; takes about two seconds with boards, `busy_s` without. Changes nothing.

    Args:
        environ: environment, for GREENRAY_POWERCAP_ROOT; this process's by default.
        busy_s: how long to watch what other processes do.
    """
    environ = os.environ if environ is None else environ
    host = host_info()
    root = powercap_root(environ)
    found = survey(root)
    busy_cores = _busy_cores(busy_s)
    nvml_problem = nvml.start()
    gpus = [] if nvml_problem is not None else _examine_boards()
    return HostReport(
        host=host,
        gpus=gpus,
        nvml_problem=nvml_problem,
        rapl=RaplReport(root=str(root), domains=[zone.domain for zone in found.zones], problem=found.problem),
        cpu_source="modelled" if found.problem is not None else "rapl",
        busy_cores=busy_cores,
        problems=[
            *_gpu_problems(gpus, nvml_problem),
            *_rapl_problems(found, root, virtual_machine=bool(host.virtual_machine)),
            *_host_problems(host, busy_cores),
        ],
    )


def _examine_boards() -> list[GpuReport]:
    boards = nvml.boards()
    sensors = [BoardSensor(board) for board in boards]
    calibrate(sensors)
    return [_examine_board(sensor) for sensor in sensors]


def _examine_board(sensor: BoardSensor) -> GpuReport:
    board = sensor.board
    counter = sensor.counter_missing is None
    instant = sensor.power_source if sensor.power_source in ("gpu", "module") else None
    source = None if board.mig else "counter" if counter else "power" if sensor.power_source else None
    best = None if source is None else "C" if source == "power" else "A" if instant == "gpu" else "B"
    return GpuReport(
        index=board.index,
        uuid=board.uuid,
        name=board.name,
        driver_version=board.driver_version,
        power_limit_w=board.power_limit_w,
        counter=counter,
        counter_period_s=sensor.calibration.period_s,
        instant_power=instant,
        mig=board.mig,
        persistence=board.persistence,
        processes=board.processes(),
        memory_used_bytes=board.memory_used_bytes(),
        source=source,
        best_grade=best,
    )


def _gpu_problems(gpus: list[GpuReport], nvml_problem: str | None) -> list[Problem]:
    if nvml_problem is not None:
        return [
            Problem(
                what=f"No GPU can be measured: {nvml_problem}.",
                mend="With an NVIDIA board install its driver; in a container add `utility` to NVIDIA_DRIVER_CAPABILITIES.",
            )
        ]
    found: list[Problem] = []
    for gpu in gpus:
        name = f"Board {gpu.index} ({gpu.name}, {gpu.uuid})"
        if gpu.mig:
            found.append(
                Problem(
                    what=f"{name} is in MIG mode: energy is known per board only, so it is refused.",
                    mend=f"Turn MIG off: nvidia-smi -i {gpu.index} -mig 0.",
                )
            )
        elif not gpu.counter:
            found.append(
                Problem(
                    what=f"{name} has no readable energy counter: energy is the integral of power, grade C at best.",
                    mend="Boards from Volta on have one; update the driver, and check that the container may read it.",
                )
            )
        elif gpu.counter_period_s is None:
            found.append(
                Problem(
                    what=f"{name} has an energy counter that did not move while it was watched.",
                    mend="Reset the board (nvidia-smi --gpu-reset) or restart the host.",
                )
            )
        elif gpu.instant_power is None:
            found.append(
                Problem(
                    what=f"{name} does not tell its instant power, so its counter cannot be checked: grade B at best.",
                    mend="Update the driver to 530 or later.",
                )
            )
        if gpu.persistence is False:
            found.append(
                Problem(
                    what=f"{name} has persistence mode off: its driver may unload between cells, which resets the counter.",
                    mend=f"Turn it on: nvidia-smi -i {gpu.index} -pm 1.",
                )
            )
        if gpu.processes:
            found.append(
                Problem(
                    what=f"{name} is used by other processes ({', '.join(map(str, gpu.processes))}): it counts as yours.",
                    mend="End them, or leave the board out with CUDA_VISIBLE_DEVICES.",
                )
            )
    return found


def _rapl_problems(found: Survey, root: Path, *, virtual_machine: bool) -> list[Problem]:
    if found.problem is None:
        return []
    mend = "Load the kernel module intel_rapl_msr (AMD too); in a container mount the tree and set GREENRAY_POWERCAP_ROOT."
    if "permission" in found.problem:
        mend = f"Allow reading: sudo chmod -R a+r {root}/*/energy_uj, or run as root."
    elif virtual_machine:
        mend = "A virtual machine seldom has RAPL: measure on the bare host, or take the modelled figures as estimates."
    return [Problem(what=f"{found.problem}: processor energy is modelled from CPU time (grade D).", mend=mend)]


def _host_problems(host: HostInfo, busy_cores: float | None) -> list[Problem]:
    found = []
    if host.on_battery:
        found.append(
            Problem(what="The host runs on battery: clocks and power limits are not the usual ones.", mend="Plug it in.")
        )
    if host.virtual_machine:
        found.append(
            Problem(
                what="The host is a virtual machine: neighbours on the same hardware can change time and energy unseen.",
                mend="Prefer a bare host or a dedicated instance, and trust pairs of measurements more than single ones.",
            )
        )
    if busy_cores is not None and busy_cores > max(_BUSY_CORES, 0.05 * host.logical_cores):
        found.append(
            Problem(
                what=f"Other processes keep {busy_cores:.1f} of {host.logical_cores} processors busy.",
                mend="End them before measuring; their part of the processor's energy can only be estimated.",
            )
        )
    return found


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
    return busy if busy == busy else None

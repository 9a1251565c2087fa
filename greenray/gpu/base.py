"""What a GPU is to GreenRay, and what a vendor must tell of his: the seam behind which drivers and their libraries lie.

To add a vendor: a folder beside `greenray/gpu/nvidia` with a module that has the members of `Vendor`, and one line in `VENDORS`
of `greenray.gpu.registry`. Importing the module must fail nowhere: whether there is a driver, `start` says.
"""

import abc
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from greenray.errors import MeasurementError

THROTTLE_REASONS = {
    0x01: "gpu_idle",
    0x02: "applications_clocks_setting",
    0x04: "sw_power_cap",
    0x08: "hw_slowdown",
    0x10: "sync_boost",
    0x20: "sw_thermal_slowdown",
    0x40: "hw_thermal_slowdown",
    0x80: "hw_power_brake_slowdown",
    0x100: "display_clock_setting",
}
"""What holds the clocks back, by bit (NVIDIA's; other vendors translate theirs) and by its name in the `windows` table."""

SLOWDOWNS = {
    "hw_slowdown": "by its hardware",
    "hw_power_brake_slowdown": "by the power brake of its host",
    "hw_thermal_slowdown": "too hot for its hardware",
    "sw_thermal_slowdown": "too hot for its driver",
}
"""Those that cost a grade, in words; the others are the normal state of a board, or somebody's choice."""


EMPTY_BYTES = 64 << 20
"""Memory that processes may seem to hold on an empty GPU: a few MB on data centre boards, while a CUDA context takes hundreds."""


def throttle_names(bits: int) -> list[str]:
    """The reasons in a bit mask, by name."""
    return [name for bit, name in THROTTLE_REASONS.items() if bits & bit]


class Meter(Protocol):
    """Energy and power of one GPU, read many times a second by one thread; nothing here raises.

    Attributes:
        counter_missing: why there is no energy counter, None when there is one.
        power_source: gpu or module (instant power, of the board or of the whole module), average (over 1 s), None where power is
            not told.
        lost: whether the GPU fell silent before it could be read.
        fault: why the last `sample` failed, None when it did not; a lasting fault is one and the same object.
    """

    counter_missing: str | None
    power_source: str | None
    lost: bool
    fault: str | None

    def sample(self) -> tuple[float, float]:
        """Energy counter in J and power in W; NaN where it is not told."""

    def sample_slow(self) -> tuple[float, float, float, float]:
        """Utilisation 0-1, temperature in C, clock in MHz and a bit mask of `THROTTLE_REASONS`; NaN where it is not told."""

    def close(self) -> None:
        """Gives back what the meter holds; it is not read again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu(abc.ABC):
    """One GPU of this host.

    Attributes:
        vendor: the vendor's key in `VENDORS`.
        index: as the vendor's own tools number it.
        power_limit_w: what is enforced, None where that is not told.
        partitioned: why its energy cannot be told apart (it is cut into instances), in a sentence; None when it is whole.
    """

    vendor: str
    index: int
    uuid: str
    name: str
    driver_version: str = ""
    power_limit_w: float | None = None
    partitioned: str | None = None

    @abc.abstractmethod
    def meter(self) -> Meter:
        """Opens its energy counter and its power."""

    @abc.abstractmethod
    def answers(self) -> bool:
        """Whether it is still there."""

    @abc.abstractmethod
    def lost(self) -> MeasurementError:
        """What to raise when it is not."""

    @abc.abstractmethod
    def memory_used_bytes(self) -> int | None:
        """Memory in use by everybody; None where that is not told."""

    @abc.abstractmethod
    def memory_held_bytes(self) -> int | None:
        """Memory that processes hold: what is in use without what the driver reserves. None where that is not told."""

    @abc.abstractmethod
    def cpu_affinity(self) -> list[int] | None:
        """Numbers of the host's processors that are close to it (its NUMA node's); None where that is not told."""

    @abc.abstractmethod
    def processes(self) -> list[int] | None:
        """Pids (of the driver's own namespace) that use it; None where that is not told."""

    @abc.abstractmethod
    def power_w(self) -> float | None:
        """Power, perhaps averaged over a second: for people who watch, not for energies."""

    @abc.abstractmethod
    def temperature_c(self) -> float | None:
        """Temperature of the chip in C."""

    @abc.abstractmethod
    def is_same(self, uuid: str) -> bool:
        """Whether a UUID, as a cell's own library gives it, is of this GPU."""

    @abc.abstractmethod
    def unusable(self, why: str, *, built_for: str | None) -> "Problem":
        """What to tell of it, and how to mend it, where torch cannot use it.

        `why` is torch's own sentence; `built_for` is the version of CUDA, or of what the vendor has in its place, for which this
        torch was built, None if without.
        """

    @abc.abstractmethod
    def details(self) -> dict[str, object]:
        """What else the vendor's advice rests on, as plain data for `doctor --json`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something that spoils or prevents measurements of a part (`GPU 0`, GPU, CPU or host): what, and how to mend it.

    `what` and `mend` are a sentence each; `commands` are to be run, mounted or set, and copied as they are.
    """

    part: str
    what: str
    mend: str
    commands: Sequence[str] = ()

    @property
    def sentence(self) -> str:
        """All of it in one line."""
        return " ".join([self.what, f"{self.mend.rstrip('.')}: {'; '.join(self.commands)}" if self.commands else self.mend])


@dataclass(frozen=True, slots=True, kw_only=True)
class VendorReport:
    """What `doctor` found out about one vendor's GPUs: why none can be used, how many do not answer, how many the bus has.

    `gpus` are as `doctor --json` shows them, see `greenray.doctor.examine`; `Gpu.details` is among it.
    """

    problem: str | None = None
    silent: int = 0
    on_bus: int = 0
    gpus: Sequence[Mapping[str, Any]] = ()


class Vendor(Protocol):
    """A vendor; a module may be one.

    Attributes:
        VISIBLE: the variable by which users choose among his GPUs.
        PRELOAD_ENVIRONMENT: of a process that will be forked, from before its first import, so that no module touches a GPU.
        DEVICE_PREFIX: how the names of his device files begin.
    """

    VISIBLE: str
    PRELOAD_ENVIRONMENT: Mapping[str, str | None]
    DEVICE_PREFIX: str

    def start(self) -> str | None:
        """Opens the driver's library; returns None, or why there is none (a sentence)."""

    def gpus(self) -> list[Gpu]:
        """Every GPU that answers, once `start` has been called."""

    def silent(self) -> int:
        """How many GPUs the driver knows that do not answer."""

    def on_bus(self) -> int:
        """How many GPUs the host has, driver or not."""

    def resolve(self, accelerator: str, available: Sequence[Gpu]) -> Gpu | None:
        """The GPU that an accelerator id (index, full or shortened UUID) means, None if none of them.

        Raises `MeasurementError` if it means one that cannot be measured, or more than one.
        """

    def visible(self, environ: Mapping[str, str], available: Sequence[Gpu]) -> list[Gpu]:
        """The GPUs that a process with this environment would use; `MeasurementError` if it chooses what cannot be measured."""

    def environment_for(self, uuid: str | None) -> dict[str, str]:
        """Variables that make one GPU visible to a process, or none of the vendor's."""

    def problems(self, found: VendorReport, *, container: str | None, sees_all_processes: bool) -> Iterable[Problem]:
        """What spoils or prevents measurements of his GPUs; the keywords as `greenray.power.host` tells them."""


def foreign_processes(
    *,
    pids: Collection[int] | None,
    ours: Collection[int],
    uses_gpu: bool,
    held_bytes: int | None,
    sees_all: bool,
    exists: Callable[[int], bool] = lambda pid: Path(f"/proc/{pid}").exists(),
) -> int | None:
    """How many other processes are on the GPU, as far as that can be seen; None when it cannot be told.

    On a host a driver lists everybody by pid. In a container with pids of its own, what NVIDIA's lists depends on its version:
    old ones list everybody by pids of the host, which mean nothing here (NVIDIA/nvidia-docker#1483); newer ones translate, and
    leave out whoever has no pid here (`_gpuConvertPid` in open-gpu-kernel-modules), so that the cell stands there as if it were
    alone. Neither shows a neighbour, but the memory that he holds does: it is read before the cell has a context. Who comes later
    is found before the next cell.

    Args:
        pids: what the driver lists; None when it does not tell.
        ours: pids of the cell's process tree and of the worker.
        uses_gpu: whether the cell holds a context on the GPU.
        held_bytes: its memory that was held just before the cell started, see `Gpu.memory_held_bytes`.
        sees_all: whether pids here are the host's, see `greenray.power.host.sees_all_processes`.
        exists: whether a pid is known here.
    """
    others = [pid for pid in pids or () if pid not in ours]
    count, complete = len(others), sees_all and pids is not None
    if uses_gpu and others and len(others) == len(pids or ()):
        # The cell must be one of them, by a number that means nothing here; else the list is not to be understood.
        if sees_all or any(exists(pid) for pid in others):
            return None
        count, complete = count - 1, True
    elif uses_gpu and not pids:
        complete = False  # a list that hides the cell may hide others
    if count or complete:
        return count
    return None if held_bytes is None else int(held_bytes > EMPTY_BYTES)

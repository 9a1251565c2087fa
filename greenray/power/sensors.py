"""What a sensor is, and the registry that names all of them.

To add one: a file with a class that has the members of `Sampler` (or of `Follower`, for what is slow or has its own clock) and
a function `open_sensors(setup)`, and one line in `SENSORS`. The first sensor of part `wall` fills `wall_energy_j`; every sensor's
readings reach the trace table.
"""

import logging
import math
import pkgutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from greenray.config.settings import CpuModel, WallMeter
from greenray.gpu.base import Gpu
from greenray.power.trace import Series

logger = logging.getLogger(__name__)

# name -> "module:function"; the function takes a Setup and returns the sensors that exist on this host, possibly none.
SENSORS: dict[str, str] = {
    "gpu": "greenray.power.gpu_reading:open_sensors",
    "rapl": "greenray.power.rapl:open_sensors",
    "activity": "greenray.power.activity:open_sensors",
    "wall": "greenray.power.wall.meter:open_sensors",
}


class Sampler(Protocol):
    """Something that can be read many times a second; a subclass inherits what is said here of a sensor without slow readings.

    A sampler whose first column is a counter that moves seldom may have a method `renewal(sampled_s=...)`, see
    `greenray.power.renewal`; the recorder then reads it some more when it is about to move.

    `sample` and `sample_slow` return one float for each name in `fast` and `slow` (columns of the trace table; those that it does
    not have are kept in memory only), NaN where a reading failed; they never raise.

    Attributes:
        name: the sensor's name in the trace table.
        part: what it measures: gpu, cpu, dram, wall, platform or activity.
        range_j: where `counter_j` wraps; NaN when it does not.
    """

    name: str
    part: str
    fast: tuple[str, ...]
    slow: tuple[str, ...] = ()
    range_j: float = math.nan

    @property
    def fault(self) -> str | None:
        """Why the last reading failed, in a sentence; None when it did not."""

    def sample(self) -> Sequence[float]: ...

    def sample_slow(self) -> Sequence[float]:
        return ()

    def close(self) -> None:
        """Gives back what the sensor holds; it is not read again."""


@runtime_checkable
class Follower(Protocol):
    """Something slow that is read in a thread of its own, from its opening to `close`, and brings its own times."""

    name: str
    part: str

    def series(self, *, start_s: float, end_s: float) -> Series:
        """Its readings of an interval and those next to it, in the order of their times (CLOCK_MONOTONIC)."""

    def wait_past(self, at_s: float) -> bool:
        """Waits, within bounds, for a reading after a moment; whether there is one."""

    def close(self) -> None:
        """Ends the thread; what was read stays."""


Sensor = Sampler | Follower


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What sensors may want to know when they are opened; `cpu_model` is the assumed power of a processor without a meter."""

    gpus: Sequence[Gpu] = ()
    hz: float = 50.0
    cpu_model: CpuModel = field(default_factory=CpuModel)
    powercap_root: Path = Path("/sys/class/powercap")
    wall_meter: WallMeter | None = None


def open_sensors(setup: Setup) -> list[Sensor]:
    """Opens every sensor of the registry that this host has."""
    opened: list[Sensor] = []
    for name, target in SENSORS.items():
        found = pkgutil.resolve_name(target)(setup)
        logger.debug("sensor %s: %s", name, [sensor.name for sensor in found])
        opened += found
    return opened

"""Processor and memory energy from the kernel's powercap tree (Intel and AMD RAPL).

Zones nest: `package` contains core and uncore, `psys` contains the packages, `dram` stands beside the package on servers. Only
packages and dram are added up, psys is recorded beside them, all else is left out.
"""

import logging
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from greenray.power.host import text_of
from greenray.power.sensors import Sampler, Setup

logger = logging.getLogger(__name__)

ROOT_VARIABLE = "GREENRAY_POWERCAP_ROOT"
_DEPTH = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    """One energy zone: `domain` is the trace's name for it, `part` is cpu, dram or platform."""

    domain: str
    part: str
    path: Path
    range_j: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What the tree holds: `problem` says why the host's processor cannot be measured by RAPL, None when it can."""

    zones: tuple[Zone, ...] = ()
    problem: str | None = None


def powercap_root(environ: Mapping[str, str]) -> Path:
    """Root of the powercap tree; GREENRAY_POWERCAP_ROOT overrides the kernel's, for containers."""
    return Path(environ.get(ROOT_VARIABLE) or "/sys/class/powercap")


def survey(root: Path) -> Survey:
    """Finds the zones to read under `root`. Packages are used all or none: half of a host is no host."""
    found = [zone for folder in _folders(root) if (zone := _zone(folder)) is not None]
    zones: dict[str, Zone] = {}
    for zone in found:
        # The same package often appears twice, by register and by memory-mapped I/O (intel-rapl-mmio).
        if zone.domain not in zones and _number(zone.path / "energy_uj") is not None:
            zones[zone.domain] = zone
    refused = [zone for zone in found if zone.domain not in zones]
    unreadable = {zone.part for zone in refused}
    kept = tuple(zone for zone in zones.values() if zone.part not in unreadable)
    problem = None
    if "cpu" in unreadable:
        denied = sorted({zone.path.name for zone in refused if zone.part in ("cpu", "dram")})
        problem = f"RAPL cannot be read: no permission for {', '.join(denied)}"
    elif not any(zone.part == "cpu" for zone in kept):
        problem = f"no RAPL package under {root}"
    return Survey(zones=kept, problem=problem)


class RaplSensor(Sampler):
    """Reads one zone."""

    fast = ("counter_j",)
    fault: str | None = None

    def __init__(self, zone: Zone) -> None:
        self.name, self.part, self.range_j = f"rapl:{zone.domain}", zone.part, zone.range_j
        self._lost = f"RAPL zone {zone.domain} cannot be read any more"
        self._file = (zone.path / "energy_uj").open("rb", buffering=0)

    def sample(self) -> tuple[float]:
        try:
            value, self.fault = int(os.pread(self._file.fileno(), 32, 0)) * 1e-6, None
        except (OSError, ValueError):
            value, self.fault = math.nan, self._lost
        return (value,)

    def close(self) -> None:
        self._file.close()


def open_sensors(setup: Setup) -> list[RaplSensor]:
    """A sensor for each zone that can be read."""
    found = survey(setup.powercap_root)
    if found.problem is not None:
        logger.info("%s; processor energy is modelled", found.problem)
    return open_zones(found.zones)


def open_zones(zones: Sequence[Zone]) -> list[RaplSensor]:
    """Sensors of the zones that a survey found; none of a part that has lost one since, for what is left is not the host's."""
    sensors: list[RaplSensor] = []
    vanished: set[str] = set()
    for zone in zones:
        try:
            sensors.append(RaplSensor(zone))
        except OSError as error:
            logger.warning("%s: %s", zone.domain, error)
            vanished.add(zone.part)
    for sensor in sensors:
        if sensor.part in vanished:
            sensor.close()
    return [sensor for sensor in sensors if sensor.part not in vanished]


def _folders(root: Path, depth: int = 0) -> Iterator[Path]:
    """Zone folders, parents before children; zones of the register interface before those of intel-rapl-mmio."""
    try:
        entries = sorted(root.iterdir(), key=lambda entry: ("mmio" in entry.name, entry.name))
    except OSError:
        return
    for entry in entries:
        # In /sys/class/powercap zones are links; inside a zone links (device, subsystem) lead back up.
        if (depth and entry.is_symlink()) or "rapl" not in entry.name or not entry.is_dir():
            continue
        yield entry
        if depth < _DEPTH:
            yield from _folders(entry, depth + 1)


def _zone(folder: Path) -> Zone | None:
    name = text_of(folder / "name")
    if not (folder / "energy_uj").exists():
        return None
    if name.startswith("package"):
        part, domain = "cpu", name
    elif name.startswith("psys"):
        part, domain = "platform", name
    elif name == "dram":
        # Every package has its own: named by the package's zone, `dram-0` of intel-rapl:0:2.
        numbers = folder.name.split(":")
        part, domain = "dram", f"dram-{numbers[1]}" if len(numbers) > 2 else "dram"
    else:
        return None
    range_uj = _number(folder / "max_energy_range_uj")
    return Zone(domain=domain, part=part, path=folder, range_j=math.nan if range_uj is None else range_uj * 1e-6)


def _number(path: Path) -> int | None:
    text = text_of(path)
    return int(text) if text.isdigit() else None

"""What the host is: processors, memory, and what stands in the way of measuring it."""

import os
import platform
import socket
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True, slots=True, kw_only=True)
class HostInfo:
    """One host. `virtual_machine` and `on_battery` are None where that cannot be told."""

    hostname: str
    cpu_name: str
    logical_cores: int
    physical_cores: int
    memory_bytes: int
    boot_id: str
    virtual_machine: bool | None
    on_battery: bool | None


def host_info() -> HostInfo:
    """Looks at this host."""
    logical = os.cpu_count() or 1
    return HostInfo(
        hostname=socket.gethostname(),
        cpu_name=_cpu_field("model name") or platform.processor() or platform.machine(),
        logical_cores=logical,
        physical_cores=psutil.cpu_count(logical=False) or logical,
        memory_bytes=psutil.virtual_memory().total,
        boot_id=_line(Path("/proc/sys/kernel/random/boot_id")),
        virtual_machine=_virtual_machine(),
        on_battery=_on_battery(),
    )


def _virtual_machine() -> bool | None:
    flags = _cpu_field("flags")
    return None if flags is None else "hypervisor" in flags.split()


def _on_battery() -> bool | None:
    try:
        battery = psutil.sensors_battery()
    except (OSError, NotImplementedError, AttributeError):
        return None
    return False if battery is None else not battery.power_plugged


def _cpu_field(name: str) -> str | None:
    try:
        with Path("/proc/cpuinfo").open() as file:
            for line in file:
                key, _, value = line.partition(":")
                if key.strip() == name:
                    return value.strip()
    except OSError:
        pass
    return None


def _line(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""

"""What the host is: processors, memory, and what stands in the way of measuring it."""

import math
import os
import platform
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

_CGROUP = Path("/sys/fs/cgroup")
_QUOTAS = (("cpu.max", None), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"))  # cgroup version 2 or 1


@dataclass(frozen=True, slots=True, kw_only=True)
class HostInfo:
    """One host, or the container in which this process sees it.

    Attributes:
        logical_cores, physical_cores: the machine's.
        usable_cores: physical cores that this process may use: fewer in a container with a processor set or quota.
        memory_bytes: see `memory_bytes`; as it was when this was asked.
        boot_id: tells machines apart; every container of one machine has the same.
        virtual_machine, on_battery: None where that cannot be told.
    """

    hostname: str
    cpu_name: str
    logical_cores: int
    physical_cores: int
    usable_cores: int
    memory_bytes: int
    boot_id: str
    virtual_machine: bool | None
    on_battery: bool | None


def host_info() -> HostInfo:
    """Looks at this host."""
    logical = os.cpu_count() or 1
    physical = psutil.cpu_count(logical=False) or logical
    flags = _cpu_field("flags")
    return HostInfo(
        hostname=socket.gethostname(),
        cpu_name=_cpu_field("model name") or platform.processor() or platform.machine(),
        logical_cores=logical,
        physical_cores=physical,
        usable_cores=_usable_cores(physical, logical=logical),
        memory_bytes=memory_bytes(),
        boot_id=text_of(Path("/proc/sys/kernel/random/boot_id")),
        virtual_machine=None if flags is None else "hypervisor" in flags.split(),
        on_battery=_on_battery(),
    )


def memory_bytes(*, cgroup: Path = _CGROUP) -> int:
    """Memory of this host, or the container's limit where that is less, just now: virtual machines and pods grow."""
    limits = (text_of(cgroup / name) for name in ("memory.max", "memory/memory.limit_in_bytes"))  # version 2 or 1
    return min([psutil.virtual_memory().total, *(int(limit) for limit in limits if limit.isdigit())])


def allotted_cores(*, cgroup: Path = _CGROUP) -> float:
    """Logical processors that this process may use, all at once: those of its set, or the quota of its container if less."""
    return min(len(os.sched_getaffinity(0)), _quota(cgroup))


def container(environ: Mapping[str, str], *, root: Path = Path("/")) -> str | None:
    """Where this process is shut in: kubernetes, docker, podman, container (of another kind), or None on a plain host."""
    groups = text_of(root / "proc/1/cgroup")
    signs = (
        ("kubernetes", "KUBERNETES_SERVICE_HOST" in environ),
        ("docker", (root / ".dockerenv").exists()),
        ("podman", (root / "run/.containerenv").exists()),
        ("kubernetes", "kubepods" in groups),
        ("docker", "docker" in groups),
        ("container", "lxc" in groups or "containerd" in groups or (root / "run/systemd/container").exists()),
    )
    return next((name for name, found in signs if found), None)


def sees_all_processes(*, root: Path = Path("/")) -> bool:
    """Whether pids here are those of the machine, as drivers tell them: the kernel's first pid namespace has a fixed number."""
    try:
        return str((root / "proc/self/ns/pid").readlink()) == "pid:[4026531836]"
    except OSError:
        return False


def clock_limit(*, root: Path = Path("/")) -> tuple[float, float] | None:
    """(allowed, possible) clock of the processors in MHz where somebody allows less than is possible; None where not."""
    folder = root / "sys/devices/system/cpu/cpu0/cpufreq"
    allowed, possible = text_of(folder / "scaling_max_freq"), text_of(folder / "cpuinfo_max_freq")
    if allowed.isdigit() and possible.isdigit() and int(allowed) < 0.99 * int(possible):
        return int(allowed) / 1000, int(possible) / 1000
    return None


def _usable_cores(physical: int, *, logical: int) -> int:
    allowed = max(1, round(len(os.sched_getaffinity(0)) * physical / logical))
    quota = _quota(_CGROUP)
    if math.isfinite(quota):
        allowed = min(allowed, int(quota))
    return max(1, min(physical, allowed))


def _quota(cgroup: Path) -> float:
    """Processor seconds a second that the container may use; infinity without such a limit."""
    for limit, period in _QUOTAS:  # "150000 100000": microseconds a period, or "max 100000"; version 1 has a file each, and -1
        words = [*text_of(cgroup / limit).split(), *(text_of(cgroup / period).split() if period else ())]
        if len(words) == 2 and all(word.isdigit() for word in words) and int(words[1]):
            return int(words[0]) / int(words[1])
    return math.inf


def _on_battery() -> bool | None:
    try:
        battery = psutil.sensors_battery()
    except OSError:  # a container need not show the host's power supplies
        return None
    if battery is None:
        return False
    return None if battery.power_plugged is None else not battery.power_plugged  # one that neither charges nor empties


def _cpu_field(name: str) -> str | None:
    found = re.search(rf"^{name}\s*:(.*)$", text_of(Path("/proc/cpuinfo")), re.MULTILINE)
    return None if found is None else found[1].strip()


def text_of(path: Path) -> str:
    """A small file's text without the blanks around it; empty where it cannot be read."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""

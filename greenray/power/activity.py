"""Who used the processors: the whole host, and the process tree of a cell.

The host's figure comes from /proc/stat (10 ms steps; every processor is charged by its timer tick). /proc/schedstat would count
in nanoseconds, but it is brought up to date only when a processor changes tasks, so a thread that has one to itself can go
missing for a second. A process tree is read from the kernel's process clocks, nanoseconds without such a lag.
"""

import contextlib
import math
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import IO

import psutil

from greenray.power.sensors import Sampler, Setup
from greenray.processes.tree import tree_of

HOST_STEP_S = 1 / os.sysconf("SC_CLK_TCK")
"""Resolution of the host's processor time."""


class HostActivity(Sampler):
    """Everybody on the host since boot, in seconds: processor time used, stolen by the hypervisor, and spent with a task waiting.

    The last is the kernel's pressure stall information ("some"). What the kernel does not tell is NaN, without a fault. All of it
    is read slowly: for /proc/stat the kernel goes through every processor and interrupt there is, milliseconds on a large host.
    """

    name, part, fast = "cpu:host", "activity", ()
    slow = ("cpu_seconds", "steal_seconds", "pressure_seconds")
    fault: str | None = None

    def __init__(self, *, proc: Path = Path("/proc")) -> None:
        self._file = (proc / "stat").open("rb", buffering=0)  # until `close`
        self._pressure: IO[bytes] | None = None
        with contextlib.suppress(OSError):  # older kernels, and those that are told not to look
            self._pressure = (proc / "pressure/cpu").open("rb", buffering=0)

    def sample(self) -> tuple[()]:
        return ()

    def sample_slow(self) -> tuple[float, float, float]:
        try:
            line = os.pread(self._file.fileno(), 256, 0).split(b"\n", 1)[0].split()
            # user nice system idle iowait irq softirq steal: guests are inside user and nice, steal is not ours.
            busy = int(line[1]) + int(line[2]) + int(line[3]) + int(line[6]) + int(line[7])
            stolen_s = int(line[8]) * HOST_STEP_S if len(line) > 8 else math.nan
        except (OSError, ValueError, IndexError):
            self.fault = "/proc/stat cannot be read"
            return (math.nan, math.nan, math.nan)
        return (busy * HOST_STEP_S, stolen_s, self._waited_s())

    def close(self) -> None:
        self._file.close()
        if self._pressure is not None:
            self._pressure.close()

    def _waited_s(self) -> float:
        if self._pressure is None:
            return math.nan
        try:
            # some avg10=0.00 avg60=0.00 avg300=0.00 total=<microseconds>
            return int(os.pread(self._pressure.fileno(), 128, 0).split(b"total=", 1)[1].split(None, 1)[0]) * 1e-6
        except (OSError, ValueError, IndexError):
            return math.nan


class TreeActivity(Sampler):
    """Processor seconds of one process and its descendants, those that ended included.

    The tree is walked at the slow rate, the clocks of its processes are read at the fast one. A descendant that was seen once is
    kept when its parent dies. What ended unseen counts when its parent waits for it.
    """

    name, part, fast, slow = "cpu:cell", "activity", ("cpu_seconds",), ("processes",)
    fault = None

    def __init__(self) -> None:
        self._root: int | None = None
        self._processes: dict[int, psutil.Process] = {}
        self._ended_s = 0.0
        self._highest_s = 0.0

    def follow(self, pid: int) -> None:
        """Names the process; before that the sensor reads NaN."""
        self._root = pid
        self._walk()

    def pids(self) -> frozenset[int]:
        """Every process seen in the tree that was alive at the last look."""
        return frozenset(self._processes)

    def sample(self) -> tuple[float]:
        if self._root is None:
            return (math.nan,)
        total_s, gone = self._running_s()
        if gone:
            self._walk()
            total_s, _ = self._running_s()
        # A child's last moments move to its parent in 10 ms steps: never let that look like time running backwards.
        self._highest_s = max(self._highest_s, total_s + self._ended_s)
        return (self._highest_s,)

    def sample_slow(self) -> tuple[float]:
        if self._root is not None:
            self._walk()
        return (float(len(self._processes)),)

    def close(self) -> None:
        self._root = None

    def _running_s(self) -> tuple[float, bool]:
        total_s, gone = 0.0, False
        for pid in self._processes:
            try:
                total_s += _used_s(pid)
            except OSError:
                gone = True
        return total_s, gone

    def _walk(self) -> None:
        assert self._root is not None
        # A pid that was given to another process since is not ours.
        known = {pid: process for pid, process in self._processes.items() if process.is_running()}
        roots = known if self._processes else [self._root]
        found: dict[int, psutil.Process] = {}
        ended_s = 0.0
        for pid in tree_of(*roots):
            with contextlib.suppress(psutil.Error):
                process = known.get(pid) or psutil.Process(pid)
                ended_s += _waited_for_s(process)
                found[pid] = process
        self._processes, self._ended_s = found, ended_s  # at once: `follow` is called beside the sampling thread


def tree_seconds(roots: Iterable[int]) -> dict[int, float]:
    """Processor seconds of processes and their living descendants, each with those children that it waited for."""
    found: dict[int, float] = {}
    for pid in tree_of(*roots):
        with contextlib.suppress(psutil.Error, OSError):
            found[pid] = _waited_for_s(psutil.Process(pid)) + _used_s(pid)
    return found


def _used_s(pid: int) -> float:
    """Processor seconds of a process by the kernel's clock of it (clock_getcpuclockid): all its threads, alive or ended."""
    return time.clock_gettime((~pid << 3) | 2)


def _waited_for_s(process: psutil.Process) -> float:
    """Processor seconds of the children that a process has waited for; in 10 ms steps."""
    times = process.cpu_times()
    return float(times.children_user + times.children_system)


def open_sensors(setup: Setup) -> list[HostActivity]:
    """The host's activity; none where the kernel hides it."""
    try:
        return [HostActivity()]
    except OSError:
        return []

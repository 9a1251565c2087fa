"""Who used the processors: the whole host, and the process tree of a cell.

The host's figure comes from /proc/stat (10 ms steps; every processor is charged by its timer tick). /proc/schedstat would count
in nanoseconds, but it is brought up to date only when a processor changes tasks, so a thread that has one to itself can go
missing for a second. A process tree is read from the kernel's process clocks, nanoseconds without such a lag.
"""

import contextlib
import math
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from greenray.power.sensors import Setup

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
HOST_STEP_S = _TICK_S
"""Resolution of the host's processor time."""


class HostActivity:
    """Processor seconds of everybody on the host since boot; see `Sensor`. `read` replaces /proc/stat, for hosts that hide it."""

    name = "cpu:host"
    part = "activity"
    fast = ("cpu_seconds",)
    slow = ()
    range_j = math.nan

    def __init__(self, read: Callable[[], float] | None = None) -> None:
        self.fault: str | None = None
        self._read = read
        self._fd = os.open("/proc/stat", os.O_RDONLY | os.O_CLOEXEC) if read is None else -1

    def sample(self) -> tuple[float]:
        if self._read is not None:
            return (self._read(),)
        try:
            line = os.pread(self._fd, 256, 0).split(b"\n", 1)[0].split()
            # user nice system idle iowait irq softirq steal: guests are inside user and nice, steal is not ours.
            busy = int(line[1]) + int(line[2]) + int(line[3]) + int(line[6]) + int(line[7])
        except (OSError, ValueError, IndexError):
            self.fault = "/proc/stat cannot be read"
            return (math.nan,)
        return (busy * _TICK_S,)

    def sample_slow(self) -> tuple[()]:
        return ()

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class TreeActivity:
    """Processor seconds of one process and its descendants, those that ended included; see `Sensor`.

    The tree is walked at the slow rate, the clocks of its processes are read at the fast one. A descendant that was seen once is
    kept when its parent dies. What ended unseen counts when its parent waits for it.
    """

    name = "cpu:cell"
    part = "activity"
    fast = ("cpu_seconds",)
    slow: tuple[str, ...] = ("processes",)
    range_j = math.nan

    def __init__(self) -> None:
        self.fault: str | None = None
        self._root: int | None = None
        self._clocks: dict[int, int] = {}
        self._born: dict[int, int] = {}
        self._ended_s = 0.0
        self._highest_s = 0.0

    def follow(self, pid: int) -> None:
        """Names the process; before that the sensor reads NaN."""
        self._root = pid
        self._walk()

    def pids(self) -> frozenset[int]:
        """Every process seen in the tree that was alive at the last look."""
        return frozenset(self._clocks)

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
        return (float(len(self._clocks)),)

    def close(self) -> None:
        self._root = None

    def _running_s(self) -> tuple[float, bool]:
        total_s, gone = 0.0, False
        for clock in self._clocks.values():
            try:
                total_s += time.clock_gettime(clock)
            except OSError:
                gone = True
        return total_s, gone

    def _walk(self) -> None:
        assert self._root is not None
        clocks: dict[int, int] = {}
        born: dict[int, int] = {}
        ended_s = 0.0
        stack = [self._root, *self._born]
        while stack:
            pid = stack.pop()
            if pid in clocks:
                continue
            status = _status(pid)
            # A pid that was given to another process since is not ours.
            if status is None or self._born.get(pid, status[0]) != status[0]:
                continue
            born[pid] = status[0]
            clocks[pid] = _clock_of(pid)
            ended_s += status[1]
            stack += children(pid)
        self._clocks, self._born, self._ended_s = clocks, born, ended_s


def children(pid: int) -> list[int]:
    """Direct children of a process, of all its threads; empty when it is gone."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 - a tenth of the cost of Path.iterdir
            with contextlib.suppress(OSError), Path(f"/proc/{pid}/task/{thread}/children").open("rb") as file:
                found += [int(child) for child in file.read().split()]
    return found


def parent_of(pid: int) -> int | None:
    """The parent of a process; None when it is gone."""
    fields = _stat(pid)
    return None if fields is None else int(fields[1])


def tree_seconds(roots: Iterable[int]) -> dict[int, float]:
    """Processor seconds of processes and their living descendants, each with those children that it waited for."""
    found: dict[int, float] = {}
    stack = list(roots)
    while stack:
        pid = stack.pop()
        status = _status(pid)
        if status is None or pid in found:
            continue
        with contextlib.suppress(OSError):
            found[pid] = status[1] + time.clock_gettime(_clock_of(pid))
            stack += children(pid)
    return found


def _clock_of(pid: int) -> int:
    """The kernel's id of another process's clock (clock_getcpuclockid): all its threads, alive or ended."""
    return (~pid << 3) | 2


def _stat(pid: int) -> list[bytes] | None:
    """Fields of a process from its state on; None when it is gone."""
    try:
        with Path(f"/proc/{pid}/stat").open("rb") as file:
            return file.read().rpartition(b")")[2].split()
    except OSError:
        return None


def _status(pid: int) -> tuple[int, float] | None:
    """When a process was born (ticks) and what the children that it waited for had used (seconds); None when it is gone."""
    fields = _stat(pid)
    return None if fields is None else (int(fields[19]), (int(fields[13]) + int(fields[14])) * _TICK_S)


def open_sensors(setup: Setup) -> list[HostActivity]:
    """The host's activity; none where the kernel hides it."""
    try:
        return [HostActivity(setup.cpu_seconds)]
    except OSError:
        return []

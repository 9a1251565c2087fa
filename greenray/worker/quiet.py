"""Before a cell: is the host quiet? If not, wait for that, within bounds, and tell who is busy.

Nobody looks while all is well: only before a worker's first cell, and after one in whose windows others took enough of the
processors to matter. A wait that runs out halves the next one, so a host that is never quiet costs a second a cell in the end.
"""

import contextlib
import math
import os
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

import psutil

from greenray.power.activity import HostActivity, tree_seconds
from greenray.power.contention import contention
from greenray.processes.tree import ancestors, tree_of

LOOK_S = 0.5
SHORTEST_S = 1.0
_NAMED_CPUS, _NAMED = 0.05, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The host at one moment, all in seconds of processor time since some beginning.

    Attributes:
        at_s: CLOCK_MONOTONIC.
        host_s: everybody's; `stolen_s` is what the hypervisor gave to others. NaN where the kernel does not tell.
        own_s: GreenRay's processes together.
        others: every other process that can be seen: by pid its name and its time.
    """

    at_s: float
    host_s: float
    stolen_s: float
    own_s: float
    others: Mapping[int, tuple[str, float]]


class Source(Protocol):
    """Whatever tells about the host."""

    def sample(self) -> Sample: ...

    def close(self) -> None: ...


class HostSource:
    """This host, by /proc. `own` are roots of the process trees that are GreenRay's."""

    def __init__(self, *, own: Collection[int]) -> None:
        self._own = own
        self._activity: HostActivity | None = None
        with contextlib.suppress(OSError):
            self._activity = HostActivity()

    def sample(self) -> Sample:
        host_s, stolen_s, _ = self._activity.sample_slow() if self._activity else (math.nan,) * 3
        own = set(tree_of(*self._own))
        others: dict[int, tuple[str, float]] = {}
        for process in psutil.process_iter(["name", "cpu_times"]):
            if process.pid not in own and (times := process.info["cpu_times"]) is not None:
                others[process.pid] = process.info["name"] or "a process", times.user + times.system
        return Sample(
            at_s=time.monotonic(),
            host_s=host_s,
            stolen_s=stolen_s,
            own_s=sum(tree_seconds(self._own).values()),
            others=others,
        )

    def close(self) -> None:
        if self._activity is not None:
            self._activity.close()


class QuietHost:
    """Waits for a quiet host before a cell, `longest_s` seconds at most (0: never).

    `waiting` says who is busy while it does, else None; it may be read from any thread.
    """

    def __init__(
        self, source: Source, *, longest_s: float, logical_cores: int, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._source = source
        self._logical_cores = logical_cores
        self._sleep = sleep
        self._doubtful = True
        self._longest_s = self._patience_s = longest_s
        self.waiting: str | None = None

    def wait(self) -> float:
        """To be called before a cell that has the host to itself: returns at once where there is no doubt, else when the host
        is quiet or time is up. Returns the seconds that it took."""
        if not self._doubtful or not self._longest_s:
            return 0.0
        begin = before = self._source.sample()
        try:
            while True:
                self._sleep(LOOK_S)
                now = self._source.sample()
                busy = self._busy(before, now)
                if busy is None:
                    self._doubtful = False
                    self._patience_s = self._longest_s
                    return now.at_s - begin.at_s
                if now.at_s - begin.at_s >= self._patience_s:
                    self._patience_s = max(self._patience_s / 2, min(SHORTEST_S, self._longest_s))
                    return now.at_s - begin.at_s
                self.waiting, before = busy, now
        finally:
            self.waiting = None

    def ended(self, *, contended: bool) -> None:
        """A cell has ended; whether others took enough of the processors to matter in its windows."""
        self._doubtful = contended

    def close(self) -> None:
        self._source.close()

    def _busy(self, before: Sample, now: Sample) -> str | None:
        """Who was busy between two samples, in a clause; None when nobody was to a degree that matters."""
        seconds = now.at_s - before.at_s
        # Of a process that has just ended its parent may not know yet: its time never counts backwards.
        used = now.host_s - before.host_s - max(0.0, now.own_s - before.own_s)
        stolen = now.stolen_s - before.stolen_s
        neighbours = None if math.isnan(used) else max(0.0, used) / seconds
        found = contention(
            neighbours_busy=neighbours,
            steal=None if math.isnan(stolen) else stolen / seconds,
            cpu_pressure=None,
            logical_cores=self._logical_cores,
            workers_sharing=1,
            own_busy=None,
        )
        if found is None or not neighbours or "neighbours" not in found:
            return found
        return self._named(before, now) or f"somebody outside this container or process table keeps {neighbours:.2f} CPUs busy"

    def _named(self, before: Sample, now: Sample) -> str | None:
        seconds = now.at_s - before.at_s
        rates = [
            ((used_s - before.others[pid][1]) / seconds, name, pid)
            for pid, (name, used_s) in now.others.items()
            if pid in before.others
        ]
        busiest = sorted((rate for rate in rates if rate[0] >= _NAMED_CPUS), reverse=True)[:_NAMED]
        return " and ".join(f"{name} (pid {pid}) keeps {cpus:.2f} CPUs busy" for cpus, name, pid in busiest) or None


def own_roots() -> list[int]:
    """Roots of the process trees that are GreenRay's, seen from a worker: its own, else that of the driver that started Ray."""
    line = [os.getpid(), *ancestors(os.getpid())]
    names = {pid: _name_of(pid) for pid in line}
    raylet = next((pid for pid in line if names[pid] == "raylet"), None)
    if raylet is None:
        return line[:1]
    # `ray.init` in a driver starts the raylet as its child; one that `ray start` left behind belongs to whoever adopts orphans.
    above = line[line.index(raylet) + 1 :][:1]
    # In a container the first process may be a Python too, and everything is below it.
    return [pid for pid in above if pid != 1 and names[pid].startswith(("python", "greenray"))] or [raylet]


def _name_of(pid: int) -> str:
    with contextlib.suppress(psutil.Error):
        return psutil.Process(pid).name()
    return ""

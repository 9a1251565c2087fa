"""Ends a cell that runs past its deadline or takes more memory than it may have, whatever its supervisor is doing."""

import contextlib
import threading
import time
from dataclasses import dataclass
from typing import Literal

import psutil

from greenray.processes.launcher import CellProcess
from greenray.processes.tree import tree_of

_PERIOD_S = 0.02
_TREE_PERIOD_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """Why the watchdog ended the cell."""

    kind: Literal["deadline", "memory"]
    sentence: str


class MemoryMeter:
    """Memory that a process and its descendants took since the meter was made.

    Counted is what no file backs (resident minus shared), so mapped weights and libraries are free, and only what came on top
    of the start: a forked process begins with pages that it shares with its server. A child that is forked later begins with
    its parent's pages in the same way; at most that much of it is not counted.
    """

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)
        self._tree = [self._root]
        self._least = {self._root: _private_bytes(self._root) or 0}

    def walk(self) -> None:
        """Look who belongs to the tree. Costs more than reading it, so done less often."""
        root_bytes = _private_bytes(self._root) or 0
        known = {process.pid: process for process in self._tree}
        self._tree = [self._root]
        for pid in tree_of(self._root.pid)[1:]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process = known.get(pid) or psutil.Process(pid)
                self._least.setdefault(process, min(root_bytes, _private_bytes(process) or 0))
                self._tree.append(process)

    def read(self) -> int:
        """Bytes taken since the start."""
        total = 0
        for process in self._tree:
            now = _private_bytes(process)
            if now is not None:
                self._least[process] = min(self._least[process], now)  # a child that called exec let go of its parent's pages
                total += now - self._least[process]
        return total


def _private_bytes(process: psutil.Process) -> int | None:
    """Resident memory that no file backs, or None when the process is gone. Takes about 10 us."""
    with contextlib.suppress(psutil.Error):
        memory = process.memory_info()
        return int(memory.rss - memory.shared)
    return None


class Watchdog:
    """A thread that looks at the cell 50 times a second and kills it when it must, until `stop`.

    Attributes:
        killed: why it ended the cell; None if it did not.
        peak_bytes: the most memory that the cell's tree took on top of its start, as far as the looks show.
    """

    def __init__(self, process: CellProcess, *, deadline_s: float, memory_limit_bytes: int | None) -> None:
        self.killed: Kill | None = None
        self.peak_bytes = 0
        self._process = process
        self._deadline_s = deadline_s
        self._limit_bytes = memory_limit_bytes
        self._stopped = threading.Event()
        self._meter = MemoryMeter(process.pid)
        self._thread = threading.Thread(target=self._watch, name="greenray-watchdog", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _watch(self) -> None:
        start = time.monotonic()
        next_walk = start
        while self.killed is None and not self._stopped.wait(_PERIOD_S):
            now = time.monotonic()
            if now >= next_walk:
                self._meter.walk()
                next_walk = now + _TREE_PERIOD_S
            self.peak_bytes = max(self.peak_bytes, self._meter.read())
            self.killed = self._verdict(elapsed_s=now - start)
        if self.killed is not None:
            self._process.kill()

    def _verdict(self, *, elapsed_s: float) -> Kill | None:
        if self._limit_bytes is not None and self.peak_bytes > self._limit_bytes:
            taken, limit = f"{self.peak_bytes / 2**20:.0f} MiB", f"{self._limit_bytes / 2**20:.0f} MiB"
            return Kill(kind="memory", sentence=f"the cell took {taken} of memory, more than its limit of {limit}")
        if elapsed_s > self._deadline_s:
            return Kill(kind="deadline", sentence=f"the cell did not end within {self._deadline_s:g} s")
        return None

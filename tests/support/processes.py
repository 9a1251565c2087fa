"""Processes as a test sees them: what they start with, which there are, and whether they end."""

import os
import select
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import psutil

from greenray.processes.forkserver import Preload
from tests.support import ROOT

LIGHT = Preload(modules=("greenray.cell.protocol", "tests.processes.sample_cells"))
FOLDER = ROOT / "tests" / "processes"

Answer = TypeVar("Answer")


def wait_until(condition: Callable[[], Answer], *, timeout_s: float, what: str) -> Answer:
    """Poll an outside process; the answer of the condition once it is true."""
    deadline = time.monotonic() + timeout_s
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"{what} did not happen within {timeout_s} s"
        time.sleep(0.02)
    return answer


def wait_until_dead(pid: int, *, timeout_s: float) -> bool:
    """Whether the process, no matter whose child it is, ends in time."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([pidfd], [], [], max(0.0, timeout_s))[0])
    finally:
        os.close(pidfd)


def all_dead(pids: Iterable[int], *, timeout_s: float) -> bool:
    """Whether all of them end in time."""
    deadline = time.monotonic() + timeout_s
    return all(wait_until_dead(pid, timeout_s=deadline - time.monotonic()) for pid in pids)


def of_sweep(out: Path) -> dict[int, str]:
    """Names of the living processes that this test's sweep started, by pid: those with OUT in their environment or arguments."""
    found = {}
    needle = os.fsencode(str(out))
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            folder = Path(f"/proc/{process.pid}")  # in bytes, whatever Ray's titles made of them; those of a zombie are empty
            if process.pid != os.getpid() and needle in (folder / "environ").read_bytes() + (folder / "cmdline").read_bytes():
                found[process.pid] = process.name()
    return found


def left_of_sweep(out: Path, *names: str, timeout_s: float) -> dict[int, str]:
    """What `of_sweep` still finds, of names that begin so (default: all), once it has had time to end; nothing, as a rule."""
    deadline = time.monotonic() + timeout_s
    while left := {pid: name for pid, name in of_sweep(out).items() if name.startswith(names or "")}:
        if not all_dead(left, timeout_s=deadline - time.monotonic()):
            break
    return left

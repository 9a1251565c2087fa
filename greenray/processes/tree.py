"""Processes of a host: who descends from whom, who bears our mark, and how to end them all.

Four things hold a cell's processes together, each closing a hole that the others leave:

    parent-death signal   the kernel kills a process whose parent is gone (`die_with_parent`), but not its grandchildren
    process group         one signal reaches everything that stayed in the cell's session, but not what left it
    tree                  finds children that opened a session of their own, but not those whose parent has died
    mark                  an environment variable inherited by everything; `/proc/PID/environ` shows it whoever the parent is
"""

import contextlib
import ctypes
import logging
import os
import signal
import time
import uuid
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import psutil

from greenray.processes.awake import AwakeClock

logger = logging.getLogger(__name__)

MARK = "GREENRAY_MARK"
"""Environment variable that every process of a launcher bears; see `new_mark` for its value."""

_LONGEST_LOOK_S = 0.1

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36
_PR_GET_CHILD_SUBREAPER = 37


def _prctl(option: int, value: Any) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    argument = ctypes.c_ulong(value) if isinstance(value, int) else value
    if libc.prctl(ctypes.c_int(option), argument, ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0)) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def die_with_parent(expected_parent_pid: int) -> None:
    """Have the kernel kill this process when its parent ends; ends it at once if the parent is gone already.

    The signal belongs to the thread that calls, and fires when the *thread* that created this process ends: call it from
    the main thread, and create such processes from a thread that stays. An `exec` of a set-user-id program clears it.
    """
    _prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != expected_parent_pid:  # it ended before, and can no longer send the signal
        os.kill(os.getpid(), signal.SIGKILL)


def adopt_orphans(wanted: bool = True) -> bool:
    """Make this process the parent of descendants whose own parent ends, so that they stay in its tree; returns if it was."""
    was = ctypes.c_int(0)
    _prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(was))
    _prctl(_PR_SET_CHILD_SUBREAPER, int(wanted))
    return bool(was.value)


def set_name(name: str) -> None:
    """Name this process in `ps` and `top`; the kernel keeps 15 bytes."""
    _prctl(_PR_SET_NAME, ctypes.c_char_p(name.encode()[:15]))


def restore_scheduling(*, oom_score: int) -> None:
    """Undo what a parent meant for itself: niceness, blocked signals, score of the kernel's out-of-memory killer (-1000 to 1000).

    Raising one's priority or lowering the score needs privileges; without them both stay as they are.
    """
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, 0)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(oom_score))
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def open_files() -> dict[int, str]:
    """This process's open descriptors and what they lead to."""
    found = {}
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # of the listing itself, which is closed again
            found[int(entry.name)] = str(entry.readlink())
    return found


def is_alive(pid: int) -> bool:
    """Whether the process runs or could run again; a zombie is dead."""
    with contextlib.suppress(psutil.Error):
        return psutil.Process(pid).status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    return False


def ancestors(pid: int) -> list[int]:
    """The process's parent, its parent, and so on up to the first; empty when it is gone."""
    with contextlib.suppress(psutil.Error):
        return [process.pid for process in psutil.Process(pid).parents()]
    return []


def children(pid: int, *, of_main_thread: bool = False) -> list[int]:
    """Children of the process's threads, or of its main thread; empty when it is gone."""
    found: list[int] = []
    with contextlib.suppress(OSError):  # the process has ended
        for thread in [str(pid)] if of_main_thread else os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 - names are enough
            with contextlib.suppress(OSError):  # the thread has
                found += map(int, Path(f"/proc/{pid}/task/{thread}/children").read_bytes().split())
    return found


def tree_of(*roots: int) -> list[int]:
    """Processes and all their descendants, each once, parents before children."""
    # The recorder and the watchdog ask five times a second. psutil would look at every process of the host for it: 43 ms where
    # there are 2,000, against 0.05 ms. It answers on kernels that are built without the list of children.
    listed = Path(f"/proc/self/task/{os.getpid()}/children").exists()
    found: dict[int, None] = {}
    waiting = list(reversed(roots))
    while waiting:
        pid = waiting.pop()
        if pid not in found:
            found[pid] = None
            if listed:
                waiting += children(pid)
            else:
                found.update(dict.fromkeys(_under_by_psutil(pid)))
    return list(found)


def _under_by_psutil(pid: int) -> list[int]:
    with contextlib.suppress(psutil.Error):
        return [process.pid for process in psutil.Process(pid).children(recursive=True)]
    return []


def start_ticks(pid: int) -> int | None:
    """When the process was started, in clock ticks since boot; with its pid it names the process. None when there is none.

    psutil's `create_time` adds the time of the boot, which moves with the clock: two processes may be told different ones.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    return int(text.rpartition(b")")[2].split()[19])  # the name before it may hold spaces and parentheses


def new_mark() -> str:
    """A mark that no other launcher has, and from which others can tell whether its owner still lives."""
    return f"{uuid.uuid4().hex}:{_pid_namespace()}:{os.getpid()}:{start_ticks(os.getpid())}"


def mark_of(pid: int) -> str | None:
    """The mark that the process was started with, or None; other users' processes have none that we can see.

    /proc shows the environment of the last `exec`: a process that sets the variable for itself does not bear the mark,
    a process that is forked without `exec` bears that of its parent. A zombie has none.
    """
    # All of /proc is read this way whenever a cell ends: 25 us a process, against 75 us by psutil.Process.environ.
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return None
    _, found, rest = (b"\0" + environment).partition(b"\0" + MARK.encode() + b"=")
    return rest.partition(b"\0")[0].decode(errors="replace") if found else None


def marked(mark: str) -> list[int]:
    """Every living process that bears the mark."""
    return [pid for pid in psutil.pids() if mark_of(pid) == mark]


def kill_marked(mark: str, *, spare: Collection[int] = (), timeout_s: float = 2.0) -> int:
    """Kill every process that bears the mark, except this one, its ancestors and `spare`; returns how many were killed.

    Looks again until none is found, for a process may have forked while it was being killed.
    """
    return _kill_until_none(lambda: marked(mark), spare=spare, timeout_s=timeout_s)


def kill_stale() -> int:
    """Kill what bears the mark of an owner that is gone; returns how many were killed.

    Marks of another PID namespace are left alone: their owners cannot be seen from here.
    """

    return _kill_until_none(lambda: [pid for pid in psutil.pids() if (mark := mark_of(pid)) and _owner_is_gone(mark)])


def kill_group(pid: int) -> None:
    """SIGKILL to the process and to the group that it leads, as far as they exist."""
    for kill in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            kill(pid, signal.SIGKILL)


def _kill_until_none(find: Callable[[], list[int]], *, spare: Collection[int] = (), timeout_s: float = 2.0) -> int:
    safe = {os.getpid(), *ancestors(os.getpid()), *spare}
    killed: set[int] = set()
    empty_looks = 0
    clock = AwakeClock(longest_turn_s=_LONGEST_LOOK_S)
    deadline = clock() + timeout_s
    while empty_looks < 2:  # one can miss a process that its parent forked, and left, during the look
        found = [pid for pid in find() if pid not in safe]
        empty_looks = 0 if found else empty_looks + 1
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        killed.update(found)
        if found and clock() > deadline:
            logger.warning("processes %s were sent SIGKILL and still live after %g s", found, timeout_s)
            break
        time.sleep(0.001 if found else 0.0)
    return len(killed)


def _owner_is_gone(mark: str) -> bool:
    try:
        _, namespace, pid, ticks = mark.split(":")
        owner, started = int(pid), int(ticks)
    except ValueError:
        return False
    return namespace == _pid_namespace() and not (is_alive(owner) and start_ticks(owner) == started)


def _pid_namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").stat().st_ino)
    except OSError:  # a kernel that is built without namespaces
        return "0"

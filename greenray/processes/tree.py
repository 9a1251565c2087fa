"""Processes of a host as /proc shows them: who descends from whom, who bears our mark, and how to end them all.

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
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

logger = logging.getLogger(__name__)

MARK = "GREENRAY_MARK"
"""Environment variable that every process of a launcher bears; see `new_mark` for its value."""

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def _prctl(option: int, value: int | bytes) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    argument = ctypes.c_char_p(value) if isinstance(value, bytes) else ctypes.c_ulong(value)
    if libc.prctl(ctypes.c_int(option), argument, ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0)) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def die_with_parent(expected_parent_pid: int) -> None:
    """Have the kernel kill this process when its parent ends; ends it at once if the parent is gone already.

    The signal belongs to the thread that calls, and fires when the *thread* that created this process ends: call it from
    the main thread, and create such processes from a thread that stays. An `exec` of a set-user-id program clears it.

    Args:
        expected_parent_pid: who created this process. A parent that ended before this call can no longer send the signal,
            but it shows in `os.getppid()`.
    """
    _prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != expected_parent_pid:
        os.kill(os.getpid(), signal.SIGKILL)


def adopt_orphans() -> None:
    """Make this process the parent of descendants whose own parent ends, so that they stay in its tree."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def set_name(name: str) -> None:
    """Name this process in `ps` and `top`; the kernel keeps 15 bytes."""
    _prctl(_PR_SET_NAME, name.encode()[:15])


def restore_scheduling(*, oom_score: int) -> None:
    """Undo what a parent meant for itself: niceness, score of the kernel's out-of-memory killer, blocked signals.

    Raising one's priority or lowering the score needs privileges; without them both stay as they are.

    Args:
        oom_score: -1000 to 1000; the process with the highest score is killed first.
    """
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, 0)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(oom_score))
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


@dataclass(frozen=True, slots=True, kw_only=True)
class Stat:
    """What `/proc/PID/stat` says; `start_ticks` (since boot) tells two processes with the same pid apart."""

    pid: int
    parent: int
    group: int
    state: str
    start_ticks: int


def stat_of(pid: int) -> Stat | None:
    """The process's line of /proc, or None when there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (OSError, UnicodeDecodeError):
        return None
    fields = text[text.rindex(")") + 2 :].split()  # the name before it may hold spaces and parentheses
    return Stat(pid=pid, state=fields[0], parent=int(fields[1]), group=int(fields[2]), start_ticks=int(fields[19]))


def is_alive(pid: int) -> bool:
    """Whether the process runs or could run again; a zombie is dead."""
    stat = stat_of(pid)
    return stat is not None and stat.state not in "ZX"


def all_pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def ancestors(pid: int) -> list[int]:
    """The process's parent, its parent, and so on up to the first."""
    found: list[int] = []
    stat = stat_of(pid)
    while stat is not None and stat.parent > 0:
        found.append(stat.parent)
        stat = stat_of(stat.parent)
    return found


def children(pid: int) -> list[int]:
    """Children of all of the process's threads."""
    found: list[int] = []
    try:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # the thread has ended
                found += map(int, (thread / "children").read_text().split())
    except OSError:  # the process has
        return found
    return found


def descendants(pid: int) -> Iterator[int]:
    """The tree under a process, parents before children, without the process itself."""
    # Some kernels are built without the list of children; then every process of the host is asked for its parent.
    find = children if Path(f"/proc/self/task/{os.getpid()}/children").exists() else _children_by_parent()
    waiting = find(pid)
    seen = {pid}
    while waiting:
        child = waiting.pop()
        if child not in seen:
            seen.add(child)
            yield child
            waiting += find(child)


def _children_by_parent() -> Callable[[int], list[int]]:
    by_parent: dict[int, list[int]] = {}
    for pid in all_pids():
        stat = stat_of(pid)
        if stat is not None:
            by_parent.setdefault(stat.parent, []).append(pid)
    return lambda pid: list(by_parent.get(pid, ()))


def private_bytes(pid: int) -> int | None:
    """Resident memory that no file backs (resident minus shared of statm), or None when the process is gone."""
    try:
        _, resident, shared, *_ = Path(f"/proc/{pid}/statm").read_text().split()
    except (OSError, ValueError):
        return None
    return (int(resident) - int(shared)) * _PAGE_BYTES


def new_mark() -> str:
    """A mark that no other launcher has, and from which others can tell whether its owner still lives."""
    me = stat_of(os.getpid())
    return f"{uuid.uuid4().hex}:{_pid_namespace()}:{os.getpid()}:{me.start_ticks if me else 0}"


def mark_of(pid: int) -> str | None:
    """The mark that the process was started with, or None; other users' processes have none that we can see.

    /proc shows the environment of the last `exec`: a process that sets the variable for itself does not bear the mark,
    a process that is forked without `exec` bears that of its parent.
    """
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return None
    prefix = MARK.encode() + b"="
    for entry in environment.split(b"\0"):
        if entry.startswith(prefix):
            return entry[len(prefix) :].decode(errors="replace")
    return None


def marked(mark: str) -> list[int]:
    """Every living process that bears the mark."""
    return [pid for pid in all_pids() if mark_of(pid) == mark and is_alive(pid)]


def kill_marked(mark: str, *, spare: Collection[int] = (), timeout_s: float = 2.0) -> int:
    """Kill every process that bears the mark, except this one, its ancestors and `spare`; returns how many were killed.

    Looks again until none is found, for a process may have forked while it was being killed.
    """
    return _kill_until_none(lambda: marked(mark), spare=spare, timeout_s=timeout_s)


def kill_stale(*, timeout_s: float = 2.0) -> int:
    """Kill what bears the mark of an owner that is gone; returns how many were killed.

    Marks of another PID namespace are left alone: their owners cannot be seen from here.
    """

    def stale() -> list[int]:
        return [pid for pid in all_pids() if (mark := mark_of(pid)) and _owner_is_gone(mark) and is_alive(pid)]

    return _kill_until_none(stale, spare=(), timeout_s=timeout_s)


def kill_group(pid: int) -> None:
    """SIGKILL to the process and to the group that it leads, as far as they exist."""
    for kill in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            kill(pid, signal.SIGKILL)


def _kill_until_none(find: Callable[[], list[int]], *, spare: Collection[int], timeout_s: float) -> int:
    safe = {os.getpid(), *ancestors(os.getpid()), *spare}
    killed: set[int] = set()
    empty_looks = 0
    deadline = time.monotonic() + timeout_s
    while empty_looks < 2:  # one can miss a process that its parent forked, and left, during the look
        found = [pid for pid in find() if pid not in safe]
        empty_looks = 0 if found else empty_looks + 1
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        killed.update(found)
        if found and time.monotonic() > deadline:
            logger.warning("processes %s were sent SIGKILL and still live after %g s", found, timeout_s)
            break
        time.sleep(0.001 if found else 0.0)
    return len(killed)


def _owner_is_gone(mark: str) -> bool:
    try:
        _, namespace, pid, start_ticks = mark.split(":")
        owner = stat_of(int(pid))
    except ValueError:
        return False
    if namespace != _pid_namespace():
        return False
    return owner is None or owner.state in "ZX" or owner.start_ticks != int(start_ticks)


def _pid_namespace() -> str:
    """Inode of this process's PID namespace, '0' where it cannot be read."""
    try:
        return str(Path("/proc/self/ns/pid").stat().st_ino)
    except OSError:
        return "0"

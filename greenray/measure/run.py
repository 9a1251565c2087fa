"""Runs one command as a shell would: its signals, its exit code, and the processor time of everything that it started.

with Signals() as signals:                  # first thing, before any thread exists
    ended = run(["make"], signals=signals)

Nothing is polled while the command runs. This process takes in the command's orphans (as a child subreaper), so the kernel hands
over the exact processor time of each when it ends, however many there are.
"""

import contextlib
import errno
import os
import shutil
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from greenray.gpu import registry
from greenray.measure.signals import Signals
from greenray.power.activity import tree_seconds
from greenray.processes.tree import adopt_orphans, ancestors, children, open_files

CANNOT_RUN, NOT_FOUND = 126, 127  # as a shell answers
_SENT_BY_A_PROCESS = 0  # every si_code above comes from the kernel: the terminal has sent it to the command as well


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How the command went; times of CLOCK_MONOTONIC.

    Attributes:
        exit_code: the command's; 126 or 127 when it could not be run, 128 + n when signal n ended it.
        error: why the command could not be run; None when it ran.
        user_s, system_s: processor seconds of processes that ended: the command, and all that it started.
        running, running_s: its processes (pids) that still run, and their processor seconds up to the command's end.
    """

    start_s: float
    end_s: float
    exit_code: int
    error: str | None = None
    user_s: float = 0.0
    system_s: float = 0.0
    running_s: float = 0.0
    running: frozenset[int] = frozenset()

    @property
    def cpu_s(self) -> float:
        """Processor seconds of everything that the command started."""
        return self.user_s + self.system_s + self.running_s


def run(argv: Sequence[str], *, signals: Signals) -> Ended:
    """Runs a command to its end; standard input, output and error, environment, terminal and process group are this process's.

    What a process sends to this process goes on to the command. What the terminal sends goes to both by itself, once; stopping
    and continuing (Ctrl-Z, fg) is the shell's business with both.

    Raises `Interrupted` when somebody wanted this process to end before the command was started.
    """
    _keep_devices()
    with _Orphans() as orphans:
        signals.pause(0)
        start_s = time.monotonic()
        try:
            pid = _spawn(argv, mask=signals.before)
        except (OSError, ValueError) as problem:
            missing = isinstance(problem, OSError) and problem.errno in (errno.ENOENT, errno.ENOTDIR)
            error = f"{argv[0] or repr(argv[0])}: {getattr(problem, 'strerror', None) or problem}"
            code = NOT_FOUND if missing else CANNOT_RUN
            return Ended(start_s=start_s, end_s=time.monotonic(), exit_code=code, error=error)
        status: int | None = None
        while status is None:
            found = signal.sigwaitinfo(signals.held)
            end_s = time.monotonic()
            if found.si_signo == signal.SIGCHLD:
                status = orphans.reap(pid)
            # Within the command one that signals its whole group has reached itself already.
            elif found.si_code <= _SENT_BY_A_PROCESS and pid not in (found.si_pid, *ancestors(found.si_pid)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, found.si_signo)
        running = tree_seconds(orphans.alive())
    code = os.waitstatus_to_exitcode(status)
    return Ended(
        start_s=start_s,
        end_s=end_s,
        exit_code=code if code >= 0 else 128 - code,
        user_s=orphans.user_s,
        system_s=orphans.system_s,
        running_s=sum(running.values()),
        running=frozenset(running),
    )


def _spawn(argv: Sequence[str], *, mask: set[int | signal.Signals]) -> int:
    if not argv[0]:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))  # as execvp; posix_spawnp would speak of itself

    def spawn(path: str, arguments: list[str]) -> int:
        # Python ignores these two; the command gets them as it would from a shell.
        return os.posix_spawnp(path, arguments, os.environ, setsigmask=mask, setsigdef=[signal.SIGPIPE, signal.SIGXFSZ])

    try:
        return spawn(argv[0], list(argv))
    except OSError as problem:
        script = shutil.which(argv[0])
        if problem.errno != errno.ENOEXEC or script is None:
            raise
        return spawn("/bin/sh", ["/bin/sh", script, *argv[1:]])  # a script without its first line, as every shell does


class _Orphans:
    """Taken in by this process inside: children of its main thread that were not there before, the command among them.

    What other threads start (a wall meter's command) is not the command's. A kernel without CONFIG_PROC_CHILDREN lists none: then
    only the command itself counts, and whom it waited for.
    """

    user_s = system_s = 0.0
    _before: frozenset[int] = frozenset()

    def __enter__(self) -> Self:
        self._adopted = adopt_orphans()
        self._before = frozenset(self.alive())
        return self

    def __exit__(self, *exception: object) -> None:
        adopt_orphans(self._adopted)

    def reap(self, command: int) -> int | None:
        """Takes in who has ended; the command's status once it has."""
        status = None
        for pid in {command, *self.alive()}:
            with contextlib.suppress(ChildProcessError):
                done, ended, usage = os.wait4(pid, os.WNOHANG)
                if done:
                    self.user_s += usage.ru_utime
                    self.system_s += usage.ru_stime
                    status = ended if pid == command else status
        return status

    def alive(self) -> list[int]:
        return [pid for pid in children(os.getpid(), of_main_thread=True) if pid not in self._before]


def _keep_devices() -> None:
    """A driver's library may leave its devices open to children; the command must not inherit a board that it never opened."""
    for descriptor, path in open_files().items():
        if path.startswith(registry.device_prefixes()):
            os.set_inheritable(descriptor, False)

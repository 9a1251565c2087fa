"""A launcher, the cell process that it started, and how that ended.

Every launcher gives the same process: the same target, environment, log, session of its own, death with its parent, and mark.
"""

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

from greenray.errors import GreenRayError
from greenray.processes.reaper import Reaper, fresh_environment
from greenray.processes.tree import MARK, kill_group, kill_marked, new_mark

logger = logging.getLogger(__name__)

END_TIMEOUT_S = 5.0
"""How long a process that was sent SIGKILL may take to end."""


class LaunchError(GreenRayError):
    """A cell process cannot be started; the message is a clause that says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExitStatus:
    """Exactly one of `code` and `signal` is set, or neither when nobody could see the end (`note` says why)."""

    code: int | None = None
    signal: int | None = None
    note: str | None = None

    @classmethod
    def of(cls, ended: "os.waitid_result") -> Self:
        return cls(code=ended.si_status) if ended.si_code == os.CLD_EXITED else cls(signal=ended.si_status)

    def describe(self) -> str:
        """A clause such as "ended by SIGSEGV" or "exited with code 3"."""
        if self.signal is not None:
            names = {each.value: each.name for each in signal.Signals}
            return f"ended by {names.get(self.signal, f'signal {self.signal}')}"
        return self.note or f"exited with code {self.code}"


class CellProcess:
    """A process that was started for one cell: `pid` is its session's and group's too, `socket` the worker's end of the wire."""

    def __init__(self, *, pid: int, socket: socket.socket, launcher: "Launcher") -> None:
        self.pid = pid
        self.socket = socket
        self._launcher = launcher
        self._status: ExitStatus | None = None
        self._released = False

    def poll(self) -> ExitStatus | None:
        """How it ended, or None while it runs. Its pid stays reserved until `close`."""
        return self.wait(timeout_s=0.0)

    def wait(self, *, timeout_s: float) -> ExitStatus | None:
        """How it ended; None when it still runs after `timeout_s` seconds."""
        if self._status is None:
            self._status = self._launcher.ended(self.pid, timeout_s=timeout_s)
        return self._status

    def kill(self) -> None:
        """SIGKILL to the process and its group; may be called from any thread, at any time, also twice."""
        if not self._released:
            kill_group(self.pid)

    def close(self) -> ExitStatus:
        """Kill what is left of it, its descendants in other sessions included, reap it and close the socket.

        Raises LaunchError if the process survives SIGKILL (it hangs in the kernel, as after a driver's fault).
        """
        self.kill()
        status = self.wait(timeout_s=END_TIMEOUT_S)
        kill_marked(self._launcher.mark, spare={*self._launcher.spared, self.pid})
        self.socket.close()
        if status is None:
            raise LaunchError(f"process {self.pid} was sent SIGKILL and still lives after {END_TIMEOUT_S:g} s")
        if not self._released:
            self._released = True
            self._launcher.release(self.pid)
        return status


class Launcher(ABC):
    """Starts cell processes, one at a time, from one thread (which must outlive them).

    Attributes:
        mark: value of the environment variable MARK that everything it starts bears.
        target: `module:function` that a cell process calls with its socket; the answer is its exit code.
        environment: changes to this process's environment for everything it starts; None removes a variable.
        spared: processes that bear the mark and outlive a cell.
        fallback_reason: why cells are spawned although a fork server was asked for; None if they are not, or it was not.
    """

    spared: Collection[int] = ()
    fallback_reason: str | None = None

    def __init__(self, *, target: str, environment: Mapping[str, str | None] | None = None) -> None:
        self.mark = new_mark()
        self.target = target
        self.environment = dict(environment or {})
        try:
            self._reaper = Reaper(mark=self.mark, environment=self._compose({MARK: None}))
        except (OSError, subprocess.SubprocessError) as error:
            raise LaunchError(f"no process can be started: {error}") from error

    def start(self, *, env: Mapping[str, str | None], log_path: Path) -> CellProcess:
        """Start a fresh process, whose stdout and stderr are appended to the log. Raises LaunchError.

        `env` changes are in force before the cell does anything. What a library reads when it is imported or loaded (`HF_HOME`,
        `OMP_NUM_THREADS`) is too late here for a forked cell: it belongs into the launcher's `environment`.
        """
        ours, theirs = socket.socketpair()
        try:
            with theirs, log_path.open("ab") as log:
                return CellProcess(pid=self._start(self._compose(env), theirs=theirs, log=log), socket=ours, launcher=self)
        except BaseException as error:
            ours.close()
            if isinstance(error, OSError):
                raise LaunchError(f"no process can be started: {error}") from error
            raise

    @abstractmethod
    def _start(self, environment: dict[str, str], *, theirs: socket.socket, log: IO[bytes]) -> int:
        """The pid of a process that gets `theirs` and writes to the log. Raises LaunchError or OSError."""

    @abstractmethod
    def ended(self, pid: int, *, timeout_s: float) -> ExitStatus | None:
        """How a process ended, whose pid stays reserved; None when it still runs after `timeout_s` seconds."""

    @abstractmethod
    def release(self, pid: int) -> None:
        """Let go of an ended process's pid."""

    def close(self) -> None:
        """End everything that was started and is left."""
        kill_marked(self.mark)
        self._reaper.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _compose(self, change: Mapping[str, str | None]) -> dict[str, str]:
        merged = {**fresh_environment(), **self.environment, MARK: self.mark, **change}
        return {name: value for name, value in merged.items() if value is not None}


class Spawn(Launcher):
    """A fresh interpreter for every cell: seconds instead of milliseconds, but nothing is shared."""

    def __init__(
        self, *, target: str, environment: Mapping[str, str | None] | None = None, fallback_reason: str | None = None
    ) -> None:
        super().__init__(target=target, environment=environment)
        self.fallback_reason = fallback_reason
        self._processes: dict[int, subprocess.Popen[bytes]] = {}  # kept, for `subprocess` reaps what nobody holds
        if fallback_reason:
            logger.warning("cells are spawned, which takes seconds each: %s", fallback_reason)

    def _start(self, environment: dict[str, str], *, theirs: socket.socket, log: IO[bytes]) -> int:
        arguments = [str(theirs.fileno()), str(os.getpid()), self.target]
        process = start_module("greenray.processes.child", *arguments, env=environment, fd=theirs.fileno(), output=log)
        self._processes[process.pid] = process
        return process.pid

    def ended(self, pid: int, *, timeout_s: float) -> ExitStatus | None:
        deadline = time.monotonic() + timeout_s
        while (ended := os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is None:
            if time.monotonic() >= deadline:
                return None
            time.sleep(0.002)
        return ExitStatus.of(ended)

    def release(self, pid: int) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._processes.pop(pid).wait(timeout=END_TIMEOUT_S)


def start_module(module: str, *arguments: str, env: Mapping[str, str], fd: int, output: IO[bytes]) -> "subprocess.Popen[bytes]":
    """Run `python -m module` in a session of its own, with one open descriptor."""
    return subprocess.Popen(
        [sys.executable, "-P", "-m", module, *arguments],
        env=env,
        pass_fds=[fd],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
    )

"""What a worker holds: a launcher, the cell process that it started, and how that ended.

Every launcher gives the same process: the same target, environment, log, session of its own, death with its parent, and mark.
`Spawn` starts a fresh interpreter for each; `greenray.processes.forkserver` forks them from one that has everything imported.
"""

import contextlib
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
from types import TracebackType
from typing import IO, Any, Self

from greenray.errors import GreenRayError
from greenray.processes.reaper import Reaper
from greenray.processes.tree import MARK, kill_group, kill_marked, new_mark

END_TIMEOUT_S = 5.0
"""How long a process that was sent SIGKILL may take to end."""


class LaunchError(GreenRayError):
    """A cell process cannot be started; the message is a clause that says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExitStatus:
    """How a process ended: exactly one of `code` and `signal` is set, or neither when nobody could see it (`note` says why)."""

    code: int | None = None
    signal: int | None = None
    note: str | None = None

    @classmethod
    def of(cls, ended: "os.waitid_result") -> Self:
        return cls(code=ended.si_status) if ended.si_code == os.CLD_EXITED else cls(signal=ended.si_status)

    @property
    def clean(self) -> bool:
        return self.code == 0

    def describe(self) -> str:
        """A clause such as "ended by SIGSEGV" or "exited with code 3"."""
        if self.signal is not None:
            try:
                return f"ended by {signal.Signals(self.signal).name}"
            except ValueError:
                return f"ended by signal {self.signal}"
        return self.note or f"exited with code {self.code}"


class CellProcess(ABC):
    """A process that was started for one cell.

    Attributes:
        pid: also its session's and process group's id.
        socket: the worker's end of the wire; connected to the socket that the cell's target was called with.
    """

    def __init__(self, *, pid: int, socket: socket.socket, mark: str, spare: Collection[int] = ()) -> None:
        self.pid = pid
        self.socket = socket
        self._mark = mark
        self._spare = frozenset(spare)
        self._status: ExitStatus | None = None
        self._released = False

    def poll(self) -> ExitStatus | None:
        """How it ended, or None while it runs. Its pid stays reserved until `close`."""
        return self.wait(timeout_s=0.0)

    def wait(self, *, timeout_s: float) -> ExitStatus | None:
        """Wait for its end; None when it still runs after `timeout_s` seconds."""
        if self._status is None:
            self._status = self._ended(timeout_s=timeout_s)
        return self._status

    def kill(self) -> None:
        """SIGKILL to the process and its group; may be called from any thread, at any time, also twice."""
        if not self._released:
            kill_group(self.pid)

    def close(self) -> ExitStatus:
        """Kill what is left of it, its descendants in other sessions included, reap it and close the socket.

        Raises:
            LaunchError: the process survives SIGKILL (it hangs in the kernel, as after a driver's fault).
        """
        self.kill()
        status = self.wait(timeout_s=END_TIMEOUT_S)
        kill_marked(self._mark, spare={*self._spare, self.pid})
        self.socket.close()
        if status is None:
            raise LaunchError(f"process {self.pid} was sent SIGKILL and still lives after {END_TIMEOUT_S:g} s")
        if not self._released:
            self._released = True
            self._release()
        return status

    @abstractmethod
    def _ended(self, *, timeout_s: float) -> ExitStatus | None:
        """Wait for its end, and leave its pid reserved."""

    @abstractmethod
    def _release(self) -> None:
        """Let go of the pid."""


class Launcher(ABC):
    """Starts cell processes, one at a time, from one thread (which must outlive them).

    Attributes:
        mark: value of the environment variable MARK that everything it starts bears.
        target: `module:function` that a cell process calls with its socket; the answer is its exit code.
        environment: changes to this process's environment for everything it starts; None removes a variable.
        fallback_reason: why cells are spawned although a fork server was asked for; None if they are not, or it was not.
    """

    name: str

    def __init__(
        self, *, target: str, environment: Mapping[str, str | None] | None = None, fallback_reason: str | None = None
    ) -> None:
        self.mark = new_mark()
        self.target = target
        self.environment = dict(environment or {})
        self.fallback_reason = fallback_reason
        try:
            self._reaper = Reaper(mark=self.mark, environment=self._compose({MARK: None}))
        except (OSError, subprocess.SubprocessError) as error:
            raise LaunchError(f"no process can be started: {error}") from error

    def start(self, *, env: Mapping[str, str | None], log_path: Path) -> CellProcess:
        """Start a fresh process.

        Args:
            env: changes to this process's environment (None removes a variable); in force before the cell does anything.
                What a library reads when it is imported or loaded (`HF_HOME`, `OMP_NUM_THREADS`) is too late here for a
                forked cell: it belongs into the launcher's `environment`.
            log_path: file that its stdout and stderr are appended to; missing folders are made.

        Raises:
            LaunchError: the process cannot be started, or its log not be opened.
        """
        ours, theirs = socket.socketpair()
        try:
            log_path.parent.mkdir(parents=True, exist_ok=True)
            with theirs, log_path.open("ab") as log:
                return self._start(self._compose(env), ours=ours, theirs=theirs, log=log)
        except OSError as error:
            ours.close()
            raise LaunchError(f"no process can be started: {error}") from error
        except BaseException:
            ours.close()
            raise

    @abstractmethod
    def _start(self, environment: dict[str, str], *, ours: socket.socket, theirs: socket.socket, log: IO[bytes]) -> CellProcess:
        """Start a process that gets `theirs` and writes to the log. Raises LaunchError or OSError."""

    def close(self) -> None:
        """End everything that was started and is left."""
        kill_marked(self.mark)
        self._reaper.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _compose(self, change: Mapping[str, str | None]) -> dict[str, str]:
        # The import path lets a fresh interpreter import what this one can, whatever its working directory holds.
        path = {"PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
        merged = {**os.environ, **path, **self.environment, MARK: self.mark, **change}
        return {name: value for name, value in merged.items() if value is not None}


class Spawn(Launcher):
    """A fresh interpreter for every cell: seconds instead of milliseconds, but nothing is shared."""

    name = "spawn"

    def _start(self, environment: dict[str, str], *, ours: socket.socket, theirs: socket.socket, log: IO[bytes]) -> CellProcess:
        arguments = [str(theirs.fileno()), str(os.getpid()), self.target]
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "greenray.processes.child", *arguments],
            env=environment,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        return _SpawnedCell(process=process, socket=ours, mark=self.mark)


class _SpawnedCell(CellProcess):
    def __init__(self, *, process: "subprocess.Popen[bytes]", **common: Any) -> None:
        super().__init__(pid=process.pid, **common)
        self._process = process

    def _ended(self, *, timeout_s: float) -> ExitStatus | None:
        deadline = time.monotonic() + timeout_s
        while (ended := os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is None:
            if time.monotonic() >= deadline:
                return None
            time.sleep(0.002)
        return ExitStatus.of(ended)

    def _release(self) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=END_TIMEOUT_S)

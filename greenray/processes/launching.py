"""What a worker holds: a launcher, the cell process that it started, and how that ended."""

import os
import signal
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from greenray.cell.protocol import Channel
from greenray.errors import GreenRayError
from greenray.processes.reaper import Reaper
from greenray.processes.tree import MARK, kill_group, kill_marked, new_mark

CELL_TARGET = "greenray.cell.main:main"

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
        channel: the worker's end of the wire.
    """

    def __init__(self, *, pid: int, channel: Channel, mark: str, spare: Collection[int]) -> None:
        self.pid = pid
        self.channel = channel
        self._mark = mark
        self._spare = frozenset(spare)
        self._status: ExitStatus | None = None
        self._released = False

    def poll(self) -> ExitStatus | None:
        """How it ended, or None while it runs. Its pid stays reserved until `close`."""
        return self.wait(timeout_s=0.0)

    @abstractmethod
    def wait(self, *, timeout_s: float) -> ExitStatus | None:
        """Wait for its end; None when it still runs after `timeout_s` seconds."""

    def kill(self) -> None:
        """SIGKILL to the process and its group; may be called from any thread, at any time, also twice."""
        if not self._released:
            kill_group(self.pid)

    def close(self) -> ExitStatus:
        """Kill what is left of it, its descendants in other sessions included, reap it and close the channel.

        Raises:
            LaunchError: the process survives SIGKILL (it hangs in the kernel, as after a driver's fault).
        """
        self.kill()
        status = self.wait(timeout_s=END_TIMEOUT_S)
        kill_marked(self._mark, spare={*self._spare, self.pid})
        self.channel.close()
        if status is None:
            raise LaunchError(f"process {self.pid} was sent SIGKILL and still lives after {END_TIMEOUT_S:g} s")
        if not self._released:
            self._released = True
            self._release()
        return status

    @abstractmethod
    def _release(self) -> None:
        """Let go of the pid."""


class Launcher(ABC):
    """Starts cell processes, one at a time, from one thread (which must outlive them).

    Attributes:
        mark: value of the environment variable MARK that everything it starts bears.
        target: `module:function` that a cell process calls with its Channel.
        fallback_reason: why cells are spawned although a fork server was asked for; None if they are not, or it was not.
    """

    name: str

    def __init__(self, *, target: str, environment: Mapping[str, str | None], fallback_reason: str | None) -> None:
        self.mark = new_mark()
        self.target = target
        self.fallback_reason = fallback_reason
        self._environment = dict(environment)
        try:
            self._reaper = Reaper(mark=self.mark, environment=self._compose({MARK: None}))
        except (OSError, subprocess.SubprocessError) as error:
            raise LaunchError(f"no process can be started: {error}") from error

    @abstractmethod
    def start(self, *, env: Mapping[str, str | None], log_path: Path) -> CellProcess:
        """Start a fresh process.

        Args:
            env: changes to this process's environment (None removes a variable); in force before the cell does anything.
                What a library reads when it is imported or loaded (`HF_HOME`, `OMP_NUM_THREADS`) is too late here for a
                forked cell: it belongs into the launcher's `environment`.
            log_path: file that its stdout and stderr are appended to; missing folders are made.

        Raises:
            LaunchError: the process cannot be started.
            OSError: the log cannot be opened.
        """

    def close(self) -> None:
        """End everything that was started and is left."""
        kill_marked(self.mark)
        self._reaper.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _compose(self, *changes: Mapping[str, str | None]) -> dict[str, str]:
        environment = dict(os.environ)
        own: dict[str, str | None] = {MARK: self.mark}
        for change in (_import_path(), self._environment, own, *changes):
            for name, value in change.items():
                if value is None:
                    environment.pop(name, None)
                else:
                    environment[name] = value
        return environment


def open_log(path: Path) -> IO[bytes]:
    """The log, to be appended to, with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("ab")


def _import_path() -> dict[str, str | None]:
    """PYTHONPATH that lets a fresh interpreter import what this one can, whatever its working directory holds."""
    return {"PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}

"""Cells forked from a server that has everything imported, or spawned afresh where that cannot be had.

    with open_launcher(target=..., preload=Preload(modules=...)) as launcher:
        cell = launcher.start(env={"OMP_NUM_THREADS": "2"}, log_path=...)

This is the worker's side; the server itself is `greenray.processes.server`.
"""

import contextlib
import logging
import os
import select
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import greenray
from greenray.processes.launcher import END_TIMEOUT_S, CellProcess, ExitStatus, Launcher, LaunchError, Spawn
from greenray.processes.server import receive_frame, send_frame
from greenray.processes.tree import is_alive, kill_group, kill_stale

logger = logging.getLogger(__name__)

_START_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Preload:
    """What a fork server imports, and how it makes sure that it can still be forked.

    Attributes:
        modules: what a cell imports sooner or later.
        environment: changes to the server's environment while it imports; a cell does not see them.
        device_prefixes: how the paths of accelerators' device files begin, which no module may have opened.
        settle: `module:function` that is called after the imports: it undoes what a fork must not inherit, and returns what
            cannot be undone, as clauses with "a preloaded module" as subject.
    """

    modules: tuple[str, ...] = ()
    environment: Mapping[str, str | None] = field(default_factory=dict)
    device_prefixes: Sequence[str] = ()
    settle: str | None = None


class ForkServer(Launcher):
    """Cells forked from a server of our own. A server that died is started again, once a cell.

    Attributes:
        preloaded: modules that the server has imported.
        failed: modules that it could not import, with the error.
    """

    name = "fork server"

    def __init__(
        self,
        *,
        target: str,
        preload: Preload,
        environment: Mapping[str, str | None] | None = None,
        deadline_s: float = 120.0,
    ) -> None:
        """Start the server and wait until it is ready.

        Args:
            target: `module:function` that a cell process calls with its socket.
            preload: what to import before the first fork.
            environment: changes to this process's environment, for server and cells.
            deadline_s: how long the start may take.

        Raises:
            LaunchError: it did not start in time, died, or is unfit to be forked.
        """
        super().__init__(target=target, environment=environment)
        self._preload = preload
        self._deadline_s = deadline_s
        self._statuses: dict[int, ExitStatus] = {}
        self._lost: str | None = None  # what happened to the server, once it cannot be talked to
        self._process: subprocess.Popen[bytes]
        self._control: socket.socket
        self._output: IO[bytes]
        try:
            self._start_server()
        except BaseException:
            super().close()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    def _start(self, environment: dict[str, str], *, ours: socket.socket, theirs: socket.socket, log: IO[bytes]) -> CellProcess:
        if self._lost is None and self._process.poll() is not None:
            self._lost = self._epitaph()
        if self._lost is not None:
            logger.warning("%s; starting another", self._lost)
            self._stop_server()
            self._start_server()
        try:
            send_frame(self._control, {"op": "fork", "environment": environment}, [theirs.fileno(), log.fileno()])
            answer = self._await("started", "refused", deadline=time.monotonic() + _START_TIMEOUT_S)
        except OSError as error:
            self._lost = f"the fork server does not answer: {error}"
            raise LaunchError(self._lost) from error
        if answer["event"] == "refused":
            raise LaunchError(f"the fork server cannot fork: {answer['reason']}")
        return _ForkedCell(pid=answer["pid"], socket=ours, server=self)

    def close(self) -> None:
        self._stop_server()
        super().close()

    def ended(self, pid: int, *, timeout_s: float) -> ExitStatus | None:
        """How a child of the server ended; None when it still runs after `timeout_s` seconds."""
        deadline = time.monotonic() + timeout_s
        while pid not in self._statuses and self._lost is None:
            try:
                self._receive(deadline=deadline)
            except TimeoutError:
                return None
            except LaunchError:
                break
        if pid in self._statuses:
            return self._statuses[pid]
        # Without its server nobody can tell how it ended, but the kernel has killed it with its parent.
        while is_alive(pid):
            if time.monotonic() >= deadline:
                return None
            time.sleep(0.002)
        return ExitStatus(note=f"ended unseen, for {self._lost}")

    def reap(self, pid: int) -> None:
        self._statuses.pop(pid, None)
        if self._lost is None:
            with contextlib.suppress(OSError):
                send_frame(self._control, {"op": "reap", "pid": pid})

    def _start_server(self) -> None:
        self._lost = None
        self._output = tempfile.TemporaryFile()  # noqa: SIM115  # lives as long as the server
        self._control, theirs = socket.socketpair()
        arguments = {
            "--control-fd": str(theirs.fileno()),
            "--parent": str(os.getpid()),
            "--target": self.target,
            "--preload": ",".join(self._preload.modules),
            "--device-prefixes": ",".join(self._preload.device_prefixes),
            "--settle": self._preload.settle or "",
        }
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "greenray.processes.server", *(f"{k}={v}" for k, v in arguments.items())],
                env=self._compose(self._preload.environment),
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=self._output,
                start_new_session=True,
            )
        try:
            self._check(self._await("ready", deadline=time.monotonic() + self._deadline_s))
        except BaseException:
            self._stop_server()
            raise

    def _check(self, ready: dict[str, Any]) -> None:
        self.preloaded: list[str] = ready["preloaded"]
        self.failed: dict[str, str] = ready["failed"]
        for module, error in self.failed.items():
            logger.warning("the fork server could not preload %s: %s", module, error)
        if ready["origin"] != str(Path(greenray.__file__).resolve()):
            raise LaunchError(f"the fork server imports another greenray, {ready['origin']}")
        if ready["hazards"]:
            raise LaunchError(f"a module that the fork server preloads {' and '.join(ready['hazards'])}")

    def _stop_server(self) -> None:
        self._control.close()  # the server kills its children and ends
        kill_group(self._process.pid)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=END_TIMEOUT_S)
        self._output.close()
        self._lost = "the fork server was stopped"

    def _await(self, *events: str, deadline: float) -> dict[str, Any]:
        while (frame := self._receive(deadline=deadline))["event"] not in events:
            pass
        return frame

    def _receive(self, *, deadline: float) -> dict[str, Any]:
        """The server's next word, noted if it tells the end of a child. Raises TimeoutError, or LaunchError when it is dead."""
        readable, _, _ = select.select([self._control], [], [], max(0.0, deadline - time.monotonic()))
        if not readable:
            raise TimeoutError("it took too long")
        try:
            self._control.settimeout(END_TIMEOUT_S)
            frame, _ = receive_frame(self._control)
        except (EOFError, ConnectionError) as error:
            self._lost = self._epitaph()
            raise LaunchError(self._lost) from error
        if frame["event"] == "ended":
            self._statuses[frame["pid"]] = ExitStatus(code=frame["code"], signal=frame["signal"])
        return frame

    def _epitaph(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=END_TIMEOUT_S)
        code = self._process.returncode
        how = "hangs" if code is None else (ExitStatus(code=code) if code >= 0 else ExitStatus(signal=-code)).describe()
        self._output.seek(0)
        last_lines = self._output.read().decode(errors="replace").strip().splitlines()[-1:]
        return f"the fork server {how}" + (f" ({last_lines[0]})" if last_lines else "")


class _ForkedCell(CellProcess):
    def __init__(self, *, pid: int, socket: socket.socket, server: ForkServer) -> None:
        super().__init__(pid=pid, socket=socket, mark=server.mark, spare={server.pid})
        self._server = server

    def _ended(self, *, timeout_s: float) -> ExitStatus | None:
        return self._server.ended(self.pid, timeout_s=timeout_s)

    def _release(self) -> None:
        self._server.reap(self.pid)


def open_launcher(
    *, target: str, preload: Preload, environment: Mapping[str, str | None] | None = None, deadline_s: float = 120.0
) -> Launcher:
    """A fork server if one can be had, else Spawn, which then says why in the log and in `fallback_reason`.

    First ends what launchers that are gone have left on this host. Arguments are those of `ForkServer`.

    Raises:
        LaunchError: this host can start no process at all.
    """
    kill_stale()
    try:
        return ForkServer(target=target, preload=preload, environment=environment, deadline_s=deadline_s)
    except (LaunchError, OSError) as error:
        return _spawn_instead(f"{error}", target=target, environment=environment)


def fall_back(launcher: Launcher, *, reason: str) -> Spawn:
    """Close a launcher whose cells turned out unfit, as when a forked child cannot use its device, and spawn from now on."""
    launcher.close()
    return _spawn_instead(reason, target=launcher.target, environment=launcher.environment)


def _spawn_instead(reason: str, *, target: str, environment: Mapping[str, str | None] | None) -> Spawn:
    logger.warning("cells are spawned, which takes seconds each: %s", reason)
    return Spawn(target=target, environment=environment, fallback_reason=reason)

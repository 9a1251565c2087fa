"""Cells forked from a server that has everything imported, or spawned afresh where that cannot be had.

This is the worker's side; the server itself is `greenray.processes.server`.
"""

import contextlib
import json
import logging
import os
import select
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

import greenray
from greenray.processes.launcher import END_TIMEOUT_S, ExitStatus, Launcher, LaunchError, Spawn, start_module
from greenray.processes.server import receive_frame, send_frame
from greenray.processes.tree import is_alive, kill_group, kill_stale

logger = logging.getLogger(__name__)

_START_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Preload:
    """What a fork server imports, and how it makes sure that it can still be forked.

    Attributes:
        environment: changes to the server's environment while it imports; a cell does not see them.
        device_prefixes: how the paths of accelerators' device files begin, which no module may have opened.
        settle: `module:function`, see `greenray.processes.server.fork_hazards`.
    """

    modules: tuple[str, ...] = ()
    environment: Mapping[str, str | None] = field(default_factory=dict)
    device_prefixes: tuple[str, ...] = ()
    settle: str | None = None


class ForkServer(Launcher):
    """Cells forked from a server of our own: `failed` tells what it could not import. One that died is started again."""

    def __init__(
        self,
        *,
        target: str,
        preload: Preload,
        environment: Mapping[str, str | None] | None = None,
        deadline_s: float = 120.0,
    ) -> None:
        """`environment` is for the server too. Raises LaunchError if it is not ready in time, died, or is unfit to be forked."""
        super().__init__(target=target, environment=environment)
        self._preload = preload
        self._deadline_s = deadline_s
        self._statuses: dict[int, ExitStatus] = {}
        self._lost: str | None = None  # what happened to the server, once it cannot be talked to
        try:
            self._start_server()
        except BaseException:
            super().close()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    def _start(self, environment: dict[str, str], *, theirs: socket.socket, log: IO[bytes]) -> int:
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
        return int(answer["pid"])

    def close(self) -> None:
        self._stop_server()
        super().close()

    def ended(self, pid: int, *, timeout_s: float) -> ExitStatus | None:
        deadline = time.monotonic() + timeout_s
        try:
            while pid not in self._statuses and self._lost is None:
                self._receive(deadline=deadline)
        except TimeoutError:
            return None
        except LaunchError:  # the server is dead, and said nothing of it
            pass
        if pid in self._statuses:
            return self._statuses[pid]
        # Without its server nobody can tell how it ended, but the kernel has killed it with its parent.
        while is_alive(pid):
            if time.monotonic() >= deadline:
                return None
            time.sleep(0.002)
        return ExitStatus(note=f"ended unseen, for {self._lost}")

    def release(self, pid: int) -> None:
        self._statuses.pop(pid, None)
        if self._lost is None:
            with contextlib.suppress(OSError):
                send_frame(self._control, {"op": "reap", "pid": pid})

    def _start_server(self) -> None:
        self._lost = None
        self._output = tempfile.TemporaryFile()  # noqa: SIM115  # lives as long as the server
        self._control, theirs = socket.socketpair()
        told = {"parent": os.getpid(), "target": self.target, **asdict(self._preload)}
        with theirs:
            self._process = start_module(
                "greenray.processes.server",
                str(theirs.fileno()),
                json.dumps(told),
                env=self._compose(self._preload.environment),
                fd=theirs.fileno(),
                output=self._output,
            )
        self.spared = {self._process.pid}
        try:
            ready = self._await("ready", deadline=time.monotonic() + self._deadline_s)
            self.failed: dict[str, str] = ready["failed"]
            for module, error in self.failed.items():
                logger.warning("the fork server could not preload %s: %s", module, error)
            if ready["origin"] != str(Path(greenray.__file__).resolve()):
                raise LaunchError(f"the fork server imports another greenray, {ready['origin']}")
            if ready["hazards"]:
                raise LaunchError(f"a module that the fork server preloads {' and '.join(ready['hazards'])}")
        except BaseException:
            self._stop_server()
            raise

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
        """The server's next word, noted if it tells an end. Raises TimeoutError, or LaunchError when the server is dead."""
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
            self._statuses[frame["pid"]] = ExitStatus(**frame["status"])
        return frame

    def _epitaph(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=END_TIMEOUT_S)
        code = self._process.returncode
        how = "hangs" if code is None else (ExitStatus(code=code) if code >= 0 else ExitStatus(signal=-code)).describe()
        self._output.seek(0)
        last_lines = self._output.read().decode(errors="replace").strip().splitlines()[-1:]
        return f"the fork server {how}" + (f" ({last_lines[0]})" if last_lines else "")


def open_launcher(
    *, target: str, preload: Preload, environment: Mapping[str, str | None] | None = None, deadline_s: float = 120.0
) -> Launcher:
    """A fork server if one can be had, else Spawn; first ends what launchers that are gone have left on this host."""
    kill_stale()
    try:
        return ForkServer(target=target, preload=preload, environment=environment, deadline_s=deadline_s)
    except (LaunchError, OSError) as error:
        return Spawn(target=target, environment=environment, fallback_reason=str(error))


def fall_back(launcher: Launcher, *, reason: str) -> Spawn:
    """Close a launcher whose cells turned out unfit, as when a forked child cannot use its device, and spawn from now on."""
    launcher.close()
    return Spawn(target=launcher.target, environment=launcher.environment, fallback_reason=reason)

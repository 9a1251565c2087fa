"""The worker's side of a spawned cell; the other side is `greenray.processes.spawned`."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from greenray.cell.protocol import Channel
from greenray.processes.launching import CELL_TARGET, END_TIMEOUT_S, CellProcess, ExitStatus, Launcher, LaunchError, open_log


class Spawn(Launcher):
    """A fresh interpreter for every cell: seconds instead of milliseconds, but nothing is shared."""

    name = "spawn"

    def __init__(
        self,
        *,
        target: str = CELL_TARGET,
        environment: Mapping[str, str | None] | None = None,
        fallback_reason: str | None = None,
    ) -> None:
        super().__init__(target=target, environment=environment or {}, fallback_reason=fallback_reason)

    def start(self, *, env: Mapping[str, str | None], log_path: Path) -> CellProcess:
        ours, theirs = socket.socketpair()
        try:
            with theirs, open_log(log_path) as log:
                arguments = [str(theirs.fileno()), str(os.getpid()), self.target]
                process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "greenray.processes.spawned", *arguments],
                    env=self._compose(env),
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
        except OSError as error:
            ours.close()
            raise LaunchError(f"no process can be started: {error}") from error
        return _SpawnedCell(process=process, channel=Channel(ours), mark=self.mark)


class _SpawnedCell(CellProcess):
    def __init__(self, *, process: "subprocess.Popen[bytes]", channel: Channel, mark: str) -> None:
        super().__init__(pid=process.pid, channel=channel, mark=mark, spare=())
        self._process = process

    def wait(self, *, timeout_s: float) -> ExitStatus | None:
        deadline = time.monotonic() + timeout_s
        while self._status is None:
            ended = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if ended is not None:
                exited = ended.si_code == os.CLD_EXITED
                self._status = ExitStatus(code=ended.si_status) if exited else ExitStatus(signal=ended.si_status)
            elif time.monotonic() >= deadline:
                return None
            else:
                time.sleep(0.002)
        return self._status

    def _release(self) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=END_TIMEOUT_S)

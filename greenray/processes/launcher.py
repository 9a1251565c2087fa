"""Starts cell processes: forked from a server that has everything imported, or spawned afresh where that cannot be had.

    with open_launcher() as launcher:
        cell = launcher.start(env={"CUDA_VISIBLE_DEVICES": "0"}, log_path=...)
        ... supervise(cell, ...)

Both launchers give the same process: the same target, environment, log, session of its own, death with its parent, and mark.
"""

import contextlib
import logging
import os
import select
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import greenray
from greenray.cell.protocol import Channel
from greenray.processes.forkserver import PRELOAD_ENVIRONMENT, receive_frame, send_frame
from greenray.processes.launching import CELL_TARGET, END_TIMEOUT_S, CellProcess, ExitStatus, Launcher, LaunchError, open_log
from greenray.processes.spawning import Spawn
from greenray.processes.tree import is_alive, kill_group, kill_stale

__all__ = ["PRELOAD", "CellProcess", "ExitStatus", "ForkServer", "LaunchError", "Launcher", "Spawn", "fall_back", "open_launcher"]

logger = logging.getLogger(__name__)

PRELOAD: tuple[str, ...] = (
    "torch",
    "torch._dynamo",
    "torch._inductor.compile_fx",
    "torch._inductor.fx_passes.joint_graph",
    "torch.ao.quantization",
    "torch.nn.utils.prune",
    "torch.utils.cpp_extension",
    "torch.utils.flop_counter",
    "torch.utils.serialization.config",
    "sympy.physics.units",
    "torchao.quantization",
    "transformers",
    "transformers.models.auto.image_processing_auto",
    "transformers.models.auto.modeling_auto",
    "transformers.models.convnext.image_processing_pil_convnext",
    "transformers.models.convnext.modeling_convnext",
    "transformers.models.efficientnet.image_processing_pil_efficientnet",
    "transformers.models.efficientnet.modeling_efficientnet",
    "transformers.models.mobilenet_v2.image_processing_pil_mobilenet_v2",
    "transformers.models.mobilenet_v2.modeling_mobilenet_v2",
    "transformers.models.resnet.modeling_resnet",
    "transformers.models.swin.modeling_swin",
    "transformers.models.vit.image_processing_pil_vit",
    "transformers.models.vit.modeling_vit",
    "safetensors.torch",
    "datasets",
    "sklearn.datasets",
    "sklearn.model_selection",
    "PIL.ImageFile",
    "greenray.tactics.chain",
    "greenray.cell.main",
    "greenray.cell.inference",
    "greenray.cell.training",
)
"""What a cell imports sooner or later; imported once by the fork server."""

_START_TIMEOUT_S = 30.0


class ForkServer(Launcher):
    """Cells forked from a server of our own, `greenray.processes.forkserver`. A server that died is started again, once a cell.

    Attributes:
        preloaded: modules that the server has imported.
        failed: modules that it could not import, with the error.
    """

    name = "fork server"

    def __init__(
        self,
        *,
        target: str = CELL_TARGET,
        preload: Sequence[str] = PRELOAD,
        environment: Mapping[str, str | None] | None = None,
        deadline_s: float = 120.0,
        device_prefix: str = "/dev/nvidia",
    ) -> None:
        """Start the server and wait until it is ready.

        Args:
            target: `module:function` that a cell process calls.
            preload: modules to import before the first fork.
            environment: changes to this process's environment, for server and cells.
            deadline_s: how long the start may take.
            device_prefix: how the paths of the accelerator's device files begin.

        Raises:
            LaunchError: it did not start in time, died, or is unfit to be forked.
        """
        super().__init__(target=target, environment=environment or {}, fallback_reason=None)
        self._preload = tuple(preload)
        self._deadline_s = deadline_s
        self._device_prefix = device_prefix
        self._lock = threading.Lock()  # a cell is polled by its supervisor and by the watchdog
        self._ended: dict[int, ExitStatus] = {}
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

    def start(self, *, env: Mapping[str, str | None], log_path: Path) -> CellProcess:
        if self._lost is None and self._process.poll() is not None:
            self._lost = self._epitaph()
        if self._lost is not None:
            logger.warning("%s; starting another", self._lost)
            self._stop_server()
            self._start_server()
        ours, theirs = socket.socketpair()
        try:
            with theirs, open_log(log_path) as log, self._lock:
                request = {"op": "fork", "environment": self._compose(env)}
                send_frame(self._control, request, [theirs.fileno(), log.fileno()])
                answer = self._await("started", "refused", deadline=time.monotonic() + _START_TIMEOUT_S)
            if answer["event"] == "refused":
                raise LaunchError(f"the fork server cannot fork: {answer['reason']}")
        except OSError as error:
            ours.close()
            self._lost = f"the fork server does not answer: {error}"
            raise LaunchError(self._lost) from error
        except BaseException:
            ours.close()
            raise
        return _ForkedCell(pid=answer["pid"], channel=Channel(ours), server=self)

    def close(self) -> None:
        self._stop_server()
        super().close()

    def ended(self, pid: int, *, timeout_s: float) -> ExitStatus | None:
        """How a child of the server ended; None when it still runs after `timeout_s` seconds."""
        deadline = time.monotonic() + timeout_s
        with self._lock:
            while pid not in self._ended and self._lost is None:
                try:
                    self._receive(deadline=deadline)
                except TimeoutError:
                    return None
                except LaunchError:
                    break
            if pid in self._ended:
                return self._ended[pid]
        # Without its server nobody can tell how it ended, but the kernel has killed it with its parent.
        while is_alive(pid):
            if time.monotonic() >= deadline:
                return None
            time.sleep(0.002)
        return ExitStatus(note=f"ended unseen, for {self._lost}")

    def reap(self, pid: int) -> None:
        with self._lock:
            self._ended.pop(pid, None)
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
            "--preload": ",".join(self._preload),
            "--device-prefix": self._device_prefix,
        }
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "greenray.processes.forkserver", *(f"{k}={v}" for k, v in arguments.items())],
                env=self._compose(PRELOAD_ENVIRONMENT),
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
        logger.debug("fork server %d is ready, with %d native threads", ready["pid"], ready["native_threads"])
        if ready["origin"] != _origin():
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
            status = frame["status"]
            self._ended[frame["pid"]] = ExitStatus(code=status) if frame["exited"] else ExitStatus(signal=status)
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
    def __init__(self, *, pid: int, channel: Channel, server: ForkServer) -> None:
        super().__init__(pid=pid, channel=channel, mark=server.mark, spare={server.pid})
        self._server = server

    def wait(self, *, timeout_s: float) -> ExitStatus | None:
        if self._status is None:
            self._status = self._server.ended(self.pid, timeout_s=timeout_s)
        return self._status

    def _release(self) -> None:
        self._server.reap(self.pid)


def open_launcher(
    *,
    target: str = CELL_TARGET,
    preload: Sequence[str] = PRELOAD,
    environment: Mapping[str, str | None] | None = None,
    deadline_s: float = 120.0,
    device_prefix: str = "/dev/nvidia",
) -> Launcher:
    """A fork server if one can be had, else Spawn, which then says why in the log and in `fallback_reason`.

    First ends what launchers that are gone have left on this host. Arguments are those of `ForkServer`.

    Raises:
        LaunchError: this host can start no process at all.
    """
    kill_stale()
    try:
        return ForkServer(
            target=target, preload=preload, environment=environment, deadline_s=deadline_s, device_prefix=device_prefix
        )
    except (LaunchError, OSError) as error:
        return _spawn_instead(f"{error}", target=target, environment=environment)


def fall_back(launcher: Launcher, *, reason: str) -> Spawn:
    """Close a launcher whose cells turned out unfit, as when a forked child cannot use its device, and spawn from now on."""
    launcher.close()
    return _spawn_instead(reason, target=launcher.target, environment=launcher._environment)


def _spawn_instead(reason: str, *, target: str, environment: Mapping[str, str | None] | None) -> Spawn:
    logger.warning("cells are spawned, which takes seconds each: %s", reason)
    return Spawn(target=target, environment=environment, fallback_reason=reason)


def _origin() -> str:
    return str(Path(greenray.__file__).resolve())

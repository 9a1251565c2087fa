"""The fork server: imports once what every cell needs, then forks a fresh process for each.

    python -m greenray.processes.server CONTROL_FD '{"parent": PID, "target": "MODULE:FUNCTION", "modules": [...], ...}'

A fresh interpreter with large libraries takes seconds to start, a fork of one that has them takes milliseconds. The price is
that the server must never do anything a child could not do again: start a thread (it would be missing in the child, and a lock
that it held stay locked for ever) or use an accelerator (a context does not survive a fork). So it imports and nothing else, and
afterwards looks whether a preloaded module was less careful; what it found goes to the worker in `ready`, which decides.

Not `multiprocessing`'s fork server: that one imports the worker's `__main__` again, which is Ray's, and is silent about
preloads that fail.
"""

import contextlib
import gc
import importlib
import json
import os
import pkgutil
import select
import signal
import socket
import struct
import sys
import threading
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

import greenray
from greenray.processes.child import CELL_OOM_SCORE, run_target
from greenray.processes.launcher import ExitStatus
from greenray.processes.tree import adopt_orphans, die_with_parent, kill_group, open_files, restore_scheduling, set_name, tree_of

_LENGTH = struct.Struct("!I")


def send_frame(control: socket.socket, body: Mapping[str, Any], fds: Sequence[int] = ()) -> None:
    """Send one JSON object, with open files, over a stream socket."""
    data = json.dumps(body).encode()
    socket.send_fds(control, [_LENGTH.pack(len(data))], list(fds))
    control.sendall(data)


def receive_frame(control: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Receive what `send_frame` sent. Raises EOFError when the other end is closed."""
    header, fds, _, _ = socket.recv_fds(control, _LENGTH.size, 8)
    for fd in fds:
        os.set_inheritable(fd, False)  # received descriptors are; a cell's helpers must not hold its socket open
    header += _receive_exactly(control, _LENGTH.size - len(header))
    return json.loads(_receive_exactly(control, _LENGTH.unpack(header)[0])), fds


def _receive_exactly(control: socket.socket, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        chunk = control.recv(length - len(data))
        if not chunk:
            raise EOFError("the other end of the control socket is closed")
        data += chunk
    return bytes(data)


def preload(modules: Iterable[str]) -> dict[str, str]:
    """Import modules; returns the error of each that could not be."""
    failed: dict[str, str] = {}
    for module in modules:
        try:
            importlib.import_module(module)
        except Exception as error:
            traceback.print_exc()
            failed[module] = f"{type(error).__name__}: {error}"
    return failed


def fork_hazards(*, settle: str | None, device_prefixes: Sequence[str]) -> list[str]:
    """What makes this process unfit to be forked, in clauses with "a preloaded module" as subject.

    `settle` names a `module:function` that undoes what a fork must not inherit, and returns such clauses about the rest.
    """
    found: list[str] = [*pkgutil.resolve_name(settle)()] if settle else []
    devices = sorted({path for path in open_files().values() if path.startswith(tuple(device_prefixes))})
    if devices:
        found.append(f"opened {', '.join(devices)}")
    if threading.active_count() > 1:  # Python's; those of OpenBLAS and jemalloc know about fork and are allowed
        names = ", ".join(thread.name for thread in threading.enumerate() if thread is not threading.main_thread())
        found.append(f"started a thread ({names})")
    return found


class Server:
    """Answers the worker's requests, one at a time, and tells it of every child that ends.

    Requests: `fork` (descriptors: socket, log) is answered by `started`; `reap` lets go of an ended child, whose pid stays
    reserved until then so that no signal meant for it can meet another process.
    """

    def __init__(self, *, control: socket.socket, target: str) -> None:
        self._control = control
        self._target = target
        self._keep_open = set(open_files()) - {control.fileno()}  # 0 to 2 and what preloaded libraries hold
        self._running: set[int] = set()
        self._ended: set[int] = set()
        self._wake_r, self._wake_w = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def serve(self) -> None:
        """Serve until the worker closes its end, then kill the children that are left."""
        signal.signal(signal.SIGCHLD, lambda *_: None)  # ignored by default, and then no wake-up is written
        signal.set_wakeup_fd(self._wake_w, warn_on_full_buffer=False)
        try:
            while True:
                readable, _, _ = select.select([self._control.fileno(), self._wake_r], [], [])
                if self._wake_r in readable:
                    os.read(self._wake_r, 4096)
                    self._report_ended()
                    continue
                request, fds = receive_frame(self._control)
                if request["op"] == "fork":
                    self._fork(request["environment"], *fds)
                else:
                    self._reap(request["pid"])
        except (EOFError, ConnectionError):
            pass
        finally:
            for pid in self._running:
                kill_group(pid)

    def _fork(self, environment: dict[str, str], socket_fd: int, log_fd: int) -> None:
        server_pid = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            send_frame(self._control, {"event": "refused", "reason": str(error)})
        else:
            if pid == 0:
                self._become_cell(environment, socket_fd, log_fd, server_pid)
            self._running.add(pid)
            send_frame(self._control, {"event": "started", "pid": pid})
        os.close(socket_fd)
        os.close(log_fd)

    def _become_cell(self, environment: dict[str, str], socket_fd: int, log_fd: int, server_pid: int) -> NoReturn:
        """In the child: undo everything that is the server's, then run the target. Never returns."""
        try:
            die_with_parent(server_pid)
            os.setsid()
            os.environ.clear()
            os.environ.update(environment)
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            restore_scheduling(oom_score=CELL_OOM_SCORE)
            with Path(os.devnull).open("rb") as nothing:
                os.dup2(nothing.fileno(), 0)
            os.dup2(log_fd, 1)
            os.dup2(log_fd, 2)
            for fd in set(open_files()) - self._keep_open - {socket_fd}:
                with contextlib.suppress(OSError):
                    os.close(fd)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        run_target(self._target, socket_fd)

    def _report_ended(self) -> None:
        for pid in sorted(self._running):
            ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if ended is not None:
                self._running.discard(pid)
                self._ended.add(pid)
                send_frame(self._control, {"event": "ended", "pid": pid, "status": asdict(ExitStatus.of(ended))})

    def _reap(self, pid: int) -> None:
        os.waitpid(pid, 0)  # at once: its end was reported
        self._ended.discard(pid)
        if self._running:
            return
        for orphan in set(tree_of(os.getpid())) - self._ended - {os.getpid()}:  # left by the cell, and adopted
            kill_group(orphan)
            with contextlib.suppress(ChildProcessError):  # its parent still lives, and will be killed too
                os.waitpid(orphan, os.WNOHANG)


def main() -> None:
    control_fd, told = int(sys.argv[1]), json.loads(sys.argv[2])
    die_with_parent(told["parent"])
    adopt_orphans()
    restore_scheduling(oom_score=0)
    set_name("greenray-forks")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the worker's to answer

    failed = preload(told["modules"])
    hazards = fork_hazards(settle=told["settle"], device_prefixes=told["device_prefixes"])
    gc.collect()
    gc.freeze()  # else a child's first collection writes to, and so copies, every page that holds an object
    sys.stdout.flush()
    sys.stderr.flush()

    control = socket.socket(fileno=control_fd)
    server = Server(control=control, target=told["target"])
    origin = str(Path(greenray.__file__).resolve())
    send_frame(control, {"event": "ready", "origin": origin, "failed": failed, "hazards": hazards})
    server.serve()


if __name__ == "__main__":
    main()

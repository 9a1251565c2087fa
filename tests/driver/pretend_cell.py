"""The process of a cell that computes nothing: it says what a cell says, opens its windows on time, and brings about a fault.

Each function is a target of `greenray.processes.launcher.Spawn`, which starts it in a process of its own. The board is the
one that CUDA_VISIBLE_DEVICES names, as for a real cell; what befalls it goes into the control file of the simulated NVML.
"""

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

from greenray.cell.protocol import CellTask, Channel, Done, Ready, Verdict, Window
from greenray.processes.cores import as_text
from tests import simnvml

CONTROL, STRANGER = "GREENRAY_TEST_CONTROL", "GREENRAY_TEST_STRANGER"
WINDOWS = 3


def quiet(connection: socket.socket) -> int:
    """Nothing happens."""
    return _run(connection)


def busy(connection: socket.socket) -> int:
    """Computes in its windows instead of waiting."""
    return _run(connection, spend=_burn)


def compiles(connection: socket.socket) -> int:
    """Leaves something in its compile caches."""
    caches = Path(os.environ["TORCHINDUCTOR_CACHE_DIR"])
    caches.mkdir(exist_ok=True)
    (caches / "kernel.so").write_bytes(b"kernel")
    return _run(connection)


def reset(connection: socket.socket) -> int:
    """The driver is reloaded in the last steady window."""
    return _run(connection, in_last=lambda: _befall(reset_at=time.monotonic()))


def lost(connection: socket.socket) -> int:
    """The board falls off the bus in the last steady window."""
    return _run(connection, in_last=lambda: _befall(lost_from=time.monotonic()))


def joined(connection: socket.socket) -> int:
    """Another process, a real one that is no child of the cell, has the board too."""
    _befall(processes=f"{os.getpid()}:1,{os.environ[STRANGER]}:1")
    return _run(connection)


def unlisted(connection: socket.socket) -> int:
    """NVML lists processes that live here, but not the cell: its pids are of another namespace."""
    _befall(processes="1:1")
    return _run(connection)


def elsewhere(connection: socket.socket) -> int:
    """CUDA says that it runs on another board."""
    return _run(connection, uuid="12345678-0000-0000-0000-000000000000")


def unmetered(connection: socket.socket) -> int:
    """RAPL vanishes in the last steady window."""
    return _run(connection, in_last=lambda: _blank("intel-rapl:0/energy_uj"))


def _run(
    connection: socket.socket,
    *,
    spend: Callable[[float], None] = time.sleep,
    in_last: Callable[[], None] | None = None,
    uuid: str | None = None,
) -> int:
    channel = Channel(connection)
    task = channel.receive(timeout_s=60)
    assert isinstance(task, CellTask)
    on_board = task.cell.device == "cuda"
    board = os.environ["CUDA_VISIBLE_DEVICES"].removeprefix("GPU-") if on_board else None
    channel.send(Ready(gpu_uuid=uuid if uuid else board))
    for kind in ("load", "idle"):
        start_s = time.monotonic()
        spend(0.2)
        channel.send(Window(kind=kind, start_s=start_s, end_s=time.monotonic()))
    number, enough = 0, False
    while not enough:
        number += 1
        start_s = time.monotonic()
        spend(task.steady_window_s / 2)
        if number == WINDOWS and in_last is not None:
            in_last()
        spend(task.steady_window_s / 2)
        channel.send(Window(kind="steady", start_s=start_s, end_s=time.monotonic(), samples=320, iterations=10))
        answer = channel.receive(timeout_s=30)
        assert isinstance(answer, Verdict)
        enough = answer.enough
    settings = {"cores": as_text(os.sched_getaffinity(0))}
    channel.send(Done(model_family="resnet", dtype="float32", labels=[0, 1], predictions=[0, 1], settings=settings))
    return 0


def _burn(seconds: float) -> None:
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s:
        sum(range(2000))


def _befall(**changes: object) -> None:
    """Changes this cell's board; lines are only ever added, so that boards do not undo each other's faults."""
    uuid = os.environ["CUDA_VISIBLE_DEVICES"]
    index = next(number for number in range(32) if simnvml.uuid_of(number) == uuid)
    lines = "".join(f"{index}.{key}={value}\n" for key, value in changes.items())
    with Path(os.environ[CONTROL]).open("a") as control:
        control.write(lines)


def _blank(file: str) -> None:
    emptied = Path(os.environ["GREENRAY_POWERCAP_ROOT"]) / file
    while emptied.stat().st_size:  # its writer may be in the middle of a write
        emptied.write_text("")
        time.sleep(0.02)

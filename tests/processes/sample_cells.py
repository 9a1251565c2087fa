"""Cells for the tests: each is the target of a cell process, behaves in one particular way, and gives the exit code."""

import ctypes
import functools
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from greenray.cell.protocol import Channel, Done, Failed, Ready, Settle, Settled, Window


def over_channel(cell: Callable[[Channel], int]) -> Callable[[socket.socket], int]:
    """What a cell process calls, of a function that speaks over a Channel."""

    @functools.wraps(cell)
    def main(connection: socket.socket) -> int:
        return cell(Channel(connection))

    return main


@over_channel
def returns(channel: Channel) -> int:
    print("all is well")
    channel.send(Done(accuracy=0.5))
    return 0


@over_channel
def raises(channel: Channel) -> int:
    raise ValueError("no such luck")


@over_channel
def leaves(channel: Channel) -> int:
    sys.exit("I leave")


@over_channel
def fails(channel: Channel) -> int:
    channel.send(Failed(status="unsupported", error="this tactic needs a board"))
    return 1


@over_channel
def has_no_model(channel: Channel) -> int:
    channel.send(Failed(status="failed", error="model a/b is gone", resource=True))
    return 1


@over_channel
def may_not_have_its_model(channel: Channel) -> int:
    channel.send(Failed(status="failed", error="model a/b is gated", refused=True, resource=True))
    return 1


@over_channel
def fails_and_crashes(channel: Channel) -> int:
    channel.send(Failed(status="oom", error="out of memory"))
    os.kill(os.getpid(), signal.SIGABRT)
    return 1


@over_channel
def exits_with_3(channel: Channel) -> int:
    return 3


@over_channel
def segfaults(channel: Channel) -> int:
    ctypes.string_at(0)
    return 0


@over_channel
def ends_by_sigkill(channel: Channel) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


@over_channel
def crashes_after_its_result(channel: Channel) -> int:
    channel.send(Done())
    os.kill(os.getpid(), signal.SIGBUS)
    return 0


@over_channel
def lingers_after_its_result(channel: Channel) -> int:
    channel.send(Done())
    threading.Event().wait()
    return 0


@over_channel
def allocates_without_end(channel: Channel) -> int:
    held = []
    while True:
        held.append(bytearray(os.urandom(4096)) * 1024)


@over_channel
def has_a_child_that_allocates(channel: Channel) -> int:
    subprocess.run([sys.executable, "-c", "held = []\nwhile True: held.append(bytearray(b'xyz') * (1 << 21))"], check=False)
    return 0


@over_channel
def hangs(channel: Channel) -> int:
    channel.send(Ready())
    threading.Event().wait()
    return 0


@over_channel
def ignores_sigterm(channel: Channel) -> int:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.kill(os.getpid(), signal.SIGTERM)
    channel.send(Ready())
    threading.Event().wait()
    return 0


@over_channel
def holds_the_gil(channel: Channel) -> int:
    channel.send(Ready())
    ctypes.PyDLL(None).sleep(1000)
    return 0


@over_channel
def stops_itself(channel: Channel) -> int:
    channel.send(Ready())
    os.kill(os.getpid(), signal.SIGSTOP)
    return 0


def sends_nonsense(connection: socket.socket) -> int:
    connection.sendall(b'{"type": "gossip"}\n')
    threading.Event().wait()
    return 0


@over_channel
def converses(channel: Channel) -> int:
    channel.send(Window(kind="load", start_s=1.0, end_s=2.0))
    channel.send(Settle())
    answer = channel.receive(timeout_s=10)
    assert isinstance(answer, Settled)
    channel.send(Done(settings={"steady": answer.steady}))
    return 0


@over_channel
def describes_itself(channel: Channel) -> int:
    channel.send(Done(settings=self_description()))
    return 0


def self_description() -> dict[str, Any]:
    return {
        "environment": dict(os.environ),
        "ignored_signals": [n.name for n in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(n) == signal.SIG_IGN],
        "blocked_signals": [int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, [])],
        "leads_session": os.getsid(0) == os.getpid() == os.getpgid(0),
        "niceness": os.getpriority(os.PRIO_PROCESS, 0),
        "stdin": str(Path("/proc/self/fd/0").readlink()),
        "stdout": str(Path("/proc/self/fd/1").readlink()),
        "open_files": sorted(os.path.basename(str(fd.readlink())) for fd in Path("/proc/self/fd").iterdir() if fd.exists()),  # noqa: PTH119
        "ray_imported": "ray" in sys.modules,
        "threads": threading.active_count(),
    }


def _start_helpers() -> list[int]:
    """A child, a grandchild in its own session that called exec, and one that did not; returns their pids."""
    plain = subprocess.Popen(["sleep", "300"])
    session = subprocess.Popen(["sleep", "300"], start_new_session=True)
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if (grandchild := os.fork()) == 0:
            threading.Event().wait()
        os.write(writer, str(grandchild).encode())
        os._exit(0)
    os.wait()
    return [plain.pid, session.pid, int(os.read(reader, 32))]


@over_channel
def leaves_helpers(channel: Channel) -> int:
    channel.send(Done(settings={"pids": _start_helpers()}))
    return 0


@over_channel
def leaves_a_helper_without_mark(channel: Channel) -> int:
    helper = subprocess.Popen(["sleep", "300"], env={"PATH": os.environ["PATH"]}, start_new_session=True)
    channel.send(Done(settings={"pids": [helper.pid]}))
    return 0


@over_channel
def hangs_with_helpers(channel: Channel) -> int:
    """Holds the GIL, so that nothing in the cell itself can notice the death of others."""
    channel.send(Done(settings={"pids": _start_helpers()}))
    ctypes.PyDLL(None).sleep(1000)
    return 0


@over_channel
def computes_with_torch(channel: Channel) -> int:
    import torch

    x = torch.ones(256, 256)
    total = float((x @ x).sum())
    batch = torch.randn(64, 64)

    def wave(x: torch.Tensor) -> torch.Tensor:
        return x.sin() + 1

    agrees = torch.allclose(wave(batch), torch.compile(wave)(batch), atol=1e-5)
    channel.send(Done(settings={"total": total, "agrees": agrees}))
    return 0

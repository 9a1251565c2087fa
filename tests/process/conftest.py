import os
import select
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from greenray.sweep.launcher import ForkServer, Launcher, Spawn

LIGHT = ("greenray.workload.messages", "sample_cells")
FOLDER = Path(__file__).parent


def wait_until_dead(pid: int, *, timeout_s: float) -> bool:
    """Whether the process, no matter whose child it is, ends in time."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([pidfd], [], [], timeout_s)[0])
    finally:
        os.close(pidfd)


def all_dead(pids: list[int], *, timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    return all(wait_until_dead(pid, timeout_s=max(0.0, deadline - time.monotonic())) for pid in pids)


@pytest.fixture(params=["fork", "spawn"])
def launch(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Launcher]]:
    """Opens a launcher, of either kind, for a function of sample_cells."""
    opened: list[Launcher] = []

    def open_for(function: str) -> Launcher:
        target = f"sample_cells:{function}"
        launcher = ForkServer(target=target, preload=LIGHT) if request.param == "fork" else Spawn(target=target)
        opened.append(launcher)
        return launcher

    yield open_for
    for launcher in opened:
        launcher.close()

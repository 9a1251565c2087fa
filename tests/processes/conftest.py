"""Launchers of either kind."""

from collections.abc import Callable, Iterator

import pytest

from greenray.processes.launcher import ForkServer, Launcher, Spawn
from tests.support.processes import LIGHT


@pytest.fixture(params=["fork", "spawn"])
def launch(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Launcher]]:
    """Opens a launcher, of either kind, for a function of sample_cells."""
    opened: list[Launcher] = []

    def open_for(function: str) -> Launcher:
        target = f"tests.processes.sample_cells:{function}"
        launcher = ForkServer(target=target, preload=LIGHT) if request.param == "fork" else Spawn(target=target)
        opened.append(launcher)
        return launcher

    yield open_for
    for launcher in opened:
        launcher.close()

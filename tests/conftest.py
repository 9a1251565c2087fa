"""What several rooms of tests share."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from greenray.processes.forkserver import ForkServer
from greenray.processes.launcher import Launcher, Spawn
from tests.simnvml import build
from tests.support import ROOT
from tests.support.processes import LIGHT


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB, to be filled up."""
    mount = tmp_path / "small"
    mount.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(mount)], capture_output=True, text=True, check=False
    )
    if made.returncode != 0:
        pytest.skip(f"mounting a small file system needs privileges: {made.stderr.strip()}")
    yield mount
    subprocess.run(["umount", "-l", str(mount)], check=True)


@pytest.fixture(scope="session")
def simnvml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The simulated NVML, built once a session."""
    return build(tmp_path_factory.mktemp("simnvml"))


@pytest.fixture(scope="session")
def python() -> Callable[..., str]:
    """Runs a script in a fresh interpreter (NVML is loaded once a process) and returns its standard output."""

    def run(code: str, *arguments: object, env: dict[str, str] | None = None, timeout_s: float = 60) -> str:
        environ = {**os.environ, "PYTHONPATH": str(ROOT), **(env or {})}
        command = [sys.executable, "-c", code, *map(str, arguments)]
        result = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=timeout_s)
        assert result.returncode == 0, result.stderr
        return result.stdout

    return run


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

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.simnvml import build

ROOT = Path(__file__).parents[2]


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

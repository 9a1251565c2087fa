"""The check as tests run it: on simulated boards, with the stand-in for a load, in its own process."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests import simnvml
from tests.gpu_check.load import ROOT
from tests.support.plugins.pretend_cuda import BOARDS
from tests.support.running import PLUGINS

WAVES = "tests.gpu_check.waves:open_load"
PLAIN = simnvml.Board(jitter_ms=0.5, more={"instant_ms": 40})


@dataclass(frozen=True, kw_only=True)
class Ended:
    code: int
    took_s: float
    said: str
    out: Path
    data: dict[str, Any]

    def section(self, number: int) -> dict[str, Any]:
        return self.data["sections"][str(number)]


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "tests.gpu_check.check", *map(str, arguments)]


def environment(folder: Path, library: Path, *boards: simnvml.Board, **more: Any) -> dict[str, str]:
    folder.mkdir(parents=True, exist_ok=True)
    kept = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    return {
        **kept,
        **simnvml.environment(library, boards=boards, control=folder / "control", **more),
        "PYTHONPATH": str(ROOT),
    }


def with_cells(env: Mapping[str, str]) -> dict[str, str]:
    """The same, with one board in which the torch of a forked cell believes."""
    return {**env, "PYTHONPATH": f"{PLUGINS}:{ROOT}", BOARDS: simnvml.uuid_of(0)}


def check(folder: Path, env: Mapping[str, str], *arguments: object, load: str = WAVES) -> Ended:
    out = folder / "out"
    started_s = time.monotonic()
    done = subprocess.run(
        command("--out", out, "--load", load, *arguments), env=env, capture_output=True, text=True, timeout=150, check=False
    )
    assert "Traceback" not in done.stderr, done.stderr
    file = out / "gpu-check.json"
    data = json.loads(file.read_text()) if file.exists() else {}
    return Ended(code=done.returncode, took_s=time.monotonic() - started_s, said=done.stdout, out=out, data=data)

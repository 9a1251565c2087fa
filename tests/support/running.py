"""Runs the real `greenray` in a process of its own, with deadlines, and looks at what it leaves behind."""

import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import polars as pl
import pytest
import yaml

from greenray.cli.app import main
from greenray.store import reader
from tests.support.processes import of_sweep as of_sweep
from tests.support.processes import wait_until as wait_until

PLUGINS = Path(__file__).parent / "plugins"
COMMAND = (sys.executable, "-m", "greenray.cli.app")
QUICK: dict[str, float] = {
    "window_s": 0.1,
    "min_windows": 2,
    "max_windows": 2,
    "min_counter_updates": 1,
    "idle_s": 0.1,
    "warmup_max_s": 0.3,
    "target_ci": 0.5,
    "quiet_wait_s": 0,  # tests run beside each other
}
TINY_TRAINING = {
    "name": "train",
    "phase": "training",
    "models": [{"architecture": "resnet", "preset": "tiny"}],
    "datasets": [{"id": "digits", "samples": 64}],
    "epochs": 1,
    "batch_sizes": [32],
}


def tiny_serving(*tactics: Any, **changes: Any) -> dict[str, Any]:
    return {
        "name": "serve",
        "phase": "inference",
        "models": [{"from": "train"}],
        "datasets": [{"id": "digits", "samples": 32}],
        "tactics": list(tactics),
        "batch_sizes": [16],
        "rounds": 1,
        **changes,
    }


def write_config(folder: Path, *experiments: Mapping[str, Any], name: str = "t", **changes: Any) -> Path:
    path = folder / f"{name}.yaml"
    data = {"name": name, "experiments": [dict(e) for e in experiments], "measure": QUICK, **changes}
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    return path


@dataclass(frozen=True, kw_only=True)
class Ended:
    code: int
    out: str
    err: str


def environment(arguments: Sequence[str], extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """What the command gets: the tests' tactics, and its own arguments, by which `of_sweep` finds all that it started."""
    path = os.pathsep.join([str(PLUGINS), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path, "COLUMNS": "200", "GREENRAY_TEST": " ".join(arguments), **(extra or {})}


def greenray(*arguments: str | Path, timeout_s: float = 150.0, env: Mapping[str, str] | None = None) -> Ended:
    """Run a command to its end; a traceback on its stderr is a failure."""
    with started(*arguments, env=env) as process:
        out, err = process.communicate(timeout=timeout_s)
    assert "Traceback" not in err, err
    return Ended(code=process.returncode, out=out, err=err)


@contextmanager
def started(*arguments: str | Path, env: Mapping[str, str] | None = None) -> "Iterator[subprocess.Popen[str]]":
    """A running command in a session of its own; killed at the end if it still runs."""
    process = subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        env=environment([str(a) for a in arguments], env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def sentence(*arguments: str | Path, parts: tuple[str, ...]) -> None:
    """The command, in this process: it ends before it starts any other."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", ["greenray", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
    said = err.getvalue()
    assert ended.value.code == 2, out.getvalue() + said
    assert said.startswith("greenray: ")
    assert said.count("\n") == 1
    for part in parts:
        assert part in said
    assert "ray" not in sys.modules or not sys.modules["ray"].is_initialized()


class Gate:
    """Holds cells of the tactic `misbehave: {how: wait}` until the test lets them on; `env` tells them where it is."""

    WAIT: ClassVar = {"misbehave": {"how": "wait"}}

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.close()
        self.env = {"GREENRAY_TEST_GATE": str(folder)}

    def close(self) -> None:
        """Hold those that come from now on."""
        self._folder.mkdir(exist_ok=True)
        for name in ("arrived", "open"):
            (self._folder / name).unlink(missing_ok=True)

    def arrival(self) -> None:
        """Wait until a cell waits."""
        wait_until((self._folder / "arrived").exists, timeout_s=120, what="a cell at the gate")

    def open(self) -> None:
        (self._folder / "open").touch()


def cells(out: Path) -> pl.DataFrame:
    return reader.scan(out, table="cells").sort("started_at").collect()

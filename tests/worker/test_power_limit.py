"""Cells under a power limit in a real sweep on a simulated board: what their rows say, and what kill -9 leaves to be undone."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from greenray.gpu.power_limit import STATE
from greenray.store import reader
from tests import simnvml
from tests.support.plugins import pretend_cuda
from tests.support.processes import left_of_sweep, of_sweep
from tests.support.running import QUICK, Gate, cells, greenray, sentence, started, write_config

SERVING: dict[str, Any] = {
    "name": "serve",
    "phase": "inference",
    "models": [{"architecture": "resnet", "preset": "tiny"}],
    "datasets": [{"id": "digits", "samples": 16}],
    "batch_sizes": [8],
    "devices": ["cuda"],
    "rounds": 1,
}
LIMITED = {"power-limit": {"watts": 210}}

pytestmark = pytest.mark.timeout(300)


def environment(folder: Path, library: Path) -> dict[str, str]:
    """One board of 300 W that is limited to 700 and outlives the processes that set its limit."""
    control = folder / "control"
    control.touch()
    return {
        **simnvml.environment(library, boards=[simnvml.Board(high_w=300)], control=control),
        pretend_cuda.BOARDS: simnvml.uuid_of(0),
        STATE: str(folder / "state"),
    }


def limits_w(folder: Path) -> list[float]:
    entries = (line.partition("0.limit=")[2] for line in (folder / "control").read_text().split())
    return [float(entry.partition("@")[0]) for entry in entries if entry]


def test_a_cell_runs_under_its_limit_and_the_baselines_do_not(tmp_path: Path, simnvml: Path) -> None:
    tactics = [LIMITED, {"power-limit": {"watts": 900}}, {"power-limit": {"watts": 700}}]
    measure = {**QUICK, "window_s": 0.3, "min_counter_updates": 5}
    config = write_config(tmp_path, {**SERVING, "tactics": tactics}, measure=measure, allow_hardware_changes=True)
    ended = greenray("sweep", config, "--out", tmp_path / "out", env=environment(tmp_path, simnvml))
    assert ended.code == 0, ended.out + ended.err
    rows = {(row["tactic"], row["bracket"]): row for row in cells(tmp_path / "out").to_dicts()}
    assert len(rows) == 5
    limited = rows.pop(("power-limit_watts-210.0", None))
    assert (limited["status"], limited["power_limit_w"]) == ("ok", 210)
    assert json.loads(limited["evidence"])["power-limit"] == {
        "limit_w": 210.0,
        "limit_before_w": 700.0,
        "limit_default_w": 700.0,
    }
    beyond, same = rows.pop(("power-limit_watts-900.0", None)), rows.pop(("power-limit_watts-700.0", None))
    assert (beyond["status"], same["status"]) == ("unsupported", "not_applied")
    assert "100 to 700 W" in beyond["error"]
    assert {row["power_limit_w"] for row in (beyond, same, *rows.values())} == {700}
    windows = reader.scan(tmp_path / "out", table="windows").filter(pl.col("kind") == "steady").collect()
    for window in windows.to_dicts():
        drawn_w = 210 if window["run_id"] == limited["run_id"] else 300
        assert window["gpu_energy_j"] / window["duration_s"] == pytest.approx(drawn_w, rel=0.1)
    assert limits_w(tmp_path) == [210, 700]
    assert list((tmp_path / "state").iterdir()) == []


def test_a_limit_that_somebody_else_sets_meanwhile_is_in_the_rows_from_then_on(tmp_path: Path, simnvml: Path) -> None:
    config = write_config(tmp_path, {**SERVING, "tactics": [Gate.WAIT]})
    out, gate, env = tmp_path / "out", Gate(tmp_path / "gate"), environment(tmp_path, simnvml)
    with started("sweep", config, "--out", out, env=env | gate.env) as process:
        gate.arrival()
        with (tmp_path / "control").open("a") as control:
            control.write("0.limit=400\n")
        gate.open()
        printed, said = process.communicate(timeout=120)
    assert process.returncode == 0, printed + said
    assert {row["bracket"]: row["power_limit_w"] for row in cells(out).to_dicts()} == {"open": 700, None: 700, "close": 400}


def test_after_kill_9_of_all_of_a_sweep_the_doctor_puts_the_limit_back(tmp_path: Path, simnvml: Path) -> None:
    config = write_config(tmp_path, {**SERVING, "tactics": [[LIMITED, Gate.WAIT]]}, allow_hardware_changes=True)
    out, gate, env = tmp_path / "out", Gate(tmp_path / "gate"), environment(tmp_path, simnvml)
    with started("sweep", config, "--out", out, env=env | gate.env):
        gate.arrival()
        assert limits_w(tmp_path) == [210]
        # As the end of a pod does it, guards first.
        running = of_sweep(out)
        for pid in sorted(running, key=lambda pid: running[pid] != "greenray-reaper"):
            os.kill(pid, signal.SIGKILL)
        assert not left_of_sweep(out, timeout_s=20)
    assert limits_w(tmp_path) == [210]
    examined = greenray("doctor", env=env)
    assert "had been left at 210 W by a run that was killed; it is at 700 W again" in " ".join(examined.out.split())
    assert limits_w(tmp_path) == [210, 700]
    again = greenray("doctor", "--json", env=env)
    assert json.loads(again.out)[0]["restored"] == []


def test_a_config_has_to_allow_it(tmp_path: Path) -> None:
    config = write_config(tmp_path, {**SERVING, "tactics": [[LIMITED, "null-check"]]})
    parts = ("experiment serve", "power-limit", "allow_hardware_changes: true")
    sentence("plan", config, parts=parts)
    sentence("sweep", "--model", "google/vit-base-patch16-224", "--tactics", "power-limit", parts=("allow_hardware_changes",))

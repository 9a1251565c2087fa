"""kill -9 at the worst moments: nothing survives, nothing committed is lost or doubled, the same command finishes the job."""

import os
import signal
from pathlib import Path

import pytest

from tests.support.processes import left_of_sweep, of_sweep
from tests.support.running import TINY_TRAINING, Gate, cells, greenray, started, tiny_serving, write_config

pytestmark = pytest.mark.timeout(300)  # sweeps on a machine that may be busy


def test_nothing_survives_and_the_same_command_finishes(tmp_path: Path) -> None:
    config = write_config(tmp_path, TINY_TRAINING, tiny_serving("baseline", "prune-local", Gate.WAIT))
    out, gate = tmp_path / "out", Gate(tmp_path / "gate")
    kept: set[str] = set()
    for victim in ("raylet", "driver"):  # each in the middle of a visit, with a cell in flight
        gate.close()
        with started("sweep", config, "--out", out, env=gate.env) as driver:
            gate.arrival()
            assert kept < set(cells(out)["run_id"])
            kept = set(cells(out)["run_id"])
            (raylet,) = [pid for pid, comm in of_sweep(out).items() if comm == "raylet"]
            os.kill(driver.pid if victim == "driver" else raylet, signal.SIGKILL)
            # A driver that lives keeps its reaper; of one that was killed nothing is left, Ray's own processes included.
            names = ("greenray-cell", "greenray-forks") if victim == "raylet" else ()
            assert not left_of_sweep(out, *names, timeout_s=20)
        assert not left_of_sweep(out, timeout_s=20)
    gate.open()
    ended = greenray("sweep", config, "--out", out, env=gate.env)
    assert ended.code == 0, ended.err + ended.out
    rows = cells(out)
    assert kept < set(rows["run_id"])
    settled = rows.filter((rows["status"] == "ok") & rows["bracket"].is_null())
    assert settled["cell_id"].n_unique() == settled.height == 3
    assert set(rows.filter(rows["bracket"].is_not_null())["visit"]) == {1, 2, 3}


def test_ctrl_c_twice_stops_now(tmp_path: Path) -> None:
    fresh = {"models": [{"architecture": "resnet", "preset": "tiny"}]}
    config = write_config(tmp_path, tiny_serving("baseline", Gate.WAIT, **fresh))
    out, gate = tmp_path / "out", Gate(tmp_path / "gate")
    with started("sweep", config, "--out", out, env=gate.env) as driver:
        gate.arrival()
        os.kill(driver.pid, signal.SIGINT)
        assert driver.stdout is not None
        assert any("finishing the cells in flight" in line for line in driver.stdout)  # two signals at once would count as one
        os.kill(driver.pid, signal.SIGINT)
        _, err = driver.communicate(timeout=60)
        assert driver.returncode == 130
        assert "Traceback" not in err
    assert not left_of_sweep(out, timeout_s=20)
    assert cells(out).select("bracket", "status").rows() == [("open", "ok")]
    assert (out / "report.html").exists()

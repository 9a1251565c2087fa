"""kill -9 at the worst moments: nothing survives, nothing committed is lost or doubled, the same command finishes the job."""

import os
import signal
import time
from pathlib import Path

import pytest

from tests.support.running import (
    TINY_TRAINING,
    cells,
    committed,
    greenray,
    of_sweep,
    started,
    tiny_serving,
    wait_until,
    write_config,
)


def processes_named(out: Path, name: str) -> list[int]:
    return [pid for pid, comm in of_sweep(out).items() if comm.startswith(name)]


def gone(out: Path, *names: str) -> None:
    """Within two seconds nothing of the sweep whose name begins with one of `names` is alive."""
    deadline = time.monotonic() + 2
    while left := [comm for comm in of_sweep(out).values() if comm.startswith(names)]:
        assert time.monotonic() < deadline, left
        time.sleep(0.02)


@pytest.mark.parametrize("victim", ["driver", "raylet"])
def test_nothing_survives_and_the_same_command_finishes(tmp_path: Path, victim: str) -> None:
    config = write_config(tmp_path, TINY_TRAINING, tiny_serving("baseline", "prune-local", "prune-global"))
    out = tmp_path / "out"
    with started("sweep", config, "--out", out) as driver:
        # In the middle: the training and the opening baseline are committed, a cell is running.
        wait_until(
            lambda: committed(out) >= 2 and processes_named(out, "greenray-cell"), timeout_s=120, what="a cell of the visit"
        )
        before = cells(out)["run_id"].to_list()
        pid = driver.pid if victim == "driver" else processes_named(out, "raylet")[0]
        os.kill(pid, signal.SIGKILL)
        # A driver that lives keeps its reaper; of one that was killed nothing is left, Ray's own processes included.
        gone(out, *(["greenray-cell", "greenray-forks"] if victim == "raylet" else [""]))
    gone(out, "")
    ended = greenray("sweep", config, "--out", out)
    assert ended.code == 0, ended.err + ended.out
    rows = cells(out)
    assert set(before) <= set(rows["run_id"])
    settled = rows.filter((rows["status"] == "ok") & rows["bracket"].is_null())
    assert settled["cell_id"].n_unique() == settled.height == 3
    assert set(rows.filter(rows["bracket"].is_not_null())["visit"]) == {1, 2}


def test_ctrl_c_once_finishes_the_cell_in_flight_and_twice_stops_now(tmp_path: Path) -> None:
    config = write_config(tmp_path, TINY_TRAINING, tiny_serving("baseline", "prune-local", {"misbehave": {"how": "hang"}}))
    out = tmp_path / "out"
    with started("sweep", config, "--out", out) as driver:
        wait_until(lambda: processes_named(out, "greenray-cell"), timeout_s=120, what="the first cell")
        os.kill(driver.pid, signal.SIGINT)
        text, err = driver.communicate(timeout=60)
        assert driver.returncode == 130
        assert "Traceback" not in err
        assert "the same command goes on" in text
    assert cells(out)["status"].to_list() == ["ok"]
    assert (out / "report.html").exists()
    with started("sweep", config, "--out", out) as driver:
        wait_until(lambda: processes_named(out, "greenray-cell") and committed(out) >= 2, timeout_s=120, what="a cell")
        os.kill(driver.pid, signal.SIGINT)
        assert driver.stdout is not None
        assert any("finishing the cells in flight" in line for line in driver.stdout)  # two signals at once would count as one
        os.kill(driver.pid, signal.SIGINT)
        wait_until(lambda: driver.poll() is not None, timeout_s=30, what="the end of the driver")
        assert driver.returncode == 130
    wait_until(lambda: not of_sweep(out), timeout_s=10, what="the end of every process")

"""A real sweep on a host that is never quiet: it waits a little, says who is busy, ends, and claims nothing."""

from pathlib import Path

import polars as pl
import pytest

from greenray.store import reader
from tests.support.burning import running
from tests.support.running import QUICK, Ended, cells, greenray, tiny_serving, write_config


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ended]:
    folder = tmp_path_factory.mktemp("busy")
    serving = tiny_serving("prune-local", models=[{"architecture": "resnet", "preset": "tiny"}], rounds=3)
    # The first wait is as long as several looks at the worker, whoever else computes here; the next ones are ever shorter.
    measure = QUICK | {"quiet_wait_s": 5, "min_windows": 1, "max_windows": 1}
    config = write_config(folder, serving, measure=measure)
    with running():
        return folder / "out", greenray("sweep", config, "--out", folder / "out")


def test_it_waits_says_for_whom_and_ends_without_a_claim(busy: tuple[Path, Ended]) -> None:
    out, ended = busy
    assert ended.code == 0, ended.out + ended.err
    assert "waits for a quiet host: " in ended.out
    assert "CPUs busy" in ended.out
    assert "no claims" in ended.out
    assert "not told: host busy in 3 of 3 rounds" in ended.out
    assert "Clear:" not in ended.out
    assert cells(out)["status"].unique().to_list() == ["ok"]


def test_its_windows_say_why_they_were_taken_again_and_used_in_the_end(busy: tuple[Path, Ended]) -> None:
    steady = reader.scan(busy[0], table="windows").filter(pl.col("kind") == "steady").collect()
    assert steady["contention"].null_count() == 0
    assert (steady["neighbours_busy"] > 0.15).all()
    assert steady["rejected"].null_count() == steady.height
    per_cell = steady.group_by("run_id").len()["len"]
    assert per_cell.unique().to_list() == [2]  # the one that was wanted, and one more
    assert all("used all the same" in " ".join(reasons) for reasons in steady["grade_reasons"])

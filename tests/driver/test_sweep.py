"""A sweep from config to report, and extended; with real cells on this host's CPU."""

import json
from pathlib import Path

import polars as pl
import pytest

from greenray.store import reader
from tests.support.running import TINY_TRAINING, Ended, cells, greenray, tiny_serving, write_config
from tests.support.starved import starved

NO_RAPL = {"GREENRAY_POWERCAP_ROOT": "/nonexistent"}  # whatever this host has


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Ended]:
    folder = tmp_path_factory.mktemp("sweep")
    config = write_config(folder, TINY_TRAINING, tiny_serving("baseline", "prune-local", {"misbehave": {"how": "raise"}}))
    out = folder / "out"
    return config, out, greenray("sweep", config, "--out", out, env=NO_RAPL)


def test_every_attempt_is_a_row_that_says_what_happened(finished: tuple[Path, Path, Ended]) -> None:
    _, out, ended = finished
    assert ended.code == 1, ended.err + ended.out
    rows = cells(out)
    found = sorted(rows.select("tactic", "bracket", "attempt", "status").rows(), key=str)
    assert found == [
        ("baseline", "close", 1, "ok"),
        ("baseline", "open", 1, "ok"),
        ("baseline", None, 1, "ok"),
        ("misbehave", None, 1, "failed"),
        ("misbehave", None, 2, "failed"),
        ("prune-local", None, 1, "ok"),
    ]
    bad = rows.filter(pl.col("tactic") == "misbehave")
    assert set(bad["error_kind"]) == {"exception"}
    assert all("on purpose" in error for error in bad["error"])
    assert bad["energy_j"].null_count() == 0
    assert rows.filter(pl.col("status") == "ok")["error"].null_count() == 4


def test_visits_are_in_order_and_brackets_carry_their_visit(finished: tuple[Path, Path, Ended]) -> None:
    visit = cells(finished[1]).filter(pl.col("order_in_visit").is_not_null())
    assert visit["order_in_visit"].is_sorted()
    assert (visit["bracket"][0], visit["bracket"][-1]) == ("open", "close")
    assert set(visit["visit"].drop_nulls()) == {1}


def test_windows_are_measured_on_the_cells_clock(finished: tuple[Path, Path, Ended]) -> None:
    _, out, _ = finished
    windows = reader.scan(out, table="windows").sort("run_id", "window").collect()
    kinds = windows.join(cells(out).select("run_id", "phase", "status"), on="run_id")
    served = kinds.filter((pl.col("phase") == "inference") & (pl.col("status") == "ok"))
    assert {"data", "load", "idle", "optimize", "warmup", "steady", "evaluate"} <= set(served["kind"])
    assert "epoch" in set(kinds.filter(pl.col("phase") == "training")["kind"])
    steady = served.filter(pl.col("kind") == "steady")
    assert (steady["duration_s"] >= 0.1).all()
    assert (steady["samples"] > 0).all()
    spoiled = [starved(reasons) for reasons in steady["grade_reasons"]]
    assert not all(spoiled)
    steady = steady.filter(~pl.Series(spoiled))
    assert steady.select("total_energy_j", "active_energy_j", "cpu_active_energy_j").null_count().row(0) == (0, 0, 0)
    assert (steady["total_energy_j"] > 0).all()
    # Without a board there is nothing to settle, and idle is the host's: the cell had it to itself.
    boardless = served.filter(pl.col("gpu_uuid").is_null())
    assert boardless["gpu_idle_settled"].null_count() == boardless["gpu_idle_w"].null_count() == boardless.height
    idle_j = steady["cpu_idle_w"] * steady["duration_s"]
    assert (steady["cpu_energy_j"] - idle_j - steady["cpu_active_energy_j"]).abs().max() < 1e-9
    assert ((steady["active_energy_j"] > 0) & (steady["active_energy_j"] < steady["total_energy_j"])).all()
    # Without a meter the energy is a model's, and says so; `test_wall_meter` has a host with one.
    assert set(steady["cpu_energy_source"]) == {"modelled"}
    assert set(steady["grade"]) == {"D"}
    assert (steady["modelled_energy_j"] - steady["cpu_energy_j"]).abs().max() == 0.0


def test_predictions_and_accuracy_agree(finished: tuple[Path, Path, Ended]) -> None:
    _, out, _ = finished
    rows = cells(out).filter(pl.col("status") == "ok")
    predictions = reader.scan(out, table="predictions").collect()
    shares = predictions.group_by("run_id").agg(share=(pl.col("label") == pl.col("prediction")).mean(), count=pl.len())
    both = rows.join(shares, on="run_id")
    assert both.height == rows.height
    assert (both["share"] - both["accuracy"]).abs().max() < 1e-12
    assert (both["count"] == both["samples_evaluated"]).all()


def test_the_report_is_there_and_the_terminal_says_where(finished: tuple[Path, Path, Ended]) -> None:
    _, out, ended = finished
    assert "prune-local" in ended.out
    assert str(out / "report.html") in ended.out.replace("\n", "")
    assert "<html" in (out / "report.html").read_text()
    assert (out / "report.md").exists()
    manifest = json.loads((out / "manifests" / "t.json").read_text())
    assert {c["tactic"] for c in manifest["cells"]} == {"baseline", "prune-local", "misbehave"}


def test_status_says_how_far_it_is_and_what_went_wrong(finished: tuple[Path, Path, Ended]) -> None:
    ended = greenray("status", finished[1])
    assert ended.code == 0
    assert "3 of 3 cells settled" in ended.out
    assert "on purpose" in ended.out


def test_a_finished_store_grows_by_a_model_and_nothing_is_measured_again(finished: tuple[Path, Path, Ended]) -> None:
    config, out, _ = finished
    before = cells(out)
    training = {**TINY_TRAINING, "models": [*TINY_TRAINING["models"], {"architecture": "mobilenet_v2", "preset": "tiny"}]}
    write_config(config.parent, training, tiny_serving("baseline", "prune-local"))
    plan = greenray("plan", config, "--out", out)
    assert "4 cells in 4 blocks, 2 done; device auto is cpu (as in the store)" in plan.out
    assert "4 cells to run, brackets included; time, kWh and cost unknown (4 of a kind not measured in" in plan.out
    ended = greenray("sweep", config, "--out", out, env=NO_RAPL)
    assert ended.code == 0, ended.err + ended.out
    assert "2 of 4 cells are settled already, 2 to run, 2 of them new in the config" in ended.out
    assert set(before["run_id"]) < set(cells(out)["run_id"])
    new = cells(out).join(before, on="run_id", how="anti")
    assert set(new["model"]) == {"mobilenet_v2-tiny"}
    assert sorted(new.select("phase", "tactic", "bracket", "visit", "status").rows(), key=str) == [
        ("inference", "baseline", "close", 1, "ok"),
        ("inference", "baseline", "open", 1, "ok"),
        ("inference", "prune-local", None, 1, "ok"),
        ("training", "baseline", None, None, "ok"),
    ]
    plan = greenray("plan", config, "--out", out)
    assert "nothing left to run" in plan.out

"""What cannot be had: the end of a sweep, or where the config says so rows that tell why, beside those of the others."""

from pathlib import Path

import polars as pl
import pytest

from greenray.driver.plan import Schedule
from greenray.driver.refusals import check_names
from greenray.errors import ResourceError
from greenray.tasks import hub
from tests.driver.pretend_pool import config_of, plan_of, result_of, serve
from tests.support.running import cells, greenray, write_config

HERE = {"architecture": "vit", "preset": "tiny"}
BOTH = serve("prune-local", models=[HERE, "./gone"])


def refused(**more: object) -> object:
    return check_names(config_of(BOTH, folder="/nowhere", **more))


def test_the_first_ends_the_sweep_unless_it_is_to_be_recorded() -> None:
    with pytest.raises(ResourceError, match=r"\./gone"):
        refused()
    assert "there is no folder /nowhere/gone" in refused(refusals="record").sentences[0]


def test_a_hub_that_cannot_be_reached_ends_it_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody_answers(*_: object, **__: object) -> None:
        raise hub.Unreachable("the hub cannot be reached.")

    monkeypatch.setattr(hub, "find_model", nobody_answers)
    config = config_of(serve("prune-local", models=["a/b"]), refusals="record")
    with pytest.raises(ResourceError, match="cannot be reached"):
        check_names(config)


def test_its_cells_are_told_once_and_tried_again_by_the_next_run() -> None:
    absent = refused(refusals="record")
    plan = plan_of(BOTH, folder="/nowhere", refused=absent)
    (there, gone) = plan.blocks
    schedule = Schedule(plan)
    assert [visit.block.block_id for visit in schedule.ready()] == [there.block_id]
    ((cell, why),) = schedule.orphans()
    assert (cell.cell_id, why) == (gone.cells[0].cell_id, absent.sentences[0])
    told = [result_of(cell, "failed", error_kind="dependency")]
    assert not Schedule(plan_of(BOTH, folder="/nowhere", refused=absent, results=told)).orphans()
    later = Schedule(plan_of(BOTH, folder="/nowhere", results=told))  # it is there now
    assert gone.block_id in {visit.block.block_id for visit in later.ready()}


def test_a_sweep_beside_a_model_that_is_gone(tmp_path: Path) -> None:
    experiment = serve("prune-local", models=[HERE, "./gone"])
    config = write_config(tmp_path, experiment, refusals="record")
    ended = greenray("sweep", config, "--rehearse", "--out", tmp_path / "out")
    assert ended.code == 1, ended.out + ended.err
    rows = cells(tmp_path / "out")
    assert set(rows.filter(pl.col("model") == "vit-tiny")["status"]) == {"ok"}
    (row,) = rows.filter(pl.col("model") == "./gone").to_dicts()
    assert (row["status"], row["error_kind"]) == ("failed", "dependency")
    assert "there is no folder" in row["error"]
    assert "cannot be had, and its cells are recorded as failed: model ./gone" in ended.out
    assert "Rehearsal: t-rehearsal went once through everything" in (tmp_path / "out" / "report.md").read_text()

"""The row of `cells` as it follows from the windows of an attempt."""

from datetime import UTC, datetime
from typing import Any

import pytest

from greenray.cell.protocol import Done
from greenray.config.load import build
from greenray.config.matrix import expand
from greenray.config.settings import CpuModel
from greenray.power.cpu_reading import CpuReading, HostShare
from greenray.power.estimate.energy import Energy
from greenray.power.sharing import IdlePower
from greenray.power.window import WindowReading
from greenray.worker.assignment import Assignment
from greenray.worker.rows import cell_row
from greenray.worker.supervise import Outcome
from tests.driver.pretend_pool import slot

CPU = CpuReading(energy=Energy(energy_j=1.0), idle=IdlePower(cpu_w=1.0), host_share=HostShare(logical_cores=1, model=CpuModel()))


def row_of(*windows: dict[str, Any], done: Done | None = None, **more: Any) -> dict[str, Any]:
    model = {"architecture": "vit", "preset": "tiny"}
    experiment = {"name": "e", "phase": "inference", "models": [model], "datasets": ["digits"], **more}
    cell = expand(build({"name": "t", "experiments": [experiment]}), auto_device="cpu")[0].cells[0]
    return cell_row(
        Assignment(cell=cell, attempt=1, visit=None, order_in_visit=None, workers_sharing=1),
        info=slot("a").info,
        outcome=Outcome(status="ok", done=done) if done else Outcome(status="failed", error="e", error_kind="exception"),
        windows=[{"duration_s": 1.0, "total_energy_j": 1.0, "rejected": None, **window} for window in windows],
        energy=WindowReading(device="cpu", duration_s=1.0, energy_scope="cpu", cpu=CPU),
        run_id="r",
        started_at=datetime.now(UTC),
        duration_s=1.0,
        threads=1,
        warm=False,
    )


@pytest.mark.parametrize(
    ("windows", "grade"),
    [
        ([("steady", "A", None), ("steady", "B", None)], "B"),
        ([("steady", "A", None), ("steady", "C", "the SM clock went up")], "A"),  # what is not used does not count
        ([("steady", "C", "the SM clock went up")], None),
        ([("epoch", "C", None), ("idle", "D", None)], "C"),
        ([("steady", None, None)], None),
    ],
)
def test_a_cell_is_as_good_as_the_worst_window_that_is_used(windows: list[tuple[str, str, str]], grade: str | None) -> None:
    found = row_of(*({"kind": kind, "grade": of, "rejected": rejected} for kind, of, rejected in windows))
    assert found["grade"] == grade


def test_the_row_says_what_quality_is_and_how_many_samples_are_behind_it() -> None:
    evaluated = {"kind": "evaluate", "grade": "A", "samples": 360}
    found = row_of(evaluated, done=Done(accuracy=12.0))  # without predictions: nothing is right or wrong in perplexity
    assert (found["accuracy"], found["samples_evaluated"]) == (12.0, 360)
    assert found["quality_kind"] == "right-answers"
    assert found["quality_higher_is_better"] is True
    assert found["evaluation_unit"] == found["unit"] == "image"
    assert row_of(done=Done())["samples_evaluated"] is None
    after_an_epoch = {"kind": "evaluate", "grade": "A", "samples": 90}
    assert row_of(after_an_epoch, after_an_epoch, evaluated, done=Done())["samples_evaluated"] == 360  # the finished model's


def test_hyperparameters_that_came_later_are_named_where_they_are_not_the_default() -> None:
    """Trainings are told apart by this text: what was stored before must have the same."""
    before = '{"epochs":3,"learning_rate":0.001,"schedule":"one-cycle","optimizer":"adamw","weight_decay":0.01}'
    training = {"phase": "training", "epochs": 3}
    assert row_of(**training)["hyperparameters"] == row_of(**training, precision="fp32")["hyperparameters"] == before
    named = row_of(**training, precision="bf16", gradient_accumulation=2)["hyperparameters"]
    assert named == before[:-1] + ',"precision":"bf16","gradient_accumulation":2}'

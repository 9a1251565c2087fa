"""Trainings as real attempts: what the worker answers about energy, and what a training that fails leaves behind."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from greenray.cell.preload import CELL_TARGET
from greenray.config.matrix import expand
from greenray.config.settings import CpuModel
from greenray.power.instrument import Instrument
from greenray.processes.launcher import Spawn
from greenray.store import reader
from greenray.store.local import LocalStore
from greenray.worker.caches import CompileCaches
from tests.driver.pretend_pool import config_of
from tests.worker.test_attempt import run

TRAINING: dict[str, Any] = {
    "name": "train",
    "phase": "training",
    "models": [{"architecture": "resnet", "preset": "tiny"}],
    "datasets": ["digits"],
    "samples": 128,
    "epochs": 6,
    "optimizers": ["sgd"],
    "evaluate_each_epoch": True,
    "devices": ["cpu"],
    "rounds": 1,
}
EARLY = {"early-stopping": {"patience": 1, "least_gain": 100.0}}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStore]:
    """A training that ends early, and one whose loss is not finite."""
    folder = tmp_path_factory.mktemp("trained")
    ends_early = {**TRAINING, "tactics": ["baseline", EARLY]}
    diverges = {**TRAINING, "name": "diverge", "learning_rates": [1e30]}
    config = config_of(ends_early, diverges, measure={"idle_s": 1, "quiet_wait_s": 0})
    cells = {cell.tactic_slug + cell.experiment: cell for block in expand(config, auto_device="cpu") for cell in block.cells}
    instrument = Instrument(accelerator=None, hz=50, cpu_model=CpuModel())
    with Spawn(target=CELL_TARGET) as launcher, CompileCaches(parent=folder) as caches:
        kept = {"instrument": instrument, "launcher": launcher, "caches": caches}
        for cell in cells.values():
            run(cell, config=config, out=folder / "out", **kept)
    instrument.close()
    return LocalStore(str(folder / "out"))


def rows(store: LocalStore, table: str, experiment: str) -> list[dict[str, Any]]:
    cells = reader.scan(store, table="cells").collect()
    runs = {row["run_id"] for row in cells.to_dicts() if row["experiment"] == experiment}
    return [
        row
        for row in reader.scan(store, table=table).sort("window" if table == "windows" else "cell_id").collect().to_dicts()
        if row["run_id"] in runs
    ]


@pytest.mark.timeout(90)
def test_a_training_that_asks_is_told_its_joules_and_ends(store: LocalStore) -> None:
    (cell,) = rows(store, "cells", "train")
    windows = rows(store, "windows", "train")
    assert cell["status"] == "ok", cell["error"]
    evidence = json.loads(cell["evidence"])["early-stopping"]
    epochs = [window for window in windows if window["kind"] == "epoch"]
    assert len(epochs) == evidence["epochs"] == 2
    # What it decided by is what its rows say.
    assert evidence["energy_j"] == pytest.approx(sum(window["total_energy_j"] for window in epochs), rel=0.02)
    assert 0 < cell["training_share"] < 2 / 6
    evaluated = [(window["epoch"], window["accuracy"]) for window in windows if window["kind"] == "evaluate"]
    assert [epoch for epoch, _ in evaluated] == [1, 2, None]
    assert evaluated[-1][1] == cell["accuracy"]
    assert cell["samples_evaluated"] == 128


@pytest.mark.timeout(90)
def test_a_loss_that_is_not_finite_leaves_its_energy_and_windows(store: LocalStore) -> None:
    (cell,) = rows(store, "cells", "diverge")
    assert (cell["status"], cell["error_kind"]) == ("failed", "refused")
    assert "training diverged in epoch 1" in cell["error"]
    assert cell["energy_j"] > 0
    *_, last = rows(store, "windows", "diverge")
    assert (last["kind"], last["epoch"], last["loss"], last["accuracy"]) == ("epoch", 1, None, None)
    assert last["total_energy_j"] > 0
    assert cell["training_share"] is None

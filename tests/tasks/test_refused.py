"""What can never succeed: refused before the first cell where that can be seen, else tried once."""

from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from greenray.tasks.image_classification.task import ImageClassification
from tests.support.driving import make_job, preset
from tests.support.running import cells, greenray, write_config


@pytest.fixture
def pickled(tmp_path: Path) -> Path:
    """A model whose weights are pickled, as many on the hub are."""
    task = ImageClassification(make_job(model=preset("resnet")))
    task.prepare()
    model = task.load()
    task.save(model, tmp_path / "pickled")
    torch.save(model.state_dict(), tmp_path / "pickled" / "pytorch_model.bin")
    (tmp_path / "pickled" / "model.safetensors").unlink()
    return tmp_path


def serving(name: str, dataset: object) -> dict[str, object]:
    return {"name": name, "phase": "inference", "models": ["./pickled"], "datasets": [dataset], "devices": ["cpu"]}


def test_pickled_weights_are_refused_before_the_first_cell(pickled: Path) -> None:
    config = write_config(pickled, serving("serve", "digits"))
    ended = greenray("sweep", config, "--out", pickled / "out")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "trust: {pickle: [./pickled]}" in ended.err
    assert not (pickled / "out" / "cells").exists()


def test_trusted_by_name_it_runs_and_data_without_labels_are_tried_once(pickled: Path) -> None:
    pq.write_table(pa.table({"image": [b"x"] * 4, "caption": list("abcd")}), pickled / "captions.parquet")
    config = write_config(
        pickled,
        serving("serve", {"id": "digits", "samples": 32}),
        serving("captions", "./captions.parquet"),
        trust={"pickle": ["./pickled"]},
        limits={"max_attempts": 3},
    )
    ended = greenray("sweep", config, "--out", pickled / "out")
    assert ended.code == 1, ended.err + ended.out
    found = cells(pickled / "out").select("experiment", "status", "error_kind", "attempt").sort("experiment")
    assert found.rows() == [("captions", "failed", "refused", 1), ("serve", "ok", None, 1)]
    error = cells(pickled / "out").filter(pl.col("status") == "failed")["error"][0]
    assert "no column that looks like a label" in error

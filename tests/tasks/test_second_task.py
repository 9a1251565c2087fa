"""A second task, of one folder and one line, trained and measured by a real sweep: real text, classes, BERT."""

from pathlib import Path

import polars as pl
import pytest

from greenray.store import reader
from tests.support.running import Ended, cells, greenray, write_config

TRAINING = {
    "name": "train",
    "phase": "training",
    "task": "text-classification",
    "models": [{"architecture": "bert", "preset": "tiny"}],
    "datasets": ["standard-library"],
    "epochs": 3,
    "learning_rates": [0.003],
}
SERVING = {
    "name": "serve",
    "phase": "inference",
    "task": "text-classification",
    "models": [{"from": "train"}],
    "datasets": ["standard-library"],
    "tactics": ["baseline", "dynamic-quantization"],
    "devices": ["cpu"],
    "rounds": 1,
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ended]:
    folder = tmp_path_factory.mktemp("text")
    out = folder / "out"
    return out, greenray("sweep", write_config(folder, TRAINING, SERVING), "--out", out)


def test_rows_say_what_was_counted_and_how_good_it_is(finished: tuple[Path, Ended]) -> None:
    out, ended = finished
    assert ended.code == 0, ended.err + ended.out
    rows = cells(out)
    assert sorted(rows["tactic"]) == ["baseline", "baseline", "baseline", "dynamic-quantization"]
    assert set(rows.select("task", "unit", "quality_measure", "model_family").rows()) == {
        ("text-classification", "passage", "accuracy", "bert")
    }
    told = rows.select("quality_kind", "quality_higher_is_better", "evaluation_unit").unique()
    assert told.rows() == [("right-answers", True, "passage")]
    # Four packages: by chance a quarter is right.
    assert rows["accuracy_low"].min() > 0.4
    assert (rows["accuracy_low"] <= rows["accuracy"]).all()
    assert (rows["accuracy"] <= rows["accuracy_high"]).all()
    assert rows["samples_evaluated"].n_unique() == 1
    assert rows["samples_evaluated"][0] > 100
    assert (rows["flops_per_sample"] > 1e6).all()


def test_its_stage_is_measured_in_windows_of_its_own(finished: tuple[Path, Ended]) -> None:
    windows = reader.scan(finished[0], table="windows").collect()
    of_stage = windows.filter(pl.col("stage").is_not_null())
    assert set(of_stage.select("kind", "stage").rows()) == {("warmup", "forward"), ("steady", "forward")}
    assert (
        of_stage["kind"].value_counts().sort("kind")["count"].to_list()[0] >= 3 * 2
    )  # two steady windows a served cell, and those taken again
    assert not windows.filter(pl.col("stage").is_null())["kind"].is_in(["warmup", "steady"]).any()


def test_the_report_speaks_of_its_unit(finished: tuple[Path, Ended]) -> None:
    text = (finished[0] / "report.md").read_text()
    assert "dynamic-quantization" in text
    assert "passage" in text
    assert "image" not in text.replace("![", "")
    assert "per passage" in finished[1].out.replace("\n", " ")


def test_what_it_does_not_know_is_said_before_anything_runs(tmp_path: Path) -> None:
    wrong = [
        ({"models": [{"architecture": "vit", "preset": "tiny"}]}, "unknown architecture 'vit'; known are bert"),
        ({"datasets": ["digits"]}, "unknown dataset 'digits'; write standard-library"),
        ({"datasets": ["./files"]}, "text-classification reads standard-library only"),
        (
            {"augmentation": ["crop", "flip"]},
            "text-classification cannot augment its samples by crop, flip: leave augmentation out",
        ),
        ({"task": "poetry"}, "unknown task 'poetry'; known are image-classification, text-classification"),
    ]
    for change, sentence in wrong:
        config = write_config(tmp_path, {**TRAINING, **change})
        ended = greenray("sweep", config, "--out", tmp_path / "out")
        assert (ended.code, ended.err.count("\n")) == (2, 1)
        assert sentence in ended.err

"""`configs/gonzalez-2024-offline.yaml`: what it asks, and a rehearsal of two of its families without what compiles.

That takes seconds; `greenray sweep configs/gonzalez-2024-offline.yaml --rehearse` is the whole file, in minutes.
"""

from pathlib import Path
from typing import Any

import polars as pl
import yaml

from greenray.config.load import load
from greenray.config.matrix import expand
from tests.support import ROOT
from tests.support.running import cells, greenray

FILE = ROOT / "configs" / "gonzalez-2024-offline.yaml"
PAPER = {"dynamic-quantization", "compile", "prune-local", "prune-global"}
# Dynamic quantisation finds all of the first model, of the second the classifier alone.
KEPT = ["vit", "poolformer"]


def served(auto_device: str, experiment: str) -> list[Any]:
    blocks = expand(load(FILE), auto_device=auto_device)
    return [cell for block in blocks for cell in block.cells if cell.experiment == experiment]


def test_the_papers_tactics_on_twelve_families_one_by_one_and_in_batches() -> None:
    on_cpu = served("cpu", "serve")
    assert {cell.tactic_slug for cell in on_cpu} == PAPER | {"null-check"}
    assert len({cell.model.id for cell in on_cpu}) >= 12
    assert {cell.batch_size for cell in on_cpu} == {1, 32}
    assert {cell.round for cell in on_cpu} == {1, 2, 3, 4, 5}
    assert {cell.device for cell in on_cpu} == {"cpu"}


def test_a_box_with_gpus_has_both_arms_and_its_own_tactics() -> None:
    assert {cell.device for cell in served("cuda", "serve")} == {"cpu", "cuda"}
    assert {cell.device for cell in served("cuda", "today")} == {"cuda"}
    assert {cell.tactic_slug for cell in served("cuda", "today")} >= {"tf32", "bf16+int8-dynamic+compile"}


def shortened() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(FILE.read_text())
    train, *others = content["experiments"]
    train["models"] = [model for model in train["models"] if model["architecture"] in KEPT]
    for experiment in others:
        experiment["tactics"] = [tactic for tactic in experiment["tactics"] if tactic not in ("compile", "default")]
    content["measure"]["quiet_wait_s"] = 0  # tests run beside each other
    return content


def test_it_runs(tmp_path: Path) -> None:
    config = tmp_path / FILE.name
    config.write_text(yaml.safe_dump(shortened()))
    ended = greenray("sweep", config, "--rehearse", "--out", tmp_path / "out", timeout_s=300)
    assert ended.code == 0, ended.out + ended.err
    rows = cells(tmp_path / "out")
    assert set(rows["model_family"].drop_nulls()) == set(KEPT)
    assert set(rows["status"]) <= {"ok", "not_applied", "unsupported"}
    assert rows.filter(pl.col("status") != "ok")["error"].null_count() == 0
    of_paper = rows.filter((pl.col("phase") == "inference") & pl.col("tactic").is_in(PAPER))
    assert set(of_paper["status"]) == {"ok"}
    assert set(of_paper["tactic"]) == PAPER - {"compile"}

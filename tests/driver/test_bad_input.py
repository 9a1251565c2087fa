"""What a user can get wrong ends in one plain sentence and exit code 2, before anything was started."""

from pathlib import Path

import pytest

from greenray.driver.ledger import Stored
from greenray.driver.plan import Plan
from greenray.store import tables
from greenray.store.registry import open_store
from greenray.worker.assignment import Assignment
from tests.driver.pretend_pool import config_of, fresh, result_of, row_of
from tests.support.running import TINY_TRAINING, greenray, sentence, tiny_serving, write_config


def serving(model: object, dataset: object = "digits") -> dict[str, object]:
    return {"name": "e", "phase": "inference", "models": [model], "datasets": [dataset], "devices": ["cpu"]}


@pytest.mark.parametrize(
    ("experiment", "parts"),
    [
        (serving({"architecture": "vitt", "preset": "tiny"}), ("vitt", "convnext")),
        (serving("./no-such-folder"), ("no-such-folder",)),
        (serving({"architecture": "vit", "preset": "tiny"}, "digitz"), ("digitz", "digits")),
        (serving({"architecture": "vit", "preset": "tiny"}, "./no-such-data"), ("no-such-data",)),
        ({**serving({"architecture": "vit", "preset": "tiny"}), "tactics": ["prune"]}, ("prune", "prune-global")),
        ({**serving({"architecture": "vit", "preset": "tiny"}), "batch_sizes": [-1]}, ("batch_sizes[0]", "-1")),
        ({**serving({"architecture": "vit", "preset": "tiny"}), "colour": "red"}, ("colour", "unknown key")),
    ],
)
def test_wrong_experiments(tmp_path: Path, experiment: dict[str, object], parts: tuple[str, ...]) -> None:
    sentence("sweep", write_config(tmp_path, experiment), "--out", tmp_path / "out", parts=parts)
    assert not (tmp_path / "out" / "cells").exists()


def test_a_hub_model_that_cannot_be_reached(tmp_path: Path) -> None:
    config = write_config(tmp_path, serving("nobody/no-such-model"))
    sentence("sweep", config, "--out", tmp_path / "out", parts=("nobody/no-such-model",))


def test_missing_and_unreadable_configs(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text("a: [")
    ended = greenray("sweep", tmp_path / "none.yaml", timeout_s=60)  # as a user does it
    assert (ended.code, ended.out) == (2, "")
    advice = "there is no such file; give the path of a config, for example configs/quickstart.yaml."
    assert ended.err == f"greenray: {tmp_path}/none.yaml: {advice}\n"
    sentence("sweep", tmp_path / "b.yaml", parts=("not valid YAML",))
    sentence("plan", tmp_path, parts=("cannot be read",))
    sentence("sweep", parts=("--model",))


def test_a_log_level_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GREENRAY_LOG", "loud")
    sentence("tactics", parts=("GREENRAY_LOG is 'loud'", "debug, info"))


def test_stores_that_are_none(tmp_path: Path) -> None:
    config = write_config(tmp_path, TINY_TRAINING)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("x")
    sentence("sweep", config, "--out", tmp_path / "mine", parts=("not a GreenRay store",))
    sentence("plan", config, "--out", tmp_path / "mine", parts=("not a GreenRay store",))
    sentence("sweep", config, "--out", config, parts=("is a file",))
    sentence("sweep", config, "--out", "/proc/nowhere", parts=("cannot be written",))
    sentence("sweep", config, "--out", "s3://bucket/x", parts=("object stores",))
    sentence("report", tmp_path / "none", parts=("no such store",))
    sentence("status", tmp_path / "mine", parts=("not a GreenRay store",))


@pytest.mark.parametrize("name", ["cells", "windows", "trace", "predictions", "manifests", "logs", "checkpoints"])
def test_a_file_where_a_store_has_a_folder(tmp_path: Path, name: str) -> None:
    config, out = write_config(tmp_path, TINY_TRAINING), tmp_path / "out"
    out.mkdir()
    (out / name).write_text("mine")
    sentence("sweep", config, "--out", out, parts=(f"{name} is a file", "--out"))
    assert [path.name for path in out.rglob("*")] == [name]  # nothing was begun, Ray's log included
    assert (out / name).read_text() == "mine"


@pytest.mark.parametrize("name", ["cells", "checkpoints", "logs"])
def test_a_folder_of_somebody_elses(tmp_path: Path, name: str) -> None:
    config, out = write_config(tmp_path, TINY_TRAINING), tmp_path / "out"
    (out / name).mkdir(parents=True)
    (out / name / "notes.txt").write_text("mine")
    sentence("sweep", config, "--out", out, parts=("not a GreenRay store", "--out"))
    assert sorted(path.name for path in out.rglob("*")) == sorted([name, "notes.txt"])


@pytest.mark.parametrize("text", ["[]", '{"kind": "Deployment", "metadata": {"name": "x"}}'])
def test_a_folder_with_manifests_of_another_kind(tmp_path: Path, text: str) -> None:
    config, out = write_config(tmp_path, TINY_TRAINING), tmp_path / "out"
    (out / "manifests").mkdir(parents=True)
    (out / "manifests" / "a.json").write_text(text)
    for command in (("sweep", config, "--out", out), ("plan", config, "--out", out), ("status", out), ("report", out)):
        sentence(*command, parts=(f"{out}: not a GreenRay store",))
    assert [path.name for path in out.rglob("*")] == ["manifests", "a.json"]


def test_a_home_folder_that_nobody_has(tmp_path: Path) -> None:
    config, out = write_config(tmp_path, TINY_TRAINING), "~nosuchuser/x"
    for command in (("sweep", config, "--out", out), ("plan", config, "--out", out), ("status", out), ("report", out)):
        sentence(*command, parts=(f"{out}: nobody here has such a home folder",))


@pytest.mark.parametrize("dataset", ["~nosuchuser/x", "./a\0b"])
def test_a_dataset_at_a_path_that_is_none(tmp_path: Path, dataset: str) -> None:
    config = write_config(tmp_path, serving({"architecture": "vit", "preset": "tiny"}, dataset))
    sentence("sweep", config, "--out", tmp_path / "out", parts=(f"{dataset!r} cannot be a path",))
    sentence("plan", config, "--out", tmp_path / "out", parts=(f"{dataset!r} cannot be a path",))


def test_a_log_that_cannot_be_written(tmp_path: Path) -> None:
    config, out = write_config(tmp_path, TINY_TRAINING), tmp_path / "out"
    (out / "logs" / "driver.log").mkdir(parents=True)
    sentence("sweep", config, "--out", out, parts=(f"{out}/logs/driver.log: cannot be written (Is a directory)",))


def test_a_store_measured_otherwise(tmp_path: Path) -> None:
    """What the sweep's earlier run measured differently is told before Ray starts."""
    store, before = open_store(tmp_path / "out"), config_of(fresh("compile"), measure={"window_s": 0.2})
    plan = Plan(before, stored=Stored(), auto_device="cpu")
    (block,) = plan.blocks
    assignment = Assignment(cell=block.cells[0], attempt=1, visit=1, order_in_visit=1, workers_sharing=1)
    tables.commit(store, sweep="t", tactic="compile", cell=row_of(assignment, result_of(block.cells[0])))
    tables.write_manifest(store, sweep="t", manifest=plan.manifest([]))
    config = write_config(tmp_path, fresh("compile"), measure={"window_s": 0.1})
    sentence("sweep", config, "--out", tmp_path / "out", parts=("window_s was 0.2 and is 0.1", "--out", "name:", "--extend"))


def test_a_store_in_use(tmp_path: Path) -> None:
    out = tmp_path / "out"
    config = write_config(tmp_path, TINY_TRAINING)
    with open_store(out).lock():
        sentence("sweep", config, "--out", out, parts=("in use by another sweep",))


def test_a_device_that_is_not_there_and_a_cluster_that_is_not_there(tmp_path: Path) -> None:
    config = write_config(tmp_path, TINY_TRAINING)
    sentence("sweep", config, "--out", tmp_path / "out", "--address", "127.0.0.1:1", parts=("127.0.0.1:1",))


def test_no_space_left(small_disk: Path, tmp_path: Path) -> None:
    config = write_config(tmp_path, TINY_TRAINING, tiny_serving("prune-local"))
    out = small_disk / "out"
    (small_disk / "ballast").write_bytes(b"\0" * (8 * 2**20 - 600 * 1024))
    ended = greenray("sweep", config, "--out", out)
    assert ended.code == 2, ended.out + ended.err
    assert "no space left" in ended.err
    assert ended.err.count("\n") == 1

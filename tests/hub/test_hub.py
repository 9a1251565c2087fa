"""Hub models and hub data, through the clients that a user has, against the hub on loopback."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from greenray.config.load import load
from greenray.store import reader
from tests.hub import serve
from tests.hub.models import MODELS
from tests.hub.pictures import DATASETS
from tests.hub.run import SENTENCES, environment, problems
from tests.support import ROOT
from tests.support.running import greenray, write_config

FOOD = {"dataset": "ethz/food101", "split": "validation"}
LEARNS = {"learns": "lenet", "dataset": "uoft-cs/cifar10"}
IMAGENET = {"dataset": "ILSVRC/imagenet-1k", "split": "validation"}
PLAIN = "RickyIG/image_classification"
SPECIAL = {made.manner: name for name, made in MODELS.items() if made.manner != "plain"}
LAND = {
    "model": "lu5/swinv2-small-patch4-window8-256-finetuned-eurosat",
    "revision": "v1.0",
    "dataset": "blanchon/EuroSAT_RGB",
    "split": "test",
}


@dataclass(frozen=True, kw_only=True)
class Client:
    """Processes that take the hub on loopback for the hub, with one cache."""

    hub: serve.Hub
    home: Path

    def run(self, module: str, *arguments: str, token: bool = True, **env: str) -> list[Any]:
        command = [sys.executable, "-m", module, *arguments]
        known = {**environment(self.hub, self.home, token=token), **env}
        ended = subprocess.run(command, env=known, capture_output=True, text=True, timeout=150, check=False)
        assert ended.returncode == 0, ended.stderr
        assert "B/s]" not in ended.stderr, ended.stderr  # a progress bar
        return list(json.loads(ended.stdout))

    def load(self, *cases: dict[str, str], **env: str) -> list[dict[str, Any]]:
        return self.run("tests.hub.loading", *map(json.dumps, cases), **env)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    serve.warm()
    with serve.serving() as hub:
        yield Client(hub=hub, home=tmp_path_factory.mktemp("home"))


def test_it_holds_what_the_configs_name() -> None:
    gonzalez, mavromatis = (load(ROOT / "configs" / f"{name}-2024.yaml").experiments for name in ("gonzalez", "mavromatis"))
    models = [model for experiment in gonzalez for model in experiment.models]
    assert {model.id for model in models} == set(MODELS)
    assert len(MODELS) == 42
    named = [*models, *mavromatis]
    assert {dataset.id for one in named for dataset in one.datasets or ()} == set(DATASETS)
    assert set(SPECIAL) == set(SENTENCES)


def test_names_are_checked_before_the_first_cell(client: Client) -> None:
    with_files = [f"model:{name}" for name in (PLAIN, f"{PLAIN}@v1.0", SPECIAL["vanishing"], SPECIAL["fake-quantised"])]
    assert client.run("tests.hub.checking", *with_files, "dataset:ILSVRC/imagenet-1k") == [None] * 5
    at_once = ("pickled", "code", "gated", "adapter", "openvino")
    said = client.run("tests.hub.checking", *(f"model:{SPECIAL[manner]}" for manner in at_once))
    for manner, sentence in zip(at_once, said, strict=True):
        assert SENTENCES[manner].format(id=SPECIAL[manner]) in sentence
    missing = ["model:no/such", f"model:{PLAIN}@v2.0", "dataset:no/such", "dataset:ILSVRC/imagenet-1k"]
    assert client.run("tests.hub.checking", *missing, token=False) == [
        "model no/such does not exist on the hub, or is private: check its name, or set HF_TOKEN.",
        f"model {PLAIN} has no revision v2.0 on the hub; leave it out or name a commit.",
        "dataset no/such does not exist on the hub, or is private: check its name, or set HF_TOKEN.",
        "dataset ILSVRC/imagenet-1k is gated: accept its terms on the hub and set HF_TOKEN.",
    ]


def test_each_kind_of_model_loads_and_answers(client: Client) -> None:
    kinds = {(made.model_type, made.old): name for name, made in MODELS.items() if made.manner == "plain"}
    ended = client.load(*({"model": name, **FOOD} for name in kinds.values()))
    assert {name: one for name, one in zip(kinds.values(), ended, strict=True) if one["end"] != "ok"} == {}
    assert {one["family"] for one in ended} == {model_type for model_type, _ in kinds}


@pytest.fixture(scope="module")
def loaded(client: Client) -> list[dict[str, Any]]:
    more = {"model": "google/mobilenet_v2_1.0_224", **IMAGENET}
    other = {"model": "microsoft/beit-base-patch16-224-pt22k-ft22k", **IMAGENET}
    return client.load({"model": PLAIN, **FOOD}, LAND, LEARNS, more, other)


def test_models_and_data_are_loaded_once_and_then_without_a_network(client: Client, loaded: list[dict[str, Any]]) -> None:
    plain = {"model": PLAIN, **FOOD}
    assert [(one["end"], one.get("family"), one.get("split")) for one in loaded] == [
        ("ok", "vit", "validation"),
        ("ok", "swinv2", "test"),
        ("ok", "cifar-lenet", "test"),
        ("ok", "mobilenet_v2", "validation"),
        ("ok", "beit", "validation"),
    ]
    assert loaded[0]["commit"] == client.hub.repositories["models", PLAIN].commit
    data = [FOOD["dataset"], LAND["dataset"], LEARNS["dataset"], *2 * [IMAGENET["dataset"]]]
    assert [one["dataset_commit"] for one in loaded] == [client.hub.repositories["datasets", name].commit for name in data]
    assert [one["learnt"] for one in loaded] == [0, 0, 8, 0, 0]
    assert all(one["quality"] is not None for one in loaded[:4])  # 1,001 classes are ImageNet's and none
    assert (loaded[4]["quality"], loaded[4]["unknown"]) == (None, "the model's 21841 classes are not the data's 1000")
    assert not [asked for asked in client.hub.asked if "/large/datasets" in asked and "train" in asked and "cifar" not in asked]
    *again, never = client.load(plain, LAND, LEARNS, {**plain, "model": "no/such"}, HF_HUB_OFFLINE="1")
    assert again == loaded[:3]
    assert "no/such is not cached and HF_HUB_OFFLINE is set: unset it" in never["error"]


@pytest.mark.usefixtures("loaded")
def test_what_cannot_be_had_ends_in_one_sentence_of_its_row(client: Client) -> None:
    manners = [manner for manner in SPECIAL if manner != "vanishing"]
    client.hub.asked.clear()
    *said, gone, split, again, learnt = client.load(
        *({"model": SPECIAL[manner], **FOOD} for manner in manners),
        {"model": SPECIAL["vanishing"], **FOOD},
        {"model": PLAIN, **FOOD, "split": "nowhere"},
        {"model": PLAIN, **FOOD},
        LEARNS,
    )
    for manner, one in zip(manners, said, strict=True):
        assert one["end"] == "refused"
        assert SENTENCES[manner].format(id=SPECIAL[manner]) in one["error"]
        assert "\n" not in one["error"]
    assert (gone["end"], split["end"]) == ("failed", "refused")  # what went away may come back
    assert SENTENCES["vanishing"] in gone["error"]
    assert split["error"] == "dataset ethz/food101 has no split 'nowhere'; it has train, validation."
    # What was loaded before is loaded again without a word to the hub, so that it may be gone by then.
    assert (again["end"], learnt["end"]) == ("ok", "ok")
    assert not [asked for asked in client.hub.asked if PLAIN in asked or LEARNS["dataset"] in asked]


def test_a_sweep_runs_what_it_can_and_records_the_rest(client: Client, tmp_path: Path) -> None:
    models = [PLAIN, SPECIAL["pickled"], SPECIAL["gated"], SPECIAL["fake-quantised"]]
    experiment = {
        "name": "serve",
        "phase": "inference",
        "models": models,
        "datasets": [{"id": FOOD["dataset"], "split": "validation"}],
    }
    config = write_config(tmp_path, {**experiment, "devices": ["cpu"]}, refusals="record")
    ended = greenray("sweep", config, "--rehearse", "--out", tmp_path / "out", env=environment(client.hub, client.home))
    assert ended.code == 1, ended.out + ended.err
    rows = reader.scan(tmp_path / "out", table="cells").collect()
    assert problems(rows, wanted=set(models)) == []
    assert set(rows.filter(rows["model"] == PLAIN)["status"]) == {"ok"}

"""Whole cells on a CUDA device that is played: behind its host's back, with memory of its own."""

import json
import os
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.plugins import pretend_cuda, pretend_device
from tests.support.running import PLUGINS

# Every forward pass keeps the host for LAUNCH_S and the device for DEVICE_S; a batch takes COPY_S. Argument: what to drive.
CELLS = """
import gc, json, os, sys
import pretend_cuda
on_processor = pretend_cuda.install()
from greenray.cell import main as cell
from greenray.config.refs import DatasetRef, Hyperparameters
from greenray.config.settings import Measure
from tests.support.driving import QUICK, drive, make_task, preset

plain_main = cell.main

def main(connection):
    with on_processor():  # `drive` runs the cell in a thread
        return plain_main(connection)

cell.main = main
told = []
for asked in json.loads(sys.argv[1]):
    os.environ.update(asked.pop("played", {}))
    hyper = asked.pop("hyperparameters", None)
    task = make_task(
        model=preset("resnet"),
        dataset=DatasetRef(id="digits", samples=64),
        device="cuda",
        batch_size=16,
        measure=QUICK.model_copy(update={"min_windows": 1, "max_windows": 1, **asked.pop("measure", {})}),
        hyperparameters=None if hyper is None else Hyperparameters(**hyper),
        tactic=tuple(asked.pop("tactic", ["baseline"])),
        **asked,
    )
    said = drive(task)
    gc.unfreeze()  # a cell has its process to itself: here the next one must not find the model of the last
    gc.collect()
    told.append({"done": said.done.model_dump(), "windows": [window.model_dump() for window in said.windows]})
print(json.dumps(told))
"""
TRAINING: dict[str, Any] = {
    "phase": "training",
    "measure": {"window_s": 60.0},  # longer than all epochs
    "hyperparameters": {"epochs": 7, "learning_rate": 0.01, "schedule": "cosine", "optimizer": "sgd", "weight_decay": 0.0},
}
AUGMENTED = {**TRAINING["hyperparameters"], "epochs": 2, "augmentation": ["crop", "flip"], "evaluate_each_epoch": True}
WAITS = {pretend_device.LAUNCH_S: "0.03", pretend_device.DEVICE_S: "0.05", pretend_device.COPY_S: "0.01"}
QUICKLY = dict.fromkeys(WAITS, "0")
RUNS: dict[str, dict[str, Any]] = {
    "waits": {"played": WAITS},
    "two in flight": {"measure": {"in_flight": 2}},
    "bf16": {"played": QUICKLY, "tactic": ["bf16"]},
    "trains on the device": TRAINING,
    "trains from processes": {"played": {pretend_device.FREE: "1000"}, **TRAINING},
    "augments from processes": {**TRAINING, "hyperparameters": AUGMENTED},
    "augments on the device": {
        "played": {**QUICKLY, pretend_device.FREE: str(1 << 36)},
        **TRAINING,
        "hyperparameters": AUGMENTED,
    },
    "ends early": {**TRAINING, "tactic": ["early-stopping"], "hyperparameters": {**AUGMENTED, "precision": "tf32"}},
    **{
        f"trains in {precision}": {
            "played": {**QUICKLY, pretend_device.FREE: str(1 << 36)},
            **TRAINING,
            "hyperparameters": {**TRAINING["hyperparameters"], "precision": precision},
        }
        for precision in ("tf32", "bf16", "fp16")
    },
}


@pytest.fixture(scope="module")
def told(python: Callable[..., str]) -> dict[str, dict[str, Any]]:
    uuid = "GPU-00000000-1111-2222-3333-444444444444"
    env = {
        "PYTHONPATH": os.pathsep.join([str(PLUGINS.parents[2]), str(PLUGINS)]),
        pretend_cuda.BOARDS: uuid,
        "CUDA_VISIBLE_DEVICES": "0",
        pretend_device.LAUNCH_S: "0.001",  # so that forward passes are played from the start
    }
    answer = python(CELLS, json.dumps(list(RUNS.values())), env=env, timeout_s=120)
    return dict(zip(RUNS, json.loads(answer.splitlines()[-1]), strict=True))


def of(told: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [window for window in told["windows"] if window["kind"] == kind]


def in_flight(told: dict[str, Any]) -> float:
    """Iterations that are begun and not done, on average: throughput x latency (Little's law), however fast the host is."""
    (steady,) = of(told, "steady")
    return float(steady["latency_p50_s"] * steady["iterations"] / (steady["end_s"] - steady["start_s"]))


@pytest.mark.timeout(200)
def test_a_board_that_waits_for_its_host_is_told(told: dict[str, dict[str, Any]]) -> None:
    done = told["waits"]["done"]
    assert done["latency_bound"] is True
    assert done["unsynchronized_samples_per_s"] > 1.15 * done["synchronized_samples_per_s"] > 0
    assert 0 < done["device_time_share"] < 0.9
    _, compared = of(told["waits"], "warmup")
    assert compared["end_s"] == of(told["waits"], "steady")[0]["start_s"]


def test_memory_is_that_of_the_steady_windows_and_of_what_came_before(told: dict[str, dict[str, Any]]) -> None:
    plain, cast = told["waits"]["done"], told["bf16"]["done"]
    assert plain["peak_gpu_memory_bytes"] == plain["peak_gpu_memory_load_bytes"] >= 4 * plain["parameters"]
    assert cast["peak_gpu_memory_load_bytes"] == plain["peak_gpu_memory_load_bytes"]
    assert cast["peak_gpu_memory_bytes"] < 0.51 * cast["peak_gpu_memory_load_bytes"]
    trained = told["trains on the device"]["done"]
    assert trained["peak_gpu_memory_bytes"] == plain["peak_gpu_memory_bytes"]


def test_two_are_in_flight_where_it_is_asked_for(told: dict[str, dict[str, Any]]) -> None:
    one, two = told["waits"], told["two in flight"]
    assert in_flight(one) < 1.3 < in_flight(two)  # 1 and 2, where no iteration was held up
    assert (one["done"]["settings"]["in_flight"], two["done"]["settings"]["in_flight"]) == (1, 2)
    assert two["done"]["predictions"] == one["done"]["predictions"]


def test_short_epochs_share_a_window(told: dict[str, dict[str, Any]]) -> None:
    (window,) = of(told["trains on the device"], "epoch")
    assert (window["epochs"], window["epoch"], window["iterations"]) == (7, 7, 7 * 4)


def test_training_is_the_same_wherever_its_samples_wait(told: dict[str, dict[str, Any]]) -> None:
    on_device, drawn = told["trains on the device"], told["trains from processes"]
    assert (on_device["done"]["settings"]["training_data"], drawn["done"]["settings"]["training_data"]) == ("device", "workers")
    assert of(drawn, "epoch")[-1]["loss"] == of(on_device, "epoch")[-1]["loss"]
    assert drawn["done"]["predictions"] == on_device["done"]["predictions"]


def test_augmentation_is_the_same_wherever_samples_wait(told: dict[str, dict[str, Any]]) -> None:
    on_device, drawn = told["augments on the device"], told["augments from processes"]
    assert (on_device["done"]["settings"]["training_data"], drawn["done"]["settings"]["training_data"]) == ("device", "workers")
    losses = [window["loss"] for window in of(on_device, "epoch")]
    assert losses == [window["loss"] for window in of(drawn, "epoch")]
    assert drawn["done"]["predictions"] == on_device["done"]["predictions"]
    assert losses[-1] != of(told["trains on the device"], "epoch")[-1]["loss"]


def test_an_epoch_that_is_followed_by_an_evaluation_has_a_window_of_its_own(told: dict[str, dict[str, Any]]) -> None:
    for name in ("augments on the device", "ends early"):
        windows = [(window["kind"], window["epoch"]) for window in told[name]["windows"]][-5:]
        assert windows == [("epoch", 1), ("evaluate", 1), ("epoch", 2), ("evaluate", 2), ("evaluate", None)]
        assert all(window["accuracy"] is not None for window in of(told[name], "evaluate"))
    assert told["ends early"]["done"]["evidence"]["early-stopping"]["epochs"] == 2
    assert told["ends early"]["done"]["settings"]["tf32"] is False


@pytest.mark.parametrize("precision", ["tf32", "bf16", "fp16"])
def test_every_precision_trains_on_cuda(told: dict[str, dict[str, Any]], precision: str) -> None:
    trained = told[f"trains in {precision}"]
    assert trained["done"]["settings"]["precision"] == precision
    assert ("gradient_scale" in trained["done"]["settings"]) == (precision == "fp16")
    assert of(trained, "epoch")[-1]["epoch"] == 7

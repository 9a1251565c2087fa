"""Epochs in windows on a clock of their own, and training cells in other precisions and with accumulated gradients."""

import itertools
import socket
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from greenray.cell.protocol import Channel, Window
from greenray.cell.training import train
from greenray.cell.work import WindowMarker
from greenray.config.refs import DatasetRef, Hyperparameters, ModelRef
from greenray.errors import Refused
from greenray.tactics.registry import Chain
from tests.support.driving import Conversation, drive, make_task, preset

HYPER: dict[str, Any] = {"learning_rate": 0.01, "schedule": "one-cycle", "optimizer": "adamw", "weight_decay": 0.01}


class Paced:
    """A trainer whose epochs take the given times."""

    batch_size, batches_per_epoch = 8, 5
    validation_accuracy = None

    def __init__(self, times_s: Iterator[float], *, losses: Iterator[float]) -> None:
        self.now_s, self.times_s, self.losses = 100.0, times_s, losses

    def epoch(self) -> tuple[float, float | None]:
        self.now_s += next(self.times_s)
        return next(self.losses), 0.5


def windows(times_s: Any, *, epochs: int, least_s: float, losses: Any = None, tactic: str = "baseline") -> list[Window]:
    worker_end, cell_end = socket.socketpair()
    trainer: Any = Paced(iter(times_s), losses=iter(losses or itertools.count(1.0)))
    with worker_end, cell_end:
        marker = WindowMarker(Channel(cell_end), clock=lambda: trainer.now_s)
        try:
            train(trainer, Chain([(tactic, {})]), marker, epochs=epochs, least_s=least_s)
        finally:
            cell_end.shutdown(socket.SHUT_WR)
        worker, found = Channel(worker_end), []
        while True:
            try:
                found.append(worker.receive(timeout_s=5))
            except EOFError:
                return found


@pytest.mark.parametrize(
    ("epoch_s", "epochs", "least_s", "held"),
    [
        (0.25, 5, 0.0, [1, 1, 1, 1, 1]),  # as on the cpu
        (0.25, 20, 1.0, [4, 4, 4, 4, 4]),
        (0.25, 23, 1.0, [4, 4, 4, 4, 7]),  # what is left over would be a short one
        (0.25, 3, 1.0, [3]),
        (2.0, 3, 1.0, [1, 1, 1]),
    ],
)
def test_short_epochs_are_measured_together(epoch_s: float, epochs: int, least_s: float, held: list[int]) -> None:
    found = windows(itertools.repeat(epoch_s), epochs=epochs, least_s=least_s)
    assert [window.epochs for window in found] == held
    assert [window.epoch for window in found] == list(itertools.accumulate(held))
    assert [window.loss for window in found] == [window.epoch for window in found]  # the last one's
    for window in found:
        assert window.end_s - window.start_s == pytest.approx(epoch_s * (window.epochs or 0))
        assert (window.samples, window.iterations) == (40 * (window.epochs or 0), 5 * (window.epochs or 0))


def test_a_tactic_that_may_end_training_is_asked_after_every_epoch() -> None:
    """However short they are: in one window of all epochs it could end nothing."""
    found = windows(itertools.repeat(0.25), epochs=3, least_s=60.0, tactic="early-stopping")
    assert [window.epochs for window in found] == [1, 1, 1]


def test_divergence_ends_a_window_in_which_it_happens() -> None:
    with pytest.raises(Refused, match="training diverged in epoch 3"):
        windows(itertools.repeat(0.25), epochs=20, least_s=1.0, losses=[1.0, 2.0, float("nan")])


def trained(**fields: Any) -> Conversation:
    hyper = Hyperparameters(**HYPER | {"epochs": 2} | fields)
    data = DatasetRef(id="digits", samples=256)
    model: ModelRef = preset("resnet")
    return drive(make_task(phase="training", model=model, dataset=data, batch_size=16, hyperparameters=hyper))


@pytest.fixture(scope="module")
def plain() -> Conversation:
    return trained()


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_lower_precision_trains_too_and_leaves_fp32_behind(precision: str, plain: Conversation) -> None:
    lowered = trained(precision=precision)
    assert lowered.done.dtype == "float32"
    assert lowered.done.settings["precision"] == precision
    assert ("gradient_scale" in lowered.done.settings) == (precision == "fp16")
    low, full = ([window.loss or 0.0 for window in one.of("epoch")] for one in (lowered, plain))
    assert 0 < low[1] < 0.6 * low[0] < 2.3
    assert low != full  # it was lowered


def test_accumulated_gradients_move_the_weights_less_often(plain: Conversation) -> None:
    accumulated = trained(gradient_accumulation=4)
    assert [window.iterations for window in accumulated.of("epoch")] == [16, 16]
    # From the same start the first epoch learns less in a quarter of the updates.
    first, of_plain = accumulated.of("epoch")[0].loss, plain.of("epoch")[0].loss
    assert first is not None
    assert of_plain is not None
    assert first > of_plain
    assert [window.iterations for window in trained(gradient_accumulation=5).of("epoch")] == [15, 15]


def test_where_its_samples_wait_is_in_the_row(plain: Conversation) -> None:
    assert plain.done.settings["training_data"] == "host"
    assert (plain.done.peak_gpu_memory_bytes, plain.done.latency_bound) == (None, None)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"precision": "tf32"}, "precision tf32 is what matrix units of NVIDIA's boards round to; train with bf16 on the cpu"),
        ({"gradient_accumulation": 17}, "needs 272 samples to learn from, there are 256"),
    ],
)
def test_what_cannot_be_trained_says_why(fields: dict[str, Any], sentence: str) -> None:
    failed = trained(**fields).failed
    assert failed.status == "unsupported"
    assert sentence in failed.error


def test_random_numbers_are_left_alone() -> None:
    """Two trainings of one seed take the same steps, whatever ran before in the process."""
    torch.manual_seed(123)
    first, second = trained(epochs=1), trained(epochs=1)
    assert first.of("epoch")[0].loss == second.of("epoch")[0].loss

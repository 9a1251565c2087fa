"""Evaluation after each epoch: in windows of its own, of the model as the finished one is, and without a trace in training."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from greenray.cell.protocol import Channel
from greenray.cell.trainer import Trainer, scheduler
from greenray.cell.work import WindowMarker
from greenray.config.refs import DatasetRef, Hyperparameters
from greenray.tactics.base import Context
from greenray.tactics.registry import Chain, build
from greenray.tasks.image_classification.task import ImageClassification
from tests.support.driving import Conversation, drive, make_job, make_task, preset
from tests.tactics.nets import Net

HYPER: dict[str, Any] = {"epochs": 3, "learning_rate": 0.01, "schedule": "cosine", "optimizer": "adamw", "weight_decay": 0.01}
SOME = DatasetRef(id="digits", samples=256)


def trained(
    *tactics: Any, save_to: Path | None = None, epoch_j: float | None = 10.0, batch_size: int = 32, **fields: Any
) -> Conversation:
    task = make_task(
        phase="training",
        model=preset("resnet"),
        dataset=SOME,
        batch_size=batch_size,
        hyperparameters=Hyperparameters(**HYPER | fields),
        tactic=tactics or ("baseline",),
        save_to=save_to,
    )
    return drive(task, epoch_j=epoch_j)


@pytest.fixture(scope="module")
def each(tmp_path_factory: pytest.TempPathFactory) -> tuple[Conversation, Path]:
    folder = tmp_path_factory.mktemp("checkpoint") / "c1"
    return trained(evaluate_each_epoch=True, save_to=folder), folder


def test_every_epoch_has_a_window_of_answers_to_the_whole_split(each: tuple[Conversation, Path]) -> None:
    said, folder = each
    kinds = [window.kind for window in said.windows]
    assert kinds == ["data", "load", "idle", *["epoch", "evaluate"] * 3, "evaluate"]
    *between, last = said.of("evaluate")
    assert [window.epoch for window in between] == [1, 2, 3]
    assert {window.samples for window in said.of("evaluate")} == {256}
    assert (last.epoch, last.accuracy) == (None, said.done.accuracy)
    assert between[-1].accuracy == last.accuracy  # the same model
    assert 0 < (between[0].accuracy or 0) < (between[-1].accuracy or 0)
    assert said.done.training_share == 1.0
    assert (folder / "model.safetensors").exists()


def test_training_does_not_notice(each: tuple[Conversation, Path]) -> None:
    plain = trained()
    assert [window.kind for window in plain.windows].count("evaluate") == 1
    assert [window.loss for window in plain.of("epoch")] == [window.loss for window in each[0].of("epoch")]
    assert plain.done.predictions == each[0].done.predictions


@pytest.mark.parametrize(
    "tactics",
    [("bf16",), ("autocast",), (("prune-local", {"permanent": False}),), ("prune-gradual",), ("channels-last",)],
    ids=lambda chain: str(chain[0]),
)
def test_it_is_answered_as_by_the_finished_model(tactics: Sequence[Any]) -> None:
    said = trained(*tactics, epochs=2, evaluate_each_epoch=True)
    *_, between, last = said.of("evaluate")
    assert (between.epoch, last.epoch) == (2, None)
    assert between.accuracy == last.accuracy
    assert said.done.evidence


def test_precision_is_held_off_meanwhile() -> None:
    task = ImageClassification(make_job(model=preset("resnet"), dataset=SOME, batch_size=16, training=True))
    task.prepare()
    model = task.load()
    chain = Chain([("autocast", {})])
    chain.apply(model, Context(device="cpu", example=task.example(), training=True))
    trainer = Trainer(task, model, chain, hyper=Hyperparameters(**HYPER), seed=0)
    head = next(module for module in reversed(list(model.modules())) if isinstance(module, nn.Linear))
    seen: list[tuple[torch.dtype, bool, bool]] = []
    noting = lambda layer, given, out: seen.append((out.dtype, layer.training, torch.is_grad_enabled()))  # noqa: E731
    with trainer.evaluating():
        hook = head.register_forward_hook(noting)
        model(**task.example())
        hook.remove()
    assert seen == [(torch.float32, False, False)]
    assert model.training
    assert "forward" in vars(model)  # autocast's own again


def test_nothing_is_compiled_for_answers_in_between() -> None:
    model, batch = Net().eval(), torch.zeros(4, 1, 8, 8)
    model.compile(backend="eager")
    compile_ = build("compile")
    before = compile_.compilations()
    with compile_.evaluating(model):
        model(batch)
        assert compile_.compilations() == before
    model(batch)
    assert compile_.compilations() == before + 1


def test_a_loss_that_is_not_finite_is_told_and_not_evaluated() -> None:
    said = trained(learning_rate=1e30, optimizer="sgd", schedule="constant", evaluate_each_epoch=True)
    assert said.failed.refused
    assert "training diverged in epoch 1" in said.failed.error
    assert [(window.kind, window.loss) for window in said.windows[-1:]] == [("epoch", None)]  # NaN is no number on the wire


class TestEarlyStopping:
    def test_it_ends_where_epochs_are_not_worth_their_energy(self) -> None:
        said = trained(("early-stopping", {"patience": 2, "least_gain": 100.0}), epochs=8, evaluate_each_epoch=True)
        assert [window.epoch for window in said.of("epoch")] == [1, 2, 3]
        evidence = said.done.evidence["early-stopping"]
        assert (evidence["epochs"], evidence["epochs_asked"], evidence["energy_j"]) == (3, 8, 30.0)
        assert "for 200.0 % more energy" in evidence["ended_because"]
        assert [epoch for epoch, _ in evidence["validation_accuracy"]] == [1, 2, 3]
        assert {window.samples for window in said.of("epoch")} == {230 // 32 * 32}  # 26 of 256 are held out
        assert said.done.training_share == pytest.approx(3 / 8 * 224 / 256)  # by what is drawn, as windows count it

    def test_what_fills_no_batch_is_missed_by_neither(self) -> None:
        """Else a training that costs as much would look a tenth cheaper."""
        said = trained(("early-stopping", {"patience": 1, "least_gain": 1e-9}), epochs=1, batch_size=100)
        assert {window.samples for window in said.of("epoch")} == {200}  # of 230, as of all 256
        assert said.done.training_share == 1.0

    def test_it_lets_training_be_that_is_worth_it(self) -> None:
        said = trained(("early-stopping", {"patience": 1, "least_gain": 1e-9}), epochs=2)
        assert len(said.of("epoch")) == 2
        assert said.done.evidence["early-stopping"]["ended_because"] is None

    def test_unknown_energy_is_no_reason_to_guess(self) -> None:
        said = trained("early-stopping", epoch_j=None)
        assert said.failed.status == "unsupported"
        assert "those of the epochs are unknown (no meter)" in said.failed.error
        assert len(said.of("epoch")) == 1

    def test_what_is_held_out_is_never_learnt_from_and_never_the_test_split(self) -> None:
        task = ImageClassification(make_job(model=preset("resnet"), dataset=SOME, batch_size=16, training=True))
        task.prepare()
        drawn: list[int] = []
        batches = task.training_batches

        def noting(order: torch.Tensor) -> Any:
            drawn.extend(order.flatten().tolist())
            return batches(order)

        task.training_batches = noting  # type: ignore[method-assign]
        model = task.load()
        trainer = Trainer(task, model, Chain([("early-stopping", {})]), hyper=Hyperparameters(**HYPER), seed=0)
        trainer.epoch()
        held_out = task.hold_out(0.1)
        assert held_out == task.hold_out(0.1)
        assert not set(drawn) & set(held_out)
        assert len(set(drawn)) == 230 // 16 * 16
        labels = task.training_batch(torch.tensor(held_out)).targets
        assert set(labels.tolist()) == set(range(10))  # of every class
        assert trainer.validation_accuracy is not None


def test_a_worker_that_is_asked_for_the_energy_and_is_gone_ends_the_cell() -> None:
    import socket

    worker_end, cell_end = socket.socketpair()
    with cell_end:
        worker_end.close()
        with pytest.raises((EOFError, BrokenPipeError)):
            WindowMarker(Channel(cell_end)).spent()


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("constant", [0.1] * 8),
        ("cosine", [0.1 * (1 + torch.cos(torch.tensor(torch.pi * step / 8)).item()) / 2 for step in range(8)]),
    ],
)
def test_the_learning_rate_of_every_update(kind: str, expected: list[float]) -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    schedule = scheduler(optimizer, kind, learning_rate=0.1, steps=8)
    rates = []
    for _ in range(8):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx(expected)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.0 if kind == "cosine" else 0.1)


@pytest.mark.parametrize("accumulation", [1, 3])
@pytest.mark.parametrize("kind", ["one-cycle", "cosine"])
def test_a_schedule_ends_with_the_last_update(kind: str, accumulation: int) -> None:
    """Counted in updates, not in batches, and not moved by a rehearsal."""
    task = ImageClassification(make_job(model=preset("resnet"), dataset=SOME, batch_size=32, training=True))
    task.prepare()
    hyper = Hyperparameters(**HYPER | {"schedule": kind, "gradient_accumulation": accumulation, "epochs": 2})
    trainer = Trainer(task, task.load(), Chain([("baseline", {})]), hyper=hyper, seed=0)
    rates: list[float] = []
    step = trainer._step
    update = step.update

    def noting() -> None:
        rates.append(step.optimizer.param_groups[0]["lr"])
        update()

    trainer.rehearse()
    step.update = noting
    trainer.epoch()
    trainer.epoch()
    assert step.updates == step.updates_total == len(rates) == 2 * (8 // accumulation)
    assert max(rates) == pytest.approx(0.01, rel=0.2)
    if kind == "cosine":
        assert rates[0] == 0.01
        assert rates == sorted(rates, reverse=True)
    assert rates[-1] < 0.16 * 0.01
    assert step.optimizer.param_groups[0]["lr"] < rates[-1] or kind == "one-cycle"

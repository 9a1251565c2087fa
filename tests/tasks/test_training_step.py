"""The training step on small real models: a rehearsal leaves no trace, masks hold, and what grows back is told."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from greenray.tactics.base import Context, Params, Tactic
from greenray.tactics.registry import TACTICS, Chain
from greenray.tasks.base import TrainingBatch
from greenray.tasks.image_classification.task import ImageClassification
from greenray.tasks.training_step import TrainingStep, plain_step, rehearse
from tests.support.driving import make_job, preset

OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "momentum": lambda weights: torch.optim.SGD(weights, lr=0.05, momentum=0.9, weight_decay=0.01),
    "adamw": lambda weights: torch.optim.AdamW(weights, lr=0.003, weight_decay=0.1),
}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """With two, tests on a busy machine wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Rig:
    """A model in training under a chain of tactics, as a training cell builds it; real digits, sixteen at a time."""

    def __init__(
        self, *tactics: tuple[str, dict[str, Any]], optimizer: str = "adamw", architecture: str = "mobilenet_v2"
    ) -> None:
        torch.manual_seed(0)
        self.task = ImageClassification(make_job(model=preset(architecture), batch_size=16, training=True))
        self.task.prepare()
        self.model = self.task.load()
        self.chain = Chain(tactics)
        self.chain.apply(self.model, Context(device="cpu", example=self.task.example(), training=True))
        self.optimizer = OPTIMIZERS[optimizer](self.model.parameters())
        self.step = plain_step(self.task, self.model, self.optimizer)
        self.chain.prepare_training(self.step)
        self.model.train()

    def batch(self, number: int = 0) -> TrainingBatch:
        return self.task.training_batch(torch.arange(16 * number, 16 * number + 16))

    def train(self, steps: int) -> list[float]:
        return [float(self.step(self.batch(number))[0]) for number in range(steps)]


def test_a_step_learns_and_counts_what_was_right() -> None:
    rig = Rig(("baseline", {}))
    losses = [float(rig.step(rig.batch())[0]) for _ in range(12)]
    assert losses[-1] < 0.7 * losses[0]
    _, right = rig.step(rig.batch())
    assert right is not None
    assert 0 <= int(right) <= 16


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("tactic", [("baseline", {}), ("prune-local", {"permanent": False})])
def test_a_rehearsal_leaves_no_trace(tactic: tuple[str, dict[str, Any]], optimizer: str) -> None:
    """mobilenet has batch normalisation and dropout: statistics and random numbers that a step moves."""
    untouched, rehearsed = (Rig(tactic, optimizer=optimizer) for _ in range(2))
    torch.manual_seed(5)
    rehearse(rehearsed.step, rehearsed.batch(3), times=2)
    for name, value in rehearsed.model.state_dict().items():
        assert torch.equal(value, untouched.model.state_dict()[name]), name
    assert rehearsed.optimizer.state_dict() == untouched.optimizer.state_dict()
    assert all(parameter.grad is None for parameter in rehearsed.model.parameters())
    after = rehearsed.train(3)
    torch.manual_seed(5)
    assert after == untouched.train(3)


def test_a_rehearsal_puts_back_what_joined_the_step() -> None:
    rig = Rig(("baseline", {}))
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=2)
    rig.step.backward = lambda loss: scaler.scale(loss).backward()
    rig.step.update = lambda: (scaler.step(rig.optimizer), scaler.update())
    rig.step.states.append(scaler)
    rig.step(rig.batch())
    before = scaler.state_dict()
    rehearse(rig.step, rig.batch(), times=3)
    assert scaler.state_dict() == before
    rig.step(rig.batch())
    assert scaler.state_dict() != before


def zeros(rig: Rig) -> int:
    weights = (module.weight for module in rig.model.modules() if isinstance(module, nn.Conv2d | nn.Linear))
    return sum(int((weight == 0).sum()) for weight in weights)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("permanent", [True, False])
@pytest.mark.parametrize("name", ["prune-local", "prune-global"])
def test_masks_hold_while_weights_move(name: str, permanent: bool, optimizer: str) -> None:
    rig = Rig((name, {"amount": 0.5, "permanent": permanent}), optimizer=optimizer)
    at_start = zeros(rig)
    for number in range(4):
        rig.step(rig.batch(number))
        assert zeros(rig) >= at_start
    rig.chain.end_training(rig.model)
    evidence = rig.chain.evidence(rig.model)[name]
    assert zeros(rig) >= at_start
    assert not any("mask" in key or "orig" in key for key in rig.model.state_dict())
    assert evidence["weights_grown_back"] == 0
    assert evidence["sparsity_prunable"] >= evidence["sparsity_prunable_start"] == pytest.approx(0.5, abs=0.01)


def test_a_layer_that_starts_at_zero_may_grow_where_no_mask_lies() -> None:
    rig = Rig(("baseline", {}), architecture="resnet")
    head = next(module for module in reversed(list(rig.model.modules())) if isinstance(module, nn.Linear))
    nn.init.zeros_(head.weight)
    chain = Chain([("prune-local", {"amount": 0.25})])
    chain.apply(rig.model, Context(device="cpu", example=rig.task.example(), training=True))
    chain.prepare_training(rig.step)
    rig.train(2)
    assert float((head.weight == 0).float().mean()) == pytest.approx(0.25, abs=0.1)


class Regrow(Tactic[Params]):
    """Writes into every weight after each update."""

    name = "regrow"

    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        return model

    def prepare_training(self, step: TrainingStep) -> None:
        update = step.update

        def and_fill() -> None:
            update()
            with torch.no_grad():
                next(m for m in step.model.modules() if isinstance(m, nn.Linear)).weight.fill_(1.0)

        step.update = and_fill


def test_evidence_says_what_grew_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TACTICS, "regrow", f"{__name__}:Regrow")
    rig = Rig(("prune-local", {"amount": 0.5}), ("regrow", {}))
    rig.train(1)
    rig.chain.end_training(rig.model)
    evidence = rig.chain.evidence(rig.model)["prune-local"]
    head = next(module for module in rig.model.modules() if isinstance(module, nn.Linear))
    assert evidence["weights_grown_back"] == head.weight.numel() // 2
    assert evidence["sparsity_prunable"] < evidence["sparsity_prunable_start"]


def test_a_part_is_wrapped_by_putting_another_in_its_place() -> None:
    rig = Rig(("baseline", {}))
    order: list[str] = []

    def noting(name: str, part: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*arguments: Any) -> Any:
            order.append(name)
            return part(*arguments)

        return noted

    for name in ("forward", "backward", "update"):
        setattr(rig.step, name, noting(name, getattr(rig.step, name)))
    loss, _ = rig.step(rig.batch())
    assert order == ["forward", "backward", "update"]
    assert not loss.requires_grad


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_mixed_precision_learns_with_float32_weights_and_leaves_the_plain_model_behind(dtype: str) -> None:
    rig = Rig(("autocast", {"dtype": dtype}))
    seen: list[torch.dtype] = []
    head = next(module for module in reversed(list(rig.model.modules())) if isinstance(module, nn.Linear))
    head.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    losses = [float(rig.step(rig.batch())[0]) for _ in range(16)]  # the first of them find the scale
    assert losses[-1] < 0.7 * losses[0]
    assert set(seen) == {torch.bfloat16 if dtype == "bf16" else torch.float16}
    assert all(parameter.dtype == torch.float32 for parameter in rig.model.parameters())
    assert bool(rig.step.states) == (dtype == "fp16")  # the scaler of the loss
    rig.chain.end_training(rig.model)
    rig.model.eval()
    with torch.no_grad():
        rig.model(**rig.task.example())
    assert seen[-1] == torch.float32


@pytest.mark.parametrize("chain", [("prune-global", "autocast"), ("autocast", "prune-global")])
def test_a_scaled_update_keeps_the_masks_and_skips_what_overflows(chain: tuple[str, str]) -> None:
    params: dict[str, dict[str, Any]] = {"prune-global": {"amount": 0.5}, "autocast": {"dtype": "fp16"}}
    rig = Rig(*((name, params[name]) for name in chain))
    at_start = zeros(rig)
    rig.train(3)
    assert zeros(rig) >= at_start
    before = [parameter.clone() for parameter in rig.model.parameters()]
    forward = rig.step.forward

    def overflow(batch: TrainingBatch) -> tuple[Tensor, Tensor | None]:
        loss, right = forward(batch)
        return loss * float("inf"), right

    rig.step.forward = overflow
    (scaler,) = rig.step.states
    scale = scaler.get_scale()
    rig.step(rig.batch())
    assert all(torch.equal(now, then) for now, then in zip(rig.model.parameters(), before, strict=True))
    assert scaler.get_scale() < scale


@pytest.mark.parametrize("chain", [("autocast",), ("channels-last",), ("channels-last", "bf16")])
def test_a_rehearsal_under_other_arithmetic_leaves_no_trace(chain: tuple[str, ...]) -> None:
    tactics = [(name, {"dtype": "fp16"} if name == "autocast" else {}) for name in chain]
    untouched, rehearsed = (Rig(*tactics) for _ in range(2))
    rehearse(rehearsed.step, rehearsed.batch(3), times=2)
    for name, value in rehearsed.model.state_dict().items():
        assert torch.equal(value, untouched.model.state_dict()[name]), name
    assert [state.state_dict() for state in rehearsed.step.states] == [state.state_dict() for state in untouched.step.states]


def test_losses_and_targets_are_the_tasks_own() -> None:
    class Squares(ImageClassification):
        def loss(self, outputs: Any, targets: Tensor) -> tuple[Tensor, None]:
            return (outputs.logits**2).mean(), None

    job = make_job(model=preset("resnet"), batch_size=16, training=True)
    task = Squares(job)
    task.prepare()
    model = task.load()
    step = plain_step(task, model, torch.optim.SGD(model.parameters(), lr=0.1))
    loss, right = step(task.training_batch(torch.arange(16)))
    assert right is None
    assert loss >= 0

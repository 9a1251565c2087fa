"""Pruning during training: the cubic schedule, masks that hold, and true zeros in the end."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from greenray.errors import NotApplied, Unsupported
from greenray.tactics.base import Context
from greenray.tactics.registry import Chain, build
from greenray.tasks.base import TrainingBatch
from greenray.tasks.training_step import TrainingStep, rehearse

NAME = "prune-gradual"


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Rig:
    """A small network that learns to give zeros, for so many updates."""

    def __init__(self, *, updates: int, accumulation: int = 1, width: int = 32, **params: Any) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(8, width), nn.ReLU(), nn.Linear(width, 4))
        self.chain = Chain([(NAME, params)])
        self.chain.apply(self.model, Context(device="cpu", training=True))
        optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1, momentum=0.9)
        self.batch = TrainingBatch(inputs={"input": torch.randn(16, 8)}, targets=torch.zeros(16, 4))
        self.step = TrainingStep(
            model=self.model,
            optimizer=optimizer,
            forward=lambda batch: (((self.model(**batch.inputs) - batch.targets) ** 2).mean(), None),
            backward=lambda loss: loss.backward(),  # type: ignore[no-untyped-call]
            update=lambda: optimizer.step(),
            accumulation=accumulation,
            updates_total=updates,
        )
        self.chain.prepare_training(self.step)

    def train(self, batches: int) -> list[float]:
        """Share of the weights that are zero after each batch."""
        found = []
        for _ in range(batches):
            self.step(self.batch)
            found.append(self.zeros())
        return found

    def zeros(self) -> float:
        weights = [module.weight for module in self.model.modules() if isinstance(module, nn.Linear)]
        return sum(int((weight == 0).sum()) for weight in weights) / sum(weight.numel() for weight in weights)


def test_the_share_follows_the_cubic_schedule_and_is_a_true_one_in_the_end() -> None:
    rig = Rig(updates=40, amount=0.8, begin=0.25, end=0.75, every=5)
    course = rig.train(40)
    assert course[:9] == [0.0] * 9
    shares = {10: 0.0, 15: 0.8 * (1 - 0.75**3), 20: 0.8 * (1 - 0.5**3), 25: 0.8 * (1 - 0.25**3), 30: 0.8}
    for update, share in shares.items():
        assert course[update - 1] == pytest.approx(share, abs=0.01)
    assert course == sorted(course)
    assert course[-1] == course[29] == pytest.approx(0.8, abs=0.01)
    rig.chain.end_training(rig.model)
    evidence = rig.chain.evidence(rig.model)[NAME]
    assert evidence["sparsity_prunable"] == rig.zeros()
    assert [update for update, _ in evidence["schedule"]] == list(shares)
    assert evidence["schedule"][-1][1] == pytest.approx(evidence["sparsity_prunable"])
    assert not any("mask" in key for key in rig.model.state_dict())
    assert rig.chain.touched() == {"0", "2"}


def test_a_masked_weight_stays_masked_whatever_the_update_made_of_it() -> None:
    """Momentum moves masked weights too, and far, before the next ones are chosen."""
    rig = Rig(updates=40, amount=0.8, begin=0.0, end=1.0, every=1)
    rig.batch = rig.batch._replace(targets=torch.randn(16, 4) * 3)
    zeros = rig.model[0].weight == 0
    for _ in range(40):
        rig.train(1)
        before, zeros = zeros, rig.model[0].weight == 0
        assert not (before & ~zeros).any()


def test_every_layer_loses_its_own_smallest() -> None:
    rig = Rig(updates=1, amount=0.5, begin=0.0, end=1.0)
    rig.train(1)
    for layer in (rig.model[0], rig.model[2]):
        assert float((layer.weight == 0).float().mean()) == 0.5


def test_updates_are_counted_and_not_batches() -> None:
    rig = Rig(updates=10, accumulation=3, begin=0.5, end=1.0, every=1)
    course = rig.train(30)
    assert rig.step.updates == 10
    assert course[:17] == [0.0] * 17  # the sixth update is the first to mask
    assert course[17] > 0


def test_a_rehearsal_leaves_neither_mask_nor_count() -> None:
    rehearsed, plain = (Rig(updates=8, begin=0.0, end=1.0, every=1) for _ in range(2))
    rehearse(rehearsed.step, rehearsed.batch, times=3)
    assert (rehearsed.step.updates, rehearsed.zeros()) == (0, 0.0)
    assert rehearsed.train(8) == plain.train(8)
    assert rehearsed.chain.evidence(rehearsed.model) == plain.chain.evidence(plain.model)


def test_evidence_keeps_a_few_points_of_a_long_schedule() -> None:
    rig = Rig(updates=200, every=1)
    rig.train(200)
    schedule = rig.chain.evidence(rig.model)[NAME]["schedule"]
    assert 5 < len(schedule) <= 13
    assert schedule[-1][0] == 140


def test_what_it_cannot_do_is_said() -> None:
    with pytest.raises(Unsupported, match="use prune-local or prune-global in inference"):
        build(NAME).check(Context(device="cpu"))
    with pytest.raises(NotApplied, match="no linear or convolution layer"):
        build(NAME).apply(nn.ReLU(), Context(device="cpu", training=True))
    with pytest.raises(ValidationError, match=r"begin \(0.9\) must come before end \(0.7\)"):
        build(NAME, {"begin": 0.9})
    rig = Rig(updates=4, width=1, amount=0.01)
    rig.train(4)
    with pytest.raises(NotApplied, match="masks no weight"):
        rig.chain.evidence(rig.model)

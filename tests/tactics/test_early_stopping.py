"""When training ends: by what the last epochs brought for their joules, whatever their number."""

from collections.abc import Sequence

import pytest
from torch import nn

from greenray.errors import Unsupported
from greenray.tactics.base import KEEP_THE_MODEL, Context, Progress
from greenray.tactics.registry import Chain, build

NAME = "early-stopping"


def ended_after(points: Sequence[float], joules: Sequence[float], **params: float) -> tuple[int | None, dict[str, object]]:
    """The epoch that training ends with, None if it runs out, and the evidence; accuracy in points, J by epoch."""
    chain = Chain([(NAME, params)])
    model = chain.apply(nn.Linear(2, 2), Context(device="cpu", training=True))
    spent = 0.0
    for epoch, (accuracy, cost) in enumerate(zip(points, joules, strict=True), start=1):
        spent += cost
        if chain.is_enough(Progress(epoch=epoch, epochs=len(points), accuracy=accuracy / 100, energy_j=spent)):
            return epoch, chain.evidence(model)[NAME]
    assert chain.touched() == frozenset()  # the model is what it was
    return None, chain.evidence(model)[NAME]


def test_points_are_weighed_against_the_energy_they_added() -> None:
    # Each epoch adds 100, 50, 33, 25 ... % of what was spent: at 0.1 points for 1 %, 10, 5, 3.3, 2.5 ... points.
    rising = [10, 21, 27, 31, 33, 34, 40, 50]
    epoch, evidence = ended_after(rising, [7.0] * 8, patience=1, least_gain=0.1)
    assert epoch == 5  # 2 points, and 25 % more should bring 2.5
    assert evidence["ended_because"] == "1 more epochs brought 2.00 points of validation accuracy for 25.0 % more energy"
    assert evidence["energy_j"] == 35.0


def test_it_is_energy_and_not_epochs_that_counts() -> None:
    points = [50.0, 51.0, 52.0, 53.0]
    assert ended_after(points, [100.0, 1.0, 1.0, 1.0], patience=1, least_gain=0.1)[0] is None
    assert ended_after(points, [100.0, 100.0, 1.0, 1.0], patience=1, least_gain=0.1)[0] == 2


def test_an_epoch_that_was_worse_by_chance_is_waited_out() -> None:
    points = [50.0, 60.0, 59.0, 58.0, 70.0, 70.0, 70.0, 70.0, 70.0]
    assert ended_after(points, [1.0] * 9, patience=3, least_gain=0.02)[0] == 8
    assert ended_after(points, [1.0] * 9, patience=1, least_gain=0.02)[0] == 3


def test_training_that_ends_by_itself_was_not_ended() -> None:
    epoch, evidence = ended_after([50.0] * 3, [1.0] * 3, patience=2)
    assert (epoch, evidence["ended_because"]) == (None, None)
    assert (evidence["epochs"], evidence["epochs_asked"]) == (3, 3)


def test_energy_that_is_unknown_is_refused() -> None:
    tactic = build(NAME)
    tactic.apply(nn.Linear(2, 2), Context(device="cpu", training=True))
    with pytest.raises(Unsupported, match=r"unknown \(no counter\): give fewer epochs instead"):
        tactic.is_enough(Progress(epoch=1, epochs=9, accuracy=0.5, energy_j=None, unknown="no counter"))


def test_it_belongs_to_training_and_may_stand_anywhere() -> None:
    with pytest.raises(Unsupported, match="use it in a training experiment"):
        build(NAME).check(Context(device="cpu"))
    assert NAME in KEEP_THE_MODEL
    assert Chain([("baseline", {})]).held_out_share() == 0.0
    assert Chain([("baseline", {}), (NAME, {"validation_share": 0.2})]).held_out_share() == 0.2

"""Another batch size: what the task is told, and when there is nothing to compare."""

import pytest
from torch import nn

from greenray.errors import NotApplied, Unsupported
from greenray.tactics.base import Context
from greenray.tactics.registry import Chain, build


def test_a_chain_tells_the_size_that_it_wants_and_leaves_the_model_alone() -> None:
    chain = Chain([("batch-size", {"size": 8}), ("prune-local", {})])
    assert chain.batch_size(32) == 8
    assert Chain([("prune-local", {})]).batch_size(32) == 32
    context, model = Context(device="cpu", batch_size=32), nn.Linear(4, 4)
    chain.check(context)
    assert chain.apply(model, context) is model
    evidence = chain.evidence(model)["batch-size"]
    assert (evidence["batch_size"], evidence["batch_size_of_baseline"]) == (8, 32)
    assert "latency" in evidence["compared"]


def test_the_block_s_own_size_is_not_applied() -> None:
    with pytest.raises(NotApplied, match="32 samples already") as caught:
        Chain([("bf16", {}), ("batch-size", {"size": 32})]).check(Context(device="cpu", batch_size=32))
    assert caught.value.evidence["batch-size"]["batch_size"] == 32


def test_training_is_told_where_to_say_it() -> None:
    with pytest.raises(Unsupported, match="batch_sizes"):
        build("batch-size").check(Context(device="cpu", training=True))

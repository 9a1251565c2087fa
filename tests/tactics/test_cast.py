"""Casts of the whole model, and mixed precision."""

import pytest
import torch
from torch import nn

from greenray.errors import NotApplied, Unsupported
from greenray.tactics.base import Context
from greenray.tactics.registry import Chain, build
from tests.tactics.nets import NoLinear, answers

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@pytest.mark.parametrize("name", DTYPES)
def test_a_cast_takes_the_model_and_its_inputs(name: str, net: nn.Module, context: Context) -> None:
    before = answers(net, context)
    tactic = build(name)
    tactic.check(context)
    model = tactic.apply(net, context)
    after = answers(model, context)
    assert after.dtype == DTYPES[name]
    assert 0 < (after.float() - before).abs().max() < 0.05 * before.abs().max()
    assert tactic.evidence(model)["elements_converted"] == sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize("name", DTYPES)
def test_casting_twice_is_not_applied(name: str, net: nn.Module, context: Context) -> None:
    with pytest.raises(NotApplied, match="already"):
        Chain([(name, {}), (name, {})]).apply(net, context)


def test_weights_beyond_the_range_of_fp16_are_refused(net: nn.Module, context: Context) -> None:
    with torch.no_grad():
        net.get_parameter("body.weight")[0, 0] = 1e5
    build("bf16").apply(torch.nn.Sequential(net), Context(device="cpu"))
    net.float()
    with pytest.raises(Unsupported, match=r"1 weights are beyond the range of float16 \(65504\)"):
        build("fp16").apply(net, context)


def test_pure_fp16_is_not_trained() -> None:
    with pytest.raises(Unsupported, match="autocast and `dtype: fp16`"):
        build("fp16").check(Context(device="cpu", training=True))
    build("bf16").check(Context(device="cpu", training=True))


@pytest.mark.parametrize("dtype", DTYPES)
def test_autocast_runs_layers_in_the_lower_type_and_keeps_the_weights(dtype: str, net: nn.Module, context: Context) -> None:
    before = answers(net, context)
    tactic = build("autocast", {"dtype": dtype})
    tactic.check(context)
    model = tactic.apply(net, context)
    after = answers(model, context)
    assert after.dtype == DTYPES[dtype]
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
    assert 0 < (after.float() - before).abs().max() < 0.05 * before.abs().max()
    evidence = tactic.evidence(model)
    assert (evidence["modules_in_lower_precision"], evidence["modules_eligible"]) == (3, 3)
    tactic.end_training(model)
    assert torch.equal(answers(model, context), before)


def test_autocast_of_nothing_is_not_applied(context: Context) -> None:
    with pytest.raises(NotApplied, match="no layer ran in bfloat16"):
        build("autocast").apply(NoLinear().eval(), context)


def test_autocast_of_a_cast_model_is_not_applied(net: nn.Module, context: Context) -> None:
    with pytest.raises(NotApplied) as caught:
        Chain([("bf16", {}), ("autocast", {})]).apply(net, context)
    assert caught.value.evidence["autocast"]["modules_in_lower_precision"] == 0
    with pytest.raises(Unsupported, match="use one of them"):
        Chain([("autocast", {}), ("bf16", {})]).check(Context(device="cpu"))

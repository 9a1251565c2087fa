"""Dynamic quantisation with torch.ao on a small real model."""

import pytest
from torch import nn

from greenray.errors import NotApplied, Unsupported
from greenray.tactics.base import Context
from greenray.tactics.registry import Chain, build
from tests.tactics.nets import NoLinear, answers


def test_dynamic_quantization_converts_every_linear_layer(net: nn.Module, context: Context) -> None:
    before = answers(net, context)
    tactic = build("dynamic-quantization")
    tactic.check(context)
    model = tactic.apply(net, context)
    after = answers(model, context)
    evidence = tactic.evidence(model)
    assert (evidence["modules_converted"], evidence["modules_eligible"]) == (2, 2)
    assert evidence["weights_converted"] == 8 * 64 * 32 + 32 * 10
    assert evidence["kernels_device"] == "cpu"
    assert 0 < (after - before).abs().max() < 0.1 * before.abs().max()


def test_dynamic_quantization_on_cuda_names_the_two_ways_out() -> None:
    with pytest.raises(Unsupported, match=r"devices: \[cpu\].*int8-dynamic"):
        build("dynamic-quantization").check(Context(device="cuda", example={}))


def test_it_has_no_gradients() -> None:
    with pytest.raises(Unsupported, match="inference experiment"):
        build("dynamic-quantization").check(Context(device="cpu", training=True))


def test_nothing_to_convert_is_not_applied(context: Context) -> None:
    with pytest.raises(NotApplied):
        build("dynamic-quantization").apply(NoLinear().eval(), context)


@pytest.mark.parametrize("cast", ["bf16", "fp16"])
def test_behind_a_cast_it_is_refused_before_anything_is_loaded(cast: str) -> None:
    with pytest.raises(Unsupported, match=f"leave out the {cast}"):
        Chain([(cast, {}), ("dynamic-quantization", {})]).check(Context(device="cpu"))

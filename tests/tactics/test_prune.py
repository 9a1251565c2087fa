"""Pruning on a small real model: true shares of zeros, layer by layer and over the whole model."""

import copy

import pytest
import torch
from torch import nn

from greenray.errors import NotApplied
from greenray.tactics.base import Context
from greenray.tactics.prune import make_permanent
from greenray.tactics.registry import build
from tests.tactics.nets import Net, NoLinear, answers


@pytest.mark.parametrize("name", ["prune-local", "prune-global"])
@pytest.mark.parametrize("permanent", [True, False])
def test_pruning_reaches_the_share_it_was_told(name: str, permanent: bool, net: nn.Module, context: Context) -> None:
    tactic = build(name, {"amount": 0.5, "permanent": permanent})
    model = tactic.apply(net, context)
    answers(model, context)
    evidence = tactic.evidence(model)
    assert evidence["sparsity_prunable"] == pytest.approx(0.5, abs=0.01)
    weights = [net.conv.weight, net.body.weight, net.head.weight]
    zeros = sum(int((weight == 0).sum()) for weight in weights)
    assert zeros / sum(weight.numel() for weight in weights) == pytest.approx(0.5, abs=0.01)
    assert zeros / sum(p.numel() for p in net.parameters()) == pytest.approx(evidence["sparsity_model"], abs=0.01)
    assert hasattr(net.conv, "weight_mask") is not permanent


def test_local_pruning_treats_layers_alike_and_global_does_not(context: Context) -> None:
    spread = {}
    for name in ("prune-local", "prune-global"):
        torch.manual_seed(0)
        model = Net().eval()
        with torch.no_grad():
            model.head.weight.mul_(100)
        tactic = build(name, {"amount": 0.5})
        evidence = tactic.evidence(tactic.apply(model, context))
        spread[name] = (evidence["sparsity_layer_min"], evidence["sparsity_layer_max"], evidence["sparsity_layer_min_name"])
    assert spread["prune-local"][:2] == pytest.approx((0.5, 0.5), abs=0.02)
    assert spread["prune-global"][0] < 0.02
    assert spread["prune-global"][2] == "head"


def test_masks_and_permanent_zeros_compute_the_same(net: nn.Module, context: Context) -> None:
    other = copy.deepcopy(net)
    masked = build("prune-global", {"amount": 0.5, "permanent": False}).apply(net, context)
    fixed = build("prune-global", {"amount": 0.5}).apply(other, context)
    torch.testing.assert_close(answers(masked, context), answers(fixed, context))
    make_permanent(masked)
    assert masked.state_dict().keys() == fixed.state_dict().keys()


@pytest.mark.parametrize("name", ["prune-local", "prune-global"])
def test_nothing_to_prune_is_not_applied(name: str, context: Context) -> None:
    with pytest.raises(NotApplied):
        build(name).apply(NoLinear().eval(), context)


def test_an_amount_too_small_to_zero_anything_is_not_applied(context: Context) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    with pytest.raises(NotApplied, match="no further weight"):
        build("prune-local", {"amount": 0.001}).apply(model, context)

"""Channels-last order on small real models."""

import pytest
import torch
from torch import Tensor, nn

from greenray.errors import NotApplied
from greenray.tactics.base import Context
from greenray.tactics.registry import build
from tests.tactics.nets import Net, NoLinear, answers


def test_convolutions_give_their_results_in_the_other_order(net: nn.Module, context: Context) -> None:
    before = answers(net, context)
    tactic = build("channels-last")
    tactic.check(context)
    model = tactic.apply(net, context)
    torch.testing.assert_close(answers(model, context), before, rtol=1e-4, atol=1e-5)
    assert tactic.evidence(model) == {"convolutions": 1, "convolutions_channels_last": 1}
    assert model.get_parameter("conv.weight").is_contiguous(memory_format=torch.channels_last)
    tactic.end_training(model)
    assert all(value.is_contiguous() for value in model.state_dict().values())


def test_without_convolutions_it_is_not_applied(context: Context) -> None:
    with pytest.raises(NotApplied, match="no two-dimensional convolution"):
        build("channels-last").apply(NoLinear().eval(), context)


def test_results_that_come_in_the_old_order_are_not_applied(context: Context) -> None:
    class OldOrder(nn.Conv2d):
        def forward(self, input: Tensor) -> Tensor:
            return super().forward(input).contiguous()

    model = Net()
    model.conv = OldOrder(1, 8, 3, padding=1)
    with pytest.raises(NotApplied, match="another order") as caught:
        build("channels-last").apply(model.eval(), context)
    assert caught.value.evidence == {"convolutions": 1, "convolutions_channels_last": 0}

"""Figures of merit against values known from elsewhere."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from greenray.cell import quality
from greenray.tactics.base import Context
from greenray.tactics.registry import build


@pytest.mark.parametrize(
    ("correct", "total", "low", "high"),
    [
        # statsmodels.stats.proportion.proportion_confint(..., method="wilson")
        (0, 10, 0.0, 0.2775328),
        (10, 10, 0.7224672, 1.0),
        (5, 10, 0.2365931, 0.7634069),
        (342, 360, 0.9223107, 0.9681562),
        (81, 263, 0.2553036, 0.3662034),
    ],
)
def test_wilson_interval_is_the_known_one(correct: int, total: int, low: float, high: float) -> None:
    assert quality.wilson_interval(correct, total) == pytest.approx((low, high), abs=2e-4)


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_interval_solves_its_defining_equation(counts: tuple[int, int]) -> None:
    correct, total = counts
    low, high = quality.wilson_interval(correct, total)
    share = correct / total
    assert 0 <= low <= share <= high <= 1
    for edge in (low, high):
        if 0 < edge < 1:
            assert abs(share - edge) == pytest.approx(1.959964 * math.sqrt(edge * (1 - edge) / total), abs=1e-6)


def test_nothing_counted_says_nothing() -> None:
    assert quality.wilson_interval(0, 0) == (0.0, 1.0)


def test_sizes_follow_the_bytes_that_are_stored() -> None:
    model = nn.Sequential(nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 8))
    full = quality.size_bytes(model)
    assert full == pytest.approx(4 * quality.parameters(model), rel=0.02)
    context = Context(device="cpu", example={"pixel_values": torch.randn(4, 256)})
    quantised = build("dynamic-quantization").apply(model, context)
    assert quality.size_bytes(quantised) == pytest.approx(full / 4, rel=0.1)
    assert quality.is_packed(quantised)
    assert quality.nonzero_parameters(quantised) is None


def test_shared_parameters_count_once_and_masks_count_as_zeros() -> None:
    shared = nn.Linear(10, 10, bias=False)
    model = nn.Sequential(shared, shared)
    assert quality.parameters(model) == 100
    assert quality.nonzero_parameters(model) == 100
    context = Context(device="cpu", example={"input": torch.randn(4, 10)})
    build("prune-global", {"amount": 0.4, "permanent": False}).apply(model, context)
    assert quality.nonzero_parameters(model) == 60


def test_operations_of_a_convolution_are_those_of_the_textbook() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 3, padding=1, bias=False)
            self.head = nn.Linear(8 * 64, 10)

        def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
            return self.head(self.conv(pixel_values).flatten(1))

    macs, flops = quality.operations_per_sample(Net().to("meta"), shape=(3, 8, 8))
    assert macs == 64 * 8 * 27 + 8 * 64 * 10
    assert flops == 2 * macs

"""Figures of merit against values known from elsewhere."""

import pytest
import torch
from torch import nn
from transformers import PretrainedConfig

from greenray.cell import footprint
from greenray.tactics.base import Context
from greenray.tactics.registry import build


def test_sizes_follow_the_bytes_that_are_stored() -> None:
    model = nn.Sequential(nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 8))
    full = footprint.size_bytes(model)
    assert full == pytest.approx(4 * footprint.parameters(model), rel=0.02)
    context = Context(device="cpu", example={"pixel_values": torch.randn(4, 256)})
    quantised = build("dynamic-quantization").apply(model, context)
    assert footprint.size_bytes(quantised) == pytest.approx(full / 4, rel=0.1)
    assert footprint.is_packed(quantised)
    assert footprint.nonzero_parameters(quantised) is None


def test_shared_parameters_count_once_and_masks_count_as_zeros() -> None:
    shared = nn.Linear(10, 10, bias=False)
    model = nn.Sequential(shared, shared)
    assert footprint.parameters(model) == 100
    assert footprint.nonzero_parameters(model) == 100
    context = Context(device="cpu", example={"input": torch.randn(4, 10)})
    build("prune-global", {"amount": 0.4, "permanent": False}).apply(model, context)
    assert footprint.nonzero_parameters(model) == 60


def test_operations_of_a_convolution_are_those_of_the_textbook() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 3, padding=1, bias=False)
            self.head = nn.Linear(8 * 64, 10)

        def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
            return self.head(self.conv(pixel_values).flatten(1))

    macs, flops = footprint.operations_per_sample(Net().to("meta"), {"pixel_values": torch.empty(1, 3, 8, 8, device="meta")})
    assert macs == 64 * 8 * 27 + 8 * 64 * 10
    assert flops == 2 * macs


def test_a_model_that_comes_quantised_is_told_by_its_configuration_or_its_weights() -> None:
    model = nn.Sequential(nn.Linear(8, 8))
    assert footprint.quantized(model) is None
    packed = build("dynamic-quantization").apply(nn.Sequential(nn.Linear(8, 8)), Context(device="cpu"))
    assert footprint.quantized(packed) == "packed weights"
    whole = nn.Sequential(nn.Linear(8, 8))
    whole[0].weight = nn.Parameter(torch.zeros(8, 8, dtype=torch.int8), requires_grad=False)
    assert footprint.quantized(whole) == "int8"
    model.config = PretrainedConfig(quantization_config={"quant_method": "fbgemm_fp8"})  # type: ignore[assignment]
    assert footprint.quantized(model) == "fbgemm_fp8"

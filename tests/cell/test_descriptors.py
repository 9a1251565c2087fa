"""What layers give out and move, against counts by hand."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from greenray.cell.descriptors import traffic_per_sample
from greenray.tasks.registry import task_class
from tests.support.driving import drive, make_job, make_task, preset

BYTES = 4


class Net(nn.Module):
    """A convolution of 3 to 8 channels on 8 x 8, and a head of 10 classes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Linear(8 * 64, 10)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        return self.head(functional.relu(self.norm(self.conv(pixel_values))).flatten(1))


class Attention(nn.Module):
    """Five tokens of width 8, two heads of 4 after a projection to queries, keys and values."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(8, 24, bias=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        query, key, value = self.project(tokens).view(*tokens.shape[:2], 3, 2, 4).permute(2, 0, 3, 1, 4)
        return functional.scaled_dot_product_attention(query, key, value)


@pytest.mark.parametrize("batch_size", [1, 16])
def test_layers_with_weights_count_and_normalisation_does_not(batch_size: int) -> None:
    found = traffic_per_sample(Net().to("meta").eval(), {"pixel_values": meta(1, 3, 8, 8)}, batch_size=batch_size)
    assert found.activations == 8 * 64 + 10
    own, shared = (3 * 64 + 8 * 64) + (8 * 64 + 10), 8 * 27 + 8 * 64 * 10 + 10
    assert found.bytes_moved == pytest.approx(BYTES * (own + shared / batch_size))


def test_attention_is_its_two_products() -> None:
    found = traffic_per_sample(Attention().to("meta"), {"tokens": meta(1, 5, 8)}, batch_size=4)
    scores = 2 * 5 * 5
    assert found.activations == 5 * 24 + scores + 5 * 8
    projection = 5 * 8 + 8 * 24 / 4 + 5 * 24
    products = (5 * 8 + 5 * 8 + scores) + (scores + 5 * 8 + 5 * 8)
    assert found.bytes_moved == pytest.approx(BYTES * (projection + products))


def test_half_precision_moves_half_and_gives_out_as_much() -> None:
    one = {"pixel_values": meta(1, 3, 8, 8)}
    full = traffic_per_sample(Net().to("meta").eval(), one, batch_size=2)
    half = traffic_per_sample(Net().to("meta").half().eval(), {"pixel_values": one["pixel_values"].half()}, batch_size=2)
    assert half == (full.activations, full.bytes_moved / 2)


def test_what_is_broadcast_is_stored_once() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.basis = nn.Parameter(torch.zeros(1, 6, 7))

        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            return torch.bmm(rows, self.basis.expand(len(rows), 6, 7))

    found = traffic_per_sample(Shared().to("meta"), {"rows": meta(1, 5, 6)}, batch_size=3)
    assert found.activations == 5 * 7
    assert found.bytes_moved == pytest.approx(BYTES * (5 * 6 + 6 * 7 / 3 + 5 * 7))


@pytest.mark.parametrize("architecture", ["vit", "swin", "efficientnet"])
def test_real_models_give_out_the_same_whatever_the_batch_and_share_their_weights(architecture: str) -> None:
    task = task_class("image-classification")(make_job(model=preset(architecture), batch_size=2))
    task.prepare()
    skeleton, one = task.skeleton()
    alone, shared = (traffic_per_sample(skeleton, one, batch_size=batch_size) for batch_size in (1, 64))
    assert alone.activations == shared.activations
    weights = sum(p.numel() for p in skeleton.parameters())
    saved = (alone.bytes_moved - shared.bytes_moved) / (BYTES * 63 / 64)
    assert 0.9 * weights < saved < 1.1 * weights  # norms and embeddings are no such layers


def test_a_cell_tells_them_of_its_baseline_and_of_its_blocks_batch() -> None:
    larger_batch = ("batch-size", {"size": 8})
    plain, larger = (drive(make_task(batch_size=4, tactic=(step,))).done for step in ("baseline", larger_batch))
    assert (plain.measured_batch_size, larger.measured_batch_size) == (4, 8)
    assert plain.activations_per_sample is not None
    assert plain.activations_per_sample > 0
    assert (plain.activations_per_sample, plain.bytes_moved_per_sample) == (
        larger.activations_per_sample,
        larger.bytes_moved_per_sample,
    )


def meta(*shape: int) -> torch.Tensor:
    return torch.empty(shape, device="meta")

"""Small models for tactics, real ones of transformers among them, and their answers."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForImageClassification
from transformers.models.vit import modeling_vit  # noqa: F401  (now, and not while a board is played)

from greenray.tactics.base import Context

# A build with CUDA asks the driver for streams when it compiles on what it takes for a board.
COMPILES_AS_PLAYED = pytest.mark.skipif(
    torch.backends.cuda.is_built(), reason="a board can be played for compile in a CPU build only"
)
VIT = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "patch_size": 4}


class Net(nn.Module):
    """A convolution, two linear layers, and the calling convention of an image classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, padding=1)
        self.body = nn.Linear(8 * 64, 32)
        self.head = nn.Linear(32, 10)

    def forward(self, pixel_values: Tensor) -> Tensor:
        return self.head(self.body(self.conv(pixel_values).relu().flatten(1)).relu())


class NoLinear(nn.Module):
    """Nothing in it multiplies matrices."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(10))

    def forward(self, pixel_values: Tensor) -> Tensor:
        return pixel_values.flatten(1)[:, :10] * self.scale


def vit() -> Any:
    """A vision transformer of two layers for images of 8 x 8, as transformers builds it."""
    torch.manual_seed(0)
    config = AutoConfig.for_model("vit", image_size=8, num_channels=1, num_labels=10, **VIT)
    return AutoModelForImageClassification.from_config(config).eval()


def answers(model: nn.Module, context: Context) -> Tensor:
    with torch.inference_mode():
        found = model(**context.example)
    return found if isinstance(found, Tensor) else found.logits

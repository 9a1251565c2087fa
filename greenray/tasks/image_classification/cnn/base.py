"""What all these networks share, so that transformers saves, finds and builds them like its own.

The bodies follow https://github.com/kuangliu/pytorch-cifar, which most measurements on CIFAR mean by these names.
"""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel, initialization
from transformers.modeling_outputs import ImageClassifierOutputWithNoAttention

Body = tuple[list[nn.Module], int]
"""Layers from images (samples, channels, height, width) to features (samples, features), and how many features there are."""


class CnnConfig(PretrainedConfig):  # type: ignore[misc]
    """What all of them are told beside their classes; `width` is what the published numbers of channels are multiplied by."""

    num_channels: int = 3
    image_size: int = 32
    width: float = 1.0

    def channels(self, published: int, *, multiple: int = 1) -> int:
        """The published number times `width`, as a multiple that is not 0."""
        return multiple * max(1, round(published * self.width / multiple))


class Cnn(PreTrainedModel):  # type: ignore[misc]
    """A body and a linear classifier; answers pixels (images, channels, height, width) with `.logits` (images, classes)."""

    base_model_prefix = "features"
    main_input_name = "pixel_values"

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        layers, features = self.body(config)
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(features, config.num_labels)
        self.post_init()

    @staticmethod
    def body(config: Any) -> Body:
        raise NotImplementedError

    def forward(self, pixel_values: torch.Tensor) -> ImageClassifierOutputWithNoAttention:
        return ImageClassifierOutputWithNoAttention(logits=self.classifier(self.features(pixel_values)))

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """As torch does it by itself; transformers would draw all weights from one narrow normal distribution."""
        super()._init_weights(module)
        if isinstance(module, nn.Conv2d | nn.Linear):
            initialization.kaiming_uniform_(module.weight, a=math.sqrt(5))
            if module.bias is not None:
                bound = 1 / math.sqrt(module.weight[0].numel())
                initialization.uniform_(module.bias, -bound, bound)


def conv_bn(
    inputs: int, outputs: int, kernel: int = 3, *, stride: int = 1, groups: int = 1, bias: bool = False, act: Any = nn.ReLU
) -> nn.Sequential:
    """A convolution that keeps height and width (at stride 1), batch normalisation, and an activation unless that is None."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=bias)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), *([] if act is None else [act()]))


def shortcut(inputs: int, outputs: int, *, stride: int) -> nn.Module:
    """What a residual is added to: the input, brought to its shape where that differs."""
    same = stride == 1 and inputs == outputs
    return nn.Identity() if same else conv_bn(inputs, outputs, 1, stride=stride, act=None)


def pooled() -> list[nn.Module]:
    """From (samples, channels, height, width) to the means (samples, channels)."""
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten()]


def strides(first: int, blocks: int) -> Iterable[int]:
    """Those of a stage's blocks: the first one halves the image or does not."""
    return [first, *[1] * (blocks - 1)]

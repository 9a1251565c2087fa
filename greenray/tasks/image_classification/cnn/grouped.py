"""Bottlenecks with grouped convolutions: ResNeXt29 2x64d (Xie et al., 2017) and RegNetX-200MF (Radosavovic et al., 2020)."""

import torch
from torch import nn
from torch.nn.functional import relu

from greenray.tasks.image_classification.cnn.base import Body, Cnn, CnnConfig, conv_bn, pooled, shortcut, strides

Depths = list[int] | tuple[int, ...]


class Bottleneck(nn.Module):
    """1 x 1 to `middle` channels, 3 x 3 in groups, 1 x 1 to `outputs` channels."""

    def __init__(self, inputs: int, middle: int, outputs: int, *, stride: int, groups: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            conv_bn(inputs, middle, 1),
            conv_bn(middle, middle, stride=stride, groups=groups),
            conv_bn(middle, outputs, 1, act=None),
        )
        self.shortcut = shortcut(inputs, outputs, stride=stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return relu(self.residual(x) + self.shortcut(x))


class ResNextConfig(CnnConfig):
    """`depths`: blocks of each stage; `groups`: of each convolution (the cardinality)."""

    model_type = "cifar-resnext"
    depths: Depths = (3, 3, 3)
    groups: int = 2


class ResNext(Cnn):
    config_class = ResNextConfig

    @staticmethod
    def body(config: ResNextConfig) -> Body:
        last = config.channels(64)
        layers: list[nn.Module] = [conv_bn(config.num_channels, last, 1)]
        for published, first, depth in zip((128, 256, 512), (1, 2, 2), config.depths, strict=True):
            middle = config.channels(published, multiple=config.groups)
            for stride in strides(first, depth):
                layers.append(Bottleneck(last, middle, 2 * middle, stride=stride, groups=config.groups))
                last = 2 * middle
        return [*layers, *pooled()], last


class RegNetConfig(CnnConfig):
    """`depths`: blocks of each stage; `group_width`: channels of a group."""

    model_type = "cifar-regnet"
    depths: Depths = (1, 1, 4, 7)
    group_width: int = 8


class RegNet(Cnn):
    config_class = RegNetConfig

    @staticmethod
    def body(config: RegNetConfig) -> Body:
        last = config.channels(64)
        layers: list[nn.Module] = [conv_bn(config.num_channels, last)]
        for published, first, depth in zip((24, 56, 152, 368), (1, 1, 2, 2), config.depths, strict=True):
            outputs = config.channels(published, multiple=config.group_width)
            for stride in strides(first, depth):
                layers.append(Bottleneck(last, outputs, outputs, stride=stride, groups=outputs // config.group_width))
                last = outputs
        return [*layers, *pooled()], last

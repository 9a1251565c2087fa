"""Four ways beside each other: GoogLeNet (Szegedy et al., 2015), its 5 x 5 convolutions as two of 3 x 3 and normalised."""

import torch
from torch import nn

from greenray.tasks.image_classification.cnn.base import Body, Cnn, CnnConfig, conv_bn, pooled

# Channels: of 1 x 1; before and behind 3 x 3; before and behind 5 x 5; behind the maximum.
_STAGES = (
    ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)),
    (
        (192, 96, 208, 16, 48, 64),
        (160, 112, 224, 24, 64, 64),
        (128, 128, 256, 24, 64, 64),
        (112, 144, 288, 32, 64, 64),
        (256, 160, 320, 32, 128, 128),
    ),
    ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)),
)


class Inception(nn.Module):
    def __init__(self, inputs: int, one: int, before3: int, three: int, before5: int, five: int, behind_pool: int) -> None:
        super().__init__()
        self.ways = nn.ModuleList(
            [
                conv_bn(inputs, one, 1, bias=True),
                nn.Sequential(conv_bn(inputs, before3, 1, bias=True), conv_bn(before3, three, bias=True)),
                nn.Sequential(
                    conv_bn(inputs, before5, 1, bias=True), conv_bn(before5, five, bias=True), conv_bn(five, five, bias=True)
                ),
                nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), conv_bn(inputs, behind_pool, 1, bias=True)),
            ]
        )
        self.outputs = one + three + five + behind_pool

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([way(x) for way in self.ways], dim=1)


class GoogLeNetConfig(CnnConfig):
    """`depths`: how many of the published blocks each stage has, counted from its first."""

    model_type = "cifar-googlenet"
    depths: list[int] | tuple[int, ...] = (2, 5, 2)


class GoogLeNet(Cnn):
    config_class = GoogLeNetConfig

    @staticmethod
    def body(config: GoogLeNetConfig) -> Body:
        last = config.channels(192)
        layers: list[nn.Module] = [conv_bn(config.num_channels, last, bias=True)]
        for number, (stage, depth) in enumerate(zip(_STAGES, config.depths, strict=True)):
            if number:
                layers.append(nn.MaxPool2d(3, stride=2, padding=1))
            for published in stage[:depth]:
                block = Inception(last, *(config.channels(count) for count in published))
                layers.append(block)
                last = block.outputs
        return [*layers, *pooled()], last

"""What earlier layers found is kept beside what later ones add: DenseNet121 (Huang et al., 2017) and, in one path of two,
DPN26 (Chen et al., 2017)."""

import torch
from torch import nn
from torch.nn.functional import relu

from greenray.tasks.image_classification.cnn.base import Body, Cnn, CnnConfig, conv_bn, pooled, strides

Depths = list[int] | tuple[int, ...]


def _bn_conv(inputs: int, outputs: int, kernel: int) -> list[nn.Module]:
    return [nn.BatchNorm2d(inputs), nn.ReLU(), nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)]


class DenseBlock(nn.Module):
    """Puts `growth` more channels in front of those that it is given."""

    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.more = nn.Sequential(*_bn_conv(inputs, 4 * growth, 1), *_bn_conv(4 * growth, growth, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.more(x), x], dim=1)


class DenseNetConfig(CnnConfig):
    """`depths`: blocks of each stage."""

    model_type = "cifar-densenet"
    depths: Depths = (6, 12, 24, 16)


class DenseNet(Cnn):
    config_class = DenseNetConfig

    @staticmethod
    def body(config: DenseNetConfig) -> Body:
        growth = config.channels(32)
        last = 2 * growth
        layers: list[nn.Module] = [nn.Conv2d(config.num_channels, last, 3, padding=1, bias=False)]
        for number, depth in enumerate(config.depths):
            if number:
                layers += [*_bn_conv(last, last // 2, 1), nn.AvgPool2d(2)]
                last //= 2
            for _ in range(depth):
                layers.append(DenseBlock(last, growth))
                last += growth
        return [*layers, nn.BatchNorm2d(last), nn.ReLU(), *pooled()], last


class DualPathBlock(nn.Module):
    """Adds to the first `added` channels, puts `more` behind the others; `opens` a stage with a convolution as its shortcut."""

    def __init__(self, inputs: int, middle: int, added: int, more: int, *, stride: int, groups: int, opens: bool) -> None:
        super().__init__()
        self.added = added
        self.residual = nn.Sequential(
            conv_bn(inputs, middle, 1),
            conv_bn(middle, middle, stride=stride, groups=groups),
            conv_bn(middle, added + more, 1, act=None),
        )
        self.shortcut = conv_bn(inputs, added + more, 1, stride=stride, act=None) if opens else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        new, old = self.residual(x), self.shortcut(x)
        added = self.added
        return relu(torch.cat([old[:, :added] + new[:, :added], old[:, added:], new[:, added:]], dim=1))


class DpnConfig(CnnConfig):
    """`depths`: blocks of each stage; `groups`: of each convolution."""

    model_type = "cifar-dpn"
    depths: Depths = (2, 2, 2, 2)
    groups: int = 32


class Dpn(Cnn):
    config_class = DpnConfig

    @staticmethod
    def body(config: DpnConfig) -> Body:
        last = config.channels(64)
        layers: list[nn.Module] = [conv_bn(config.num_channels, last)]
        stages = zip((96, 192, 384, 768), (256, 512, 1024, 2048), (16, 32, 24, 128), (1, 2, 2, 2), config.depths, strict=True)
        for published, residual, dense, first, depth in stages:
            middle = config.channels(published, multiple=config.groups)
            added, more = config.channels(residual), config.channels(dense)
            for number, stride in enumerate(strides(first, depth)):
                opens = number == 0
                layers.append(DualPathBlock(last, middle, added, more, stride=stride, groups=config.groups, opens=opens))
                last = added + more * (number + 2)
        return [*layers, *pooled()], last

"""Convolutions of each channel by itself: MobileNet (Howard et al., 2017), MobileNetV2 (Sandler et al., 2018) and
EfficientNetB0 (Tan and Le, 2019)."""

import torch
from torch import nn

from greenray.tasks.image_classification.cnn.base import Body, Cnn, CnnConfig, conv_bn, pooled, shortcut, strides

Depths = list[int] | tuple[int, ...]


class MobileNetConfig(CnnConfig):
    """`depths`: blocks before and behind each halving of the image."""

    model_type = "cifar-mobilenet"
    depths: Depths = (1, 2, 2, 6, 2)


class MobileNet(Cnn):
    config_class = MobileNetConfig

    @staticmethod
    def body(config: MobileNetConfig) -> Body:
        last = config.channels(32)
        layers: list[nn.Module] = [conv_bn(config.num_channels, last)]
        for published, first, depth in zip((64, 128, 256, 512, 1024), (1, 2, 2, 2, 2), config.depths, strict=True):
            outputs = config.channels(published)
            for stride in strides(first, depth):
                layers += [conv_bn(last, last, stride=stride, groups=last), conv_bn(last, outputs, 1)]
                last = outputs
        return [*layers, *pooled()], last


class InvertedBlock(nn.Module):
    """1 x 1 to more channels, each convolved by itself, 1 x 1 back; added to the input where the image keeps its size."""

    def __init__(self, inputs: int, expansion: int, outputs: int, *, stride: int) -> None:
        super().__init__()
        many = expansion * inputs
        self.residual = nn.Sequential(
            conv_bn(inputs, many, 1), conv_bn(many, many, stride=stride, groups=many), conv_bn(many, outputs, 1, act=None)
        )
        self.shortcut = shortcut(inputs, outputs, stride=1) if stride == 1 else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        new: torch.Tensor = self.residual(x)
        return new if self.shortcut is None else new + self.shortcut(x)


class MobileNetV2Config(CnnConfig):
    """`depths`: blocks of each stage."""

    model_type = "cifar-mobilenet-v2"
    depths: Depths = (1, 2, 3, 4, 3, 3, 1)


class MobileNetV2(Cnn):
    config_class = MobileNetV2Config

    @staticmethod
    def body(config: MobileNetV2Config) -> Body:
        last = config.channels(32)
        layers: list[nn.Module] = [conv_bn(config.num_channels, last)]
        stages = zip((1, *[6] * 6), (16, 24, 32, 64, 96, 160, 320), (1, 1, 2, 2, 1, 2, 1), config.depths, strict=True)
        for expansion, published, first, depth in stages:
            for stride in strides(first, depth):
                layers.append(InvertedBlock(last, expansion, config.channels(published), stride=stride))
                last = config.channels(published)
        features = config.channels(1280)
        return [*layers, conv_bn(last, features, 1), *pooled()], features


class MbBlock(nn.Module):
    """An inverted block with squeeze and excitation; while it learns, the residual of some samples is left out."""

    def __init__(self, inputs: int, expansion: int, outputs: int, kernel: int, *, stride: int, drop: float) -> None:
        super().__init__()
        many, few = expansion * inputs, max(1, inputs // 4)
        widen = [] if expansion == 1 else [conv_bn(inputs, many, 1, act=nn.SiLU)]
        self.before = nn.Sequential(*widen, conv_bn(many, many, kernel, stride=stride, groups=many, act=nn.SiLU))
        self.excite = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(many, few, 1), nn.SiLU(), nn.Conv2d(few, many, 1), nn.Sigmoid()
        )
        self.narrow = conv_bn(many, outputs, 1, act=None)
        self.adds = stride == 1 and inputs == outputs
        self.drop = drop

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        wide = self.before(x)
        new: torch.Tensor = self.narrow(wide * self.excite(wide))
        if not self.adds:
            return new
        if self.training and self.drop:
            kept = torch.rand(len(x), 1, 1, 1, device=x.device, dtype=x.dtype) >= self.drop
            new = new * kept / (1 - self.drop)
        return new + x


class EfficientNetConfig(CnnConfig):
    """`depths`: blocks of each stage; `dropout` of features, `drop_connect` of residuals: the most, in the last block."""

    model_type = "cifar-efficientnet"
    depths: Depths = (1, 2, 2, 3, 3, 4, 1)
    dropout: float = 0.2
    drop_connect: float = 0.2


class EfficientNet(Cnn):
    config_class = EfficientNetConfig

    @staticmethod
    def body(config: EfficientNetConfig) -> Body:
        last = config.channels(32)
        layers: list[nn.Module] = [conv_bn(config.num_channels, last, act=nn.SiLU)]
        published = ((1, 16, 3, 1), (6, 24, 3, 2), (6, 40, 5, 2), (6, 80, 3, 2), (6, 112, 5, 1), (6, 192, 5, 2), (6, 320, 3, 1))
        for (expansion, count, kernel, first), depth in zip(published, config.depths, strict=True):
            for stride in strides(first, depth):
                drop = config.drop_connect * (len(layers) - 1) / sum(config.depths)
                layers.append(MbBlock(last, expansion, config.channels(count), kernel, stride=stride, drop=drop))
                last = config.channels(count)
        return [*layers, *pooled(), nn.Dropout(config.dropout)], last

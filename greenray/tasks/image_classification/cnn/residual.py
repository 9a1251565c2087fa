"""Two 3 x 3 convolutions beside a shortcut: ResNet18 (He et al., 2016a), with activations first PreActResNet18 (He et al.,
2016b), and with channels weighed by squeeze and excitation SENet18 (Hu et al., 2018)."""

import torch
from torch import nn
from torch.nn.functional import relu

from greenray.tasks.image_classification.cnn.base import Body, Cnn, CnnConfig, conv_bn, pooled, shortcut, strides

_REDUCTION = 16


class BasicBlock(nn.Module):
    """Convolution, normalisation, activation; `outputs` channels."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(conv_bn(inputs, outputs, stride=stride), conv_bn(outputs, outputs, act=None))
        self.shortcut = shortcut(inputs, outputs, stride=stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return relu(self.residual(x) + self.shortcut(x))


class PreActBlock(nn.Module):
    """Normalisation, activation, convolution; the shortcut begins behind the first activation where it is a convolution."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.before = nn.Sequential(nn.BatchNorm2d(inputs), nn.ReLU())
        self.residual = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
        )
        same = stride == 1 and inputs == outputs
        self.shortcut = None if same else nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        active = self.before(x)
        straight: torch.Tensor = x if self.shortcut is None else self.shortcut(active)
        return straight + self.weigh(self.residual(active))

    def weigh(self, residual: torch.Tensor) -> torch.Tensor:
        return residual


class SqueezeExciteBlock(PreActBlock):
    """The same, each channel of the residual weighed by what all of them are on average."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__(inputs, outputs, stride)
        few = max(1, outputs // _REDUCTION)
        self.excite = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(outputs, few, 1), nn.ReLU(), nn.Conv2d(few, outputs, 1), nn.Sigmoid()
        )

    def weigh(self, residual: torch.Tensor) -> torch.Tensor:
        weights: torch.Tensor = self.excite(residual)
        return residual * weights


class _Config(CnnConfig):
    """`depths`: blocks of each stage."""

    depths: list[int] | tuple[int, ...] = (2, 2, 2, 2)


def _body(config: _Config, stem: list[nn.Module], block: type[nn.Module]) -> Body:
    layers, last = stem, config.channels(64)
    for published, first, depth in zip((64, 128, 256, 512), (1, 2, 2, 2), config.depths, strict=True):
        for stride in strides(first, depth):
            layers.append(block(last, config.channels(published), stride))
            last = config.channels(published)
    return [*layers, *pooled()], last


class ResNetConfig(_Config):
    model_type = "cifar-resnet"


class ResNet(Cnn):
    config_class = ResNetConfig

    @staticmethod
    def body(config: ResNetConfig) -> Body:
        return _body(config, [conv_bn(config.num_channels, config.channels(64))], BasicBlock)


class PreActResNetConfig(_Config):
    model_type = "cifar-preact-resnet"


class PreActResNet(Cnn):
    config_class = PreActResNetConfig

    @staticmethod
    def body(config: PreActResNetConfig) -> Body:
        stem = nn.Conv2d(config.num_channels, config.channels(64), 3, padding=1, bias=False)
        return _body(config, [stem], PreActBlock)


class SeNetConfig(_Config):
    model_type = "cifar-senet"


class SeNet(Cnn):
    config_class = SeNetConfig

    @staticmethod
    def body(config: SeNetConfig) -> Body:
        return _body(config, [conv_bn(config.num_channels, config.channels(64))], SqueezeExciteBlock)

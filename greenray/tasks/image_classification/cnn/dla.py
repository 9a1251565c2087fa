"""Blocks joined as a tree: deep layer aggregation (Yu et al., 2018), in the simple form in which a root joins two branches."""

import torch
from torch import nn

from greenray.tasks.image_classification.cnn.base import Body, Cnn, CnnConfig, conv_bn, pooled
from greenray.tasks.image_classification.cnn.residual import BasicBlock


class Tree(nn.Module):
    """Two branches one after the other, of blocks (level 1) or of trees, and a 1 x 1 convolution of what both found."""

    def __init__(self, inputs: int, outputs: int, *, level: int, stride: int) -> None:
        super().__init__()
        if level == 1:
            self.left: nn.Module = BasicBlock(inputs, outputs, stride)
            self.right: nn.Module = BasicBlock(outputs, outputs, 1)
        else:
            self.left = Tree(inputs, outputs, level=level - 1, stride=stride)
            self.right = Tree(outputs, outputs, level=level - 1, stride=1)
        self.root = conv_bn(2 * outputs, outputs, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        left = self.left(x)
        joined: torch.Tensor = self.root(torch.cat([left, self.right(left)], dim=1))
        return joined


class SimpleDlaConfig(CnnConfig):
    """`levels`: of each of the trees."""

    model_type = "cifar-simple-dla"
    levels: list[int] | tuple[int, ...] = (1, 2, 2, 1)


class SimpleDla(Cnn):
    config_class = SimpleDlaConfig

    @staticmethod
    def body(config: SimpleDlaConfig) -> Body:
        layers: list[nn.Module] = []
        last = config.num_channels
        for published in (16, 16, 32):
            layers.append(conv_bn(last, config.channels(published)))
            last = config.channels(published)
        for published, stride, level in zip((64, 128, 256, 512), (1, 2, 2, 2), config.levels, strict=True):
            layers.append(Tree(last, config.channels(published), level=level, stride=stride))
            last = config.channels(published)
        return [*layers, *pooled()], last

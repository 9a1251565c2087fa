"""One layer after the other: LeNet-5 (LeCun et al., 1998) and VGG with batch normalisation (Simonyan and Zisserman, 2015)."""

from torch import nn

from greenray.tasks.image_classification.cnn.base import Body, Cnn, CnnConfig, conv_bn, pooled

Depths = list[int] | tuple[int, ...]


class LeNetConfig(CnnConfig):
    model_type = "cifar-lenet"


class LeNet(Cnn):
    config_class = LeNetConfig

    @staticmethod
    def body(config: LeNetConfig) -> Body:
        first, second, third, fourth = (config.channels(count) for count in (6, 16, 120, 84))
        side = ((config.image_size - 4) // 2 - 4) // 2
        return [
            *(nn.Conv2d(config.num_channels, first, 5), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(first, second, 5), nn.ReLU(), nn.MaxPool2d(2)),
            nn.Flatten(),
            *(nn.Linear(second * side * side, third), nn.ReLU()),
            *(nn.Linear(third, fourth), nn.ReLU()),
        ], fourth


class VggConfig(CnnConfig):
    """`depths`: convolutions before each halving of the image; those of VGG19 by default."""

    model_type = "cifar-vgg"
    depths: Depths = (2, 2, 4, 4, 4)


class Vgg(Cnn):
    config_class = VggConfig

    @staticmethod
    def body(config: VggConfig) -> Body:
        layers: list[nn.Module] = []
        last = config.num_channels
        for published, depth in zip((64, 128, 256, 512, 512), config.depths, strict=True):
            for _ in range(depth):
                outputs = config.channels(published)
                layers.append(conv_bn(last, outputs, bias=True))
                last = outputs
            layers.append(nn.MaxPool2d(2))
        return [*layers, *pooled()], last

"""Which of these networks there are, by what a config calls them: in the published size, and narrow for quick sweeps."""

import importlib
from collections.abc import Mapping
from typing import Any

_HERE = "greenray.tasks.image_classification.cnn"
# Where each is, and what makes it small enough for an epoch of handwritten digits in one or two seconds of one core.
_FAMILIES: Mapping[str, tuple[str, str, Mapping[str, Any]]] = {
    "lenet": ("plain", "LeNet", {"width": 1.0}),
    "mobilenet_v1": ("mobile", "MobileNet", {"width": 0.25}),
    "mobilenet_v2": ("mobile", "MobileNetV2", {"width": 0.25, "depths": (1, 1, 1, 2, 1, 1, 1)}),
    "efficientnet": (
        "mobile",
        "EfficientNet",
        {"width": 0.25, "depths": (1, 1, 1, 2, 1, 2, 1), "drop_connect": 0.0},
    ),
    "simple-dla": ("dla", "SimpleDla", {"width": 0.125, "levels": (1, 1, 1, 1)}),
    "resnet": ("residual", "ResNet", {"width": 0.125, "depths": (1, 1, 1, 1)}),
    "preact-resnet": ("residual", "PreActResNet", {"width": 0.125, "depths": (1, 1, 1, 1)}),
    "vgg": ("plain", "Vgg", {"width": 0.125}),
    "googlenet": ("googlenet", "GoogLeNet", {"width": 0.0625, "depths": (1, 2, 1)}),
    "densenet": ("dense", "DenseNet", {"width": 0.25, "depths": (2, 2, 2, 2)}),
    "resnext": ("grouped", "ResNext", {"width": 0.125, "depths": (1, 1, 1)}),
    "senet": ("residual", "SeNet", {"width": 0.125, "depths": (1, 1, 1, 1)}),
    "regnet": ("grouped", "RegNet", {"width": 0.25, "depths": (1, 1, 1, 2)}),
    "dpn": ("dense", "Dpn", {"width": 0.0625, "groups": 4, "depths": (1, 1, 1, 1)}),
}
MODULES = tuple(sorted({f"{_HERE}.{file}" for file, _, _ in _FAMILIES.values()}))


def _model_type(family: str) -> str:
    """Apart from the networks that transformers has under these names, which begin by making the image a quarter as wide."""
    return f"cifar-{family.replace('mobilenet_v1', 'mobilenet').replace('_', '-')}"


PRESETS: dict[tuple[str, str], dict[str, Any]] = {
    (family, size): {"model_type": _model_type(family), **fields}
    for family, (_, _, narrow) in _FAMILIES.items()
    for size, fields in (("cifar", {}), ("cifar-tiny", narrow))
}


def register() -> None:
    """Make transformers' automatic classes of this process find them; again and again if you like."""
    from transformers import AutoConfig, AutoModelForImageClassification

    for file, name, _ in _FAMILIES.values():
        model = getattr(importlib.import_module(f"{_HERE}.{file}"), name)
        AutoConfig.register(model.config_class.model_type, model.config_class, exist_ok=True)
        AutoModelForImageClassification.register(model.config_class, model, exist_ok=True)

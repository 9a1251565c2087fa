"""Code that a repository of the hub on loopback brings; nothing here imports it."""

from transformers import ResNetForImageClassification

from .configuration_mambavision import MambaVisionConfig


class MambaVisionModelForImageClassification(ResNetForImageClassification):
    config_class = MambaVisionConfig

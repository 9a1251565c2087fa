"""Code that a repository of the hub on loopback brings; nothing here imports it."""

from transformers import ResNetConfig


class MambaVisionConfig(ResNetConfig):
    model_type = "mambavision"

"""The work whose time is looked at: forward passes of the quickstart's models, one thread, in the process that asks."""

import time
from typing import Any

MODELS = ("vit", "resnet", "convnext")


class Load:
    """A tiny model with fresh weights and a batch of 32 random digits; torch is set to one thread for good."""

    def __init__(self, architecture: str) -> None:
        import torch
        from transformers import AutoConfig, AutoModelForImageClassification

        from greenray.tasks.image_classification.presets import PRESETS

        torch.set_num_threads(1)
        torch.manual_seed(0)
        size = {} if architecture == "resnet" else {"image_size": 32}
        config: Any = AutoConfig.for_model(architecture, **PRESETS[architecture, "tiny"], **size, num_channels=1, num_labels=10)
        self._inference_mode = torch.inference_mode
        self._model = AutoModelForImageClassification.from_config(config).eval()
        self._batch = torch.randn(32, 1, 32, 32)

    def run(self, seconds: float) -> tuple[int, float]:
        """Passes for at least so long: how many, and the seconds that they took."""
        passes, begin_s = 0, time.monotonic()
        with self._inference_mode():
            while time.monotonic() - begin_s < seconds:
                self._model(pixel_values=self._batch)
                passes += 1
        return passes, time.monotonic() - begin_s

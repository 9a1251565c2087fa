"""Image classification: pictures of any size and mode, a transformers model with its image processor, classes."""

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from greenray.errors import ResourceError
from greenray.tasks.checkpoints import Blueprint, from_files
from greenray.tasks.classification import Classification
from greenray.tasks.image_classification import data
from greenray.tasks.image_classification.augment import Augment
from greenray.tasks.image_classification.cnn import families as cnn
from greenray.tasks.image_classification.presets import FAMILIES, IMAGE_SIZE, PRESETS, TIMM

if TYPE_CHECKING:
    from torch import Tensor

    from greenray.config.refs import DatasetRef, ModelRef
    from greenray.config.settings import Trust
    from greenray.tasks.base import Amount, Inputs, TrainingBatch
    from greenray.tasks.labelled import Labelled, Purpose


# Their image processors are those of other families.
_OTHERS_PROCESSORS = {
    *("convnextv2", "cvt", "dinov2", "focalnet", "mobilevitv2", "pvt_v2", "regnet", "resnet", "swin", "swinv2"),
}


class ImageClassification(Classification):
    """Inputs are `pixel_values`, float32, shape (images, channels, height, width)."""

    name = "image-classification"
    unit = "image"
    presets = PRESETS
    datasets = ("digits",)
    augmentations = ("crop", "flip")
    auto_model = "AutoModelForImageClassification"
    auto_processor = "AutoImageProcessor"
    preload = (
        *Classification.preload,
        "transformers.models.auto.image_processing_auto",
        *(f"transformers.models.{name}.modeling_{name}" for name in FAMILIES),
        *(f"transformers.models.{name}.image_processing_pil_{name}" for name in sorted(set(FAMILIES) - _OTHERS_PROCESSORS)),
        "datasets",
        "sklearn.datasets",
        "PIL.ImageFile",
        "greenray.tasks.image_classification.task",
        *cnn.MODULES,
    )

    @classmethod
    def check_model(cls, ref: "ModelRef", *, trust: "Trust") -> None:
        if ref.architecture == TIMM and importlib.util.find_spec("timm") is None:
            raise ResourceError(
                f"model {ref.label} is built by the package timm: install it (`pip install timm`) or leave it out."
            )
        super().check_model(ref, trust=trust)

    @classmethod
    def check_dataset(cls, ref: "DatasetRef") -> None:
        data.check(ref)

    def read(self, ref: "DatasetRef", *, purpose: "Purpose") -> "Labelled":
        return data.load(ref, purpose=purpose)

    def plan(self, data: "Labelled") -> Blueprint:
        cnn.register()
        return super().plan(data)

    def fresh(self, data: "Labelled") -> tuple[Mapping[str, Any], Any]:
        channels = 1 if data.items[0].mode in ("1", "L", "I", "I;16", "F") else 3  # judged by the first image
        processor = from_files("AutoImageProcessor", {"preprocessor_config.json": processor_config(channels=channels)})
        of_timm = {"model_args": {"in_chans": channels}} if self.job.model.architecture == TIMM else {}
        return {"num_channels": channels, **of_timm}, processor

    def prepare(self) -> "Amount":
        amount, job = super().prepare(), self.job
        self._augment: Augment | None = None
        if job.training and job.augmentation:
            from PIL import Image

            night = replace(self._test, items=[Image.new("L", self._test.items[0].size)])
            black = self.encode(night, [0], plan=self._plan)["pixel_values"][0, :, 0, 0]
            self._augment = Augment(job.augmentation, seed=job.seed, device=job.device, black=black.to(job.device))
        return amount

    def training_batches(self, order: "Tensor") -> "Iterator[TrainingBatch]":
        batches = super().training_batches(order)
        return batches if self._augment is None else self._augment.epoch(batches, shape=order.shape)

    def encode(self, samples: "Labelled", rows: Sequence[int], *, plan: Blueprint) -> "Inputs":
        mode = "L" if getattr(plan.config, "num_channels", 3) == 1 else "RGB"
        pictures = [samples.items[row].convert(mode) for row in rows]
        return {"pixel_values": plan.processor(images=pictures, return_tensors="pt")["pixel_values"].contiguous()}


def processor_config(*, channels: int) -> dict[str, Any]:
    """What `preprocessor_config.json` holds for a preset: resize to IMAGE_SIZE, then to -1 ... 1."""
    half = [0.5] * channels
    return {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": True,
        "size": {"height": IMAGE_SIZE, "width": IMAGE_SIZE},
        "resample": 2,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": half,
        "image_std": half,
    }

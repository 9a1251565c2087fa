"""Image classification: pictures of any size and mode, a transformers model with its image processor, classes."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from greenray.tasks.checkpoints import Blueprint, from_files
from greenray.tasks.classification import Classification
from greenray.tasks.image_classification import data

if TYPE_CHECKING:
    from greenray.config.refs import DatasetRef
    from greenray.tasks.base import Inputs
    from greenray.tasks.labelled import Labelled, Purpose

# Presets see images of this many pixels a side, so that patches and strides are chosen for 32 x 32, not for 224 x 224.
IMAGE_SIZE = 32

# The fields that differ from the transformers config of the family.
_FAMILIES: dict[str, dict[str, Any]] = {
    "vit": {"patch_size": 8},
    "resnet": {"layer_type": "basic"},
    # Three stages after a patch of 4 leave 2 x 2; layer scale starts at 1 because so few blocks need no damping.
    "convnext": {"num_stages": 3, "patch_size": 4, "layer_scale_init_value": 1.0},
    "mobilenet_v2": {"output_stride": 16, "finegrained_output": False, "classifier_dropout_prob": 0.1},
    "swin": {"patch_size": 4, "num_heads": [3, 6], "window_size": 4, "drop_path_rate": 0.0},
    # With the default initialisation (0.02) so narrow a model does not learn.
    "efficientnet": {"drop_connect_rate": 0.0, "dropout_rate": 0.1, "batch_norm_momentum": 0.1, "initializer_range": 0.2},
}
# `tiny` trains to over 90 % on handwritten digits within seconds on two cores; `small` has several times its parameters.
_SIZES: dict[tuple[str, str], dict[str, Any]] = {
    ("vit", "tiny"): {"hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 128},
    ("vit", "small"): {"hidden_size": 192, "num_hidden_layers": 6, "num_attention_heads": 6, "intermediate_size": 384},
    ("resnet", "tiny"): {"embedding_size": 16, "hidden_sizes": [16, 32, 64, 128], "depths": [1, 1, 1, 1]},
    ("resnet", "small"): {"embedding_size": 32, "hidden_sizes": [32, 64, 128, 256], "depths": [2, 2, 2, 2]},
    ("convnext", "tiny"): {"hidden_sizes": [32, 64, 128], "depths": [1, 1, 2]},
    ("convnext", "small"): {"hidden_sizes": [64, 128, 256], "depths": [2, 2, 4]},
    ("mobilenet_v2", "tiny"): {"depth_multiplier": 0.25},
    ("mobilenet_v2", "small"): {"depth_multiplier": 0.5},
    ("swin", "tiny"): {"embed_dim": 48, "depths": [2, 2]},
    ("swin", "small"): {"embed_dim": 96, "depths": [2, 4]},
    # `hidden_dim` has to be 1280 times the width.
    ("efficientnet", "tiny"): {"width_coefficient": 0.25, "depth_coefficient": 0.3, "hidden_dim": 320},
    ("efficientnet", "small"): {"width_coefficient": 0.5, "depth_coefficient": 0.5, "hidden_dim": 640},
}
PRESETS = {(family, size): {**fields, **_FAMILIES[family]} for (family, size), fields in _SIZES.items()}


class ImageClassification(Classification):
    """Inputs are `pixel_values`, float32, shape (images, channels, height, width)."""

    name = "image-classification"
    unit = "image"
    presets = PRESETS
    datasets = ("digits",)
    auto_model = "AutoModelForImageClassification"
    auto_processor = "AutoImageProcessor"
    preload = (
        *Classification.preload,
        "transformers.models.auto.image_processing_auto",
        *(f"transformers.models.{name}.modeling_{name}" for name in _FAMILIES),
        # resnet and swin use those of others.
        *(f"transformers.models.{name}.image_processing_pil_{name}" for name in sorted(set(_FAMILIES) - {"resnet", "swin"})),
        "datasets",
        "sklearn.datasets",
        "PIL.ImageFile",
        "greenray.tasks.image_classification.task",
    )

    @classmethod
    def check_dataset(cls, ref: "DatasetRef") -> None:
        data.check(ref)

    def read(self, ref: "DatasetRef", *, purpose: "Purpose") -> "Labelled":
        return data.load(ref, purpose=purpose)

    def fresh(self, data: "Labelled") -> tuple[Mapping[str, Any], Any]:
        channels = 1 if data.items[0].mode in ("1", "L", "I", "I;16", "F") else 3  # judged by the first image
        # resnet is the one family here whose configuration has no image size.
        size = {} if self.job.model.architecture == "resnet" else {"image_size": IMAGE_SIZE}
        processor = from_files("AutoImageProcessor", {"preprocessor_config.json": processor_config(channels=channels)})
        return {"num_channels": channels, **size}, processor

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

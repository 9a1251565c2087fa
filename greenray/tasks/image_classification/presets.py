"""Models with fresh weights, by architecture and size: what differs from the family's configuration in transformers."""

from typing import Any

from greenray.tasks.image_classification.cnn import families as cnn

# Presets see images of this many pixels a side, so that patches and strides are chosen for 32 x 32, not for 224 x 224.
IMAGE_SIZE = 32

# The fields that differ from the transformers config of the family.
FAMILIES: dict[str, dict[str, Any]] = {
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
PRESETS = {(family, size): {**fields, **FAMILIES[family]} for (family, size), fields in _SIZES.items()}
PRESETS |= cnn.PRESETS

"""Models with fresh weights, by architecture and size: what differs from the family's configuration in transformers.

The families are those that image classifiers on the hub are made of. Patches, strides and windows are chosen for 32 x 32 pixels,
not for 224 x 224; dropout and stochastic depth are off where models this small do not learn with them.
"""

from typing import Any

from greenray.tasks.image_classification.cnn import families as cnn

# Presets see images of this many pixels a side.
IMAGE_SIZE = 32

# Of families that shrink an image in stages, to 8 x 8, 4 x 4 and 2 x 2.
_THREE_STAGES = {"num_encoder_blocks": 3, "patch_sizes": [7, 3, 3], "strides": [4, 2, 2]}
_ATTENTION_IN_STAGES = {**_THREE_STAGES, "sr_ratios": [4, 2, 1], "num_attention_heads": [1, 2, 4]}
# transformers has two classifiers, with and without a head for a teacher, and has to be told which.
_DEIT, _LEVIT = ["DeiTForImageClassification"], ["LevitForImageClassification"]
# Two stages, for the convolutions before them leave 2 x 2.
_LEVIT_STAGES = {"key_dim": [16, 16], "mlp_ratio": [2, 2], "attention_ratio": [2, 2], "down_ops": [["Subsample", 16, 4, 4, 2, 2]]}

# The fields that differ from the transformers config of the family, at every size. Layer scale starts at 1, because so few blocks
# need no damping.
FAMILIES: dict[str, dict[str, Any]] = {
    # Transformers of one resolution.
    "vit": {"patch_size": 8},
    "deit": {"patch_size": 8, "architectures": _DEIT},
    "beit": {"patch_size": 8, "drop_path_rate": 0.0, "use_relative_position_bias": True, "layer_scale_init_value": 1.0},
    "dinov2": {"patch_size": 8, "mlp_ratio": 2},
    # Transformers in stages.
    "swin": {"patch_size": 4, "num_heads": [3, 6], "window_size": 4, "drop_path_rate": 0.0},
    "swinv2": {"patch_size": 4, "num_heads": [3, 6], "window_size": 4, "drop_path_rate": 0.0},
    "segformer": {**_ATTENTION_IN_STAGES, "mlp_ratios": [4, 4, 4], "drop_path_rate": 0.0},
    "pvt_v2": {**_ATTENTION_IN_STAGES, "mlp_ratios": [8, 8, 4]},
    "cvt": {"num_heads": [1, 2, 4], "drop_path_rate": [0.0, 0.0, 0.0]},
    # The blocks of a transformer without its attention.
    "focalnet": {"patch_size": 4, "focal_levels": [2, 2], "focal_windows": [3, 3], "drop_path_rate": 0.0},
    "poolformer": {**_THREE_STAGES, "padding": [2, 1, 1], "layer_scale_init_value": 1.0},
    # Convolutions.
    "resnet": {"layer_type": "basic"},
    "bit": {"num_groups": 8},
    "regnet": {"groups_width": 16, "downsample_in_first_stage": False},
    # Three stages after a patch of 4 leave 2 x 2.
    "convnext": {"num_stages": 3, "patch_size": 4, "layer_scale_init_value": 1.0},
    "convnextv2": {"num_stages": 3, "patch_size": 4},
    # The family's own dropout is 0.999.
    "mobilenet_v1": {"classifier_dropout_prob": 0.1},
    "mobilenet_v2": {"output_stride": 16, "finegrained_output": False, "classifier_dropout_prob": 0.1},
    # With the default initialisation (0.02) so narrow a model does not learn.
    "efficientnet": {"drop_connect_rate": 0.0, "dropout_rate": 0.1, "batch_norm_momentum": 0.1, "initializer_range": 0.2},
    # Convolutions and transformers in turn.
    "levit": {**_LEVIT_STAGES, "architectures": _LEVIT},
    "mobilevitv2": {"output_stride": 8},
}
# `tiny` trains to over 90 % on handwritten digits within 5 to 20 s on one core; `small` has several times its parameters.
_SIZES: dict[tuple[str, str], dict[str, Any]] = {
    ("vit", "tiny"): {"hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 128},
    ("vit", "small"): {"hidden_size": 192, "num_hidden_layers": 6, "num_attention_heads": 6, "intermediate_size": 384},
    ("deit", "tiny"): {"hidden_size": 96, "num_hidden_layers": 3, "num_attention_heads": 3, "intermediate_size": 192},
    ("deit", "small"): {"hidden_size": 192, "num_hidden_layers": 6, "num_attention_heads": 6, "intermediate_size": 384},
    ("beit", "tiny"): {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 128},
    ("beit", "small"): {"hidden_size": 192, "num_hidden_layers": 6, "num_attention_heads": 6, "intermediate_size": 384},
    ("dinov2", "tiny"): {"hidden_size": 96, "num_hidden_layers": 4, "num_attention_heads": 4},
    ("dinov2", "small"): {"hidden_size": 192, "num_hidden_layers": 6, "num_attention_heads": 6},
    ("swin", "tiny"): {"embed_dim": 48, "depths": [2, 2]},
    ("swin", "small"): {"embed_dim": 96, "depths": [2, 4]},
    ("swinv2", "tiny"): {"embed_dim": 48, "depths": [2, 1]},
    ("swinv2", "small"): {"embed_dim": 96, "depths": [2, 4]},
    ("segformer", "tiny"): {"hidden_sizes": [32, 64, 128], "depths": [1, 1, 1]},
    ("segformer", "small"): {"hidden_sizes": [64, 128, 256], "depths": [2, 2, 2]},
    ("pvt_v2", "tiny"): {"hidden_sizes": [32, 64, 128], "depths": [1, 1, 1]},
    ("pvt_v2", "small"): {"hidden_sizes": [64, 128, 256], "depths": [2, 2, 2]},
    # A stage needs more blocks than there are stages before it: transformers looks up a list of the former by the latter.
    ("cvt", "tiny"): {"embed_dim": [16, 32, 64], "depth": [1, 2, 3]},
    ("cvt", "small"): {"embed_dim": [32, 64, 128], "depth": [1, 2, 4]},
    ("focalnet", "tiny"): {"embed_dim": 48, "depths": [1, 1]},
    ("focalnet", "small"): {"embed_dim": 96, "depths": [2, 2]},
    ("poolformer", "tiny"): {"hidden_sizes": [32, 64, 128], "depths": [1, 1, 1]},
    ("poolformer", "small"): {"hidden_sizes": [64, 128, 256], "depths": [2, 2, 2]},
    ("resnet", "tiny"): {"embedding_size": 16, "hidden_sizes": [16, 32, 64, 128], "depths": [1, 1, 1, 1]},
    ("resnet", "small"): {"embedding_size": 32, "hidden_sizes": [32, 64, 128, 256], "depths": [2, 2, 2, 2]},
    ("bit", "tiny"): {"embedding_size": 16, "hidden_sizes": [32, 64, 128], "depths": [1, 1, 1]},
    ("bit", "small"): {"embedding_size": 32, "hidden_sizes": [64, 128, 256], "depths": [2, 2, 2]},
    ("regnet", "tiny"): {"embedding_size": 16, "hidden_sizes": [16, 32, 64, 128], "depths": [1, 1, 1, 1]},
    ("regnet", "small"): {"embedding_size": 32, "hidden_sizes": [32, 64, 128, 256], "depths": [1, 2, 2, 1]},
    ("convnext", "tiny"): {"hidden_sizes": [32, 64, 128], "depths": [1, 1, 2]},
    ("convnext", "small"): {"hidden_sizes": [64, 128, 256], "depths": [2, 2, 4]},
    ("convnextv2", "tiny"): {"hidden_sizes": [32, 64, 128], "depths": [1, 1, 2]},
    ("convnextv2", "small"): {"hidden_sizes": [64, 128, 256], "depths": [2, 2, 4]},
    ("mobilenet_v1", "tiny"): {"depth_multiplier": 0.25},
    ("mobilenet_v1", "small"): {"depth_multiplier": 0.5},
    ("mobilenet_v2", "tiny"): {"depth_multiplier": 0.25},
    ("mobilenet_v2", "small"): {"depth_multiplier": 0.5},
    # `hidden_dim` has to be 1280 times the width.
    ("efficientnet", "tiny"): {"width_coefficient": 0.25, "depth_coefficient": 0.3, "hidden_dim": 320},
    ("efficientnet", "small"): {"width_coefficient": 0.5, "depth_coefficient": 0.5, "hidden_dim": 640},
    ("levit", "tiny"): {"hidden_sizes": [64, 128], "num_attention_heads": [4, 8], "depths": [1, 1]},
    ("levit", "small"): {"hidden_sizes": [128, 256], "num_attention_heads": [8, 16], "depths": [2, 2]},
    ("mobilevitv2", "tiny"): {"width_multiplier": 0.25, "n_attn_blocks": [1, 1, 1]},
    ("mobilevitv2", "small"): {"width_multiplier": 0.5, "n_attn_blocks": [1, 2, 2]},
}
# These find the size of an image when they see one.
_WITHOUT_IMAGE_SIZE = {"resnet", "bit", "regnet", "poolformer", "segformer", "cvt"}
# Where the package timm is installed, some of its architectures by their own names, inside transformers' wrapper of them; as timm
# makes them for 224 x 224, though they see 32 x 32 as all others do. No test here builds them, for timm brings torchvision;
# by hand they were trained, saved and measured.
TIMM = "timm"
_OF_TIMM = ("regnetx_002", "mobilenetv3_small_050", "lcnet_050", "ghostnet_050")

PRESETS: dict[tuple[str, str], dict[str, Any]] = {
    **{
        (family, size): {**fields, **FAMILIES[family], **({} if family in _WITHOUT_IMAGE_SIZE else {"image_size": IMAGE_SIZE})}
        for (family, size), fields in _SIZES.items()
    },
    **{(TIMM, name): {"model_type": "timm_wrapper", "architecture": name} for name in _OF_TIMM},
    **cnn.PRESETS,
}

"""The 42 models of configs/gonzalez-2024.yaml, tiny: the architecture, classes and image processor of each, random weights.

What a real repository holds beside that is known of few: which of them has pickled weights only, asks for terms to be accepted,
brings code of its own or goes away is made up here, so that each of these happens to somebody.
"""

import json
import shutil
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tests.hub.names import EUROSAT_FOLDERS, FOOD101, imagenet

SIZE = 32  # pixels a side, of every input

_ATTENTION = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
_VIT = {**_ATTENTION, "image_size": SIZE, "patch_size": 16}
_SWIN = {"image_size": SIZE, "patch_size": 4, "embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2], "window_size": 4}
_STAGES = {"hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1]}

# model_type: what makes it tiny.
TINY: dict[str, dict[str, Any]] = {
    "vit": _VIT,
    "deit": _VIT,
    "beit": _VIT,
    "data2vec-vision": _VIT,
    "dinov2": {**_ATTENTION, "image_size": SIZE, "patch_size": 16, "mlp_ratio": 2},
    "segformer": {
        **_STAGES,
        "num_attention_heads": [1, 1, 2, 2],
        "sr_ratios": [4, 2, 1, 1],
        "mlp_ratios": [2, 2, 2, 2],
        "decoder_hidden_size": 16,
    },
    "poolformer": _STAGES,
    "convnext": _STAGES,
    "convnextv2": _STAGES,
    "swin": _SWIN,
    "swinv2": _SWIN,
    "resnet": {**_STAGES, "embedding_size": 8},
    "regnet": {**_STAGES, "embedding_size": 8, "groups_width": 8},
    "mobilenet_v2": {"depth_multiplier": 0.1, "min_depth": 8, "depth_divisible_by": 8, "image_size": SIZE},
    "mobilevit": {
        "hidden_sizes": [8, 8, 8],
        "neck_hidden_sizes": [8, 8, 8, 8, 8, 8, 16],
        "num_attention_heads": 2,
        "image_size": SIZE,
        "expand_ratio": 1.0,
    },
    "efficientnet": {"width_coefficient": 0.1, "depth_coefficient": 0.1, "hidden_dim": 128, "image_size": SIZE},
    "levit": {
        "image_size": 64,  # its stem divides by 16, and what is left is halved twice
        "hidden_sizes": [16, 16, 16],
        "num_attention_heads": [1, 1, 1],
        "depths": [1, 1, 1],
        "key_dim": [8, 8, 8],
    },
}
_PROCESSORS = {  # where it is not that of the model_type's own name
    "convnextv2": "ConvNextImageProcessor",
    "resnet": "ConvNextImageProcessor",
    "regnet": "ConvNextImageProcessor",
    "convnext": "ConvNextImageProcessor",
    "swin": "ViTImageProcessor",
    "swinv2": "ViTImageProcessor",
    "vit": "ViTImageProcessor",
    "deit": "DeiTImageProcessor",
    "beit": "BeitImageProcessor",
    "data2vec-vision": "BeitImageProcessor",
    "dinov2": "BitImageProcessor",
    "segformer": "SegformerImageProcessor",
    "poolformer": "PoolFormerImageProcessor",
    "mobilenet_v2": "MobileNetV2ImageProcessor",
    "mobilevit": "MobileViTImageProcessor",
    "efficientnet": "EfficientNetImageProcessor",
    "levit": "LevitImageProcessor",
}
Manner = Literal["plain", "pickled", "code", "gated", "vanishing", "adapter", "openvino", "fake-quantised"]


@dataclass(frozen=True, kw_only=True)
class Made:
    """A model to be made.

    Attributes:
        manner: what is the matter with its repository.
        config: what its configuration says beyond TINY and the classes.
        old: whether its processor was written by an early transformers, which said "feature extractor" and gave one size.
    """

    model_type: str
    classes: tuple[str, ...]
    manner: Manner = "plain"
    config: Mapping[str, Any] = field(default_factory=dict)
    old: bool = False

    @property
    def files(self) -> tuple[str, ...]:
        """The names of its files."""
        weights = {
            "pickled": ("pytorch_model.bin",),
            "adapter": ("adapter_config.json", "adapter_model.bin"),
            "openvino": ("config.json", "openvino_model.bin", "openvino_model.xml"),
            "code": ("configuration_mambavision.py", "model.safetensors", "modeling_mambavision.py"),
        }.get(self.manner, ("model.safetensors",))
        config = () if self.manner in ("adapter", "openvino") else ("config.json",)
        return ("README.md", *config, *weights, "preprocessor_config.json", "training_args.bin")


_FOOD = Made(model_type="vit", classes=FOOD101)
_SWIN_FOOD = Made(model_type="swin", classes=FOOD101)
_1K, _1001, _22K = imagenet(1000), ("background", *imagenet(1000)), imagenet(21_841)


def _food(manner: Manner) -> Made:
    return Made(model_type="vit", classes=FOOD101, manner=manner)


def _1k(model_type: str, *, manner: Manner = "plain", old: bool = False, **config: Any) -> Made:
    return Made(model_type=model_type, classes=_1K, manner=manner, old=old, config=config)


MODELS: dict[str, Made] = {
    "facebook/deit-tiny-distilled-patch16-224": _1k("deit", old=True, architectures=["DeiTForImageClassificationWithTeacher"]),
    "google/vit-large-patch16-384": _1k("vit", old=True),
    "nvidia/mit-b0": _1k("segformer", old=True),
    "sail/poolformer_s36": _1k("poolformer", old=True),
    "facebook/convnextv2-tiny-22k-384": _1k("convnextv2"),
    "facebook/convnextv2-large-22k-224": _1k("convnextv2"),
    "eslamxm/vit-base-food101": Made(model_type="vit", classes=FOOD101, old=True),
    "nateraw/food": _food("pickled"),
    "PedroSampaio/vit-base-patch16-224-food101-16-7": _FOOD,
    "sayakpaul/vit-base-patch16-224-in21k-finetuned-lora-food101": _food("adapter"),
    "Neruoy/swin-finetuned-food101": _SWIN_FOOD,
    "Neruoy/swin-finetuned-food101-e3": _SWIN_FOOD,
    "skylord/swin-finetuned-food101": Made(model_type="swin", classes=FOOD101, old=True),
    "yujiepan/internal.swin-base-food101-int8-structured38.63": Made(model_type="swin", classes=FOOD101, manner="fake-quantised"),
    "yujiepan/internal.swin-base-food101-int8-structured38.01": Made(model_type="swin", classes=FOOD101, manner="openvino"),
    "AtomGradient/food_vision_inner_lab": _food("gated"),
    "RickyIG/image_classification": _FOOD,
    "sshreshtha/vit-base-patch32-224-in21k-finetuned-eurosat": Made(model_type="vit", classes=EUROSAT_FOLDERS),
    "lu5/swinv2-small-patch4-window8-256-finetuned-eurosat": Made(model_type="swinv2", classes=EUROSAT_FOLDERS),
    **{
        f"{owner}/my_awesome_food_model": _FOOD
        for owner in ("gchabcou", "jennyc", "wang1215", "pankajgharai", "kwc20140710", "Charlottebenett", "juns", "william7642")
    },
    "jjluo/my_awesome_food_model": _food("vanishing"),
    # Ours.
    "google/mobilenet_v2_1.0_224": Made(model_type="mobilenet_v2", classes=_1001),
    "apple/mobilevit-small": _1k("mobilevit"),
    "google/efficientnet-b0": _1k("efficientnet"),
    "facebook/levit-128S": _1k("levit", architectures=["LevitForImageClassificationWithTeacher"]),
    "facebook/regnet-y-004": _1k("regnet"),
    "microsoft/resnet-50": _1k("resnet", layer_type="bottleneck"),
    "microsoft/resnet-18": _1k("resnet", layer_type="basic"),
    "microsoft/swin-tiny-patch4-window7-224": _1k("swin"),
    "facebook/convnext-tiny-224": _1k("convnext"),
    "facebook/dinov2-small-imagenet1k-1-layer": _1k("dinov2"),
    "nvidia/MambaVision-T-1K": _1k("resnet", manner="code", layer_type="basic"),
    "google/vit-base-patch16-224": _1k("vit"),
    "microsoft/beit-base-patch16-224-pt22k-ft22k": Made(model_type="beit", classes=_22K),
    "facebook/data2vec-vision-base-ft1k": _1k("data2vec-vision"),
}


def make(repo_id: str, folder: Path) -> None:
    """Write the files of a repository; the same weights whenever it is made."""
    import torch
    from transformers import AutoConfig, AutoModelForImageClassification

    made = MODELS[repo_id]
    fields = {**TINY[made.model_type], **made.config}
    names = {"id2label": dict(enumerate(made.classes)), "label2id": {name: i for i, name in enumerate(made.classes)}}
    with torch.random.fork_rng():
        torch.manual_seed(zlib.crc32(repo_id.encode()))
        config = AutoConfig.for_model(made.model_type, **fields, **names)
        model = AutoModelForImageClassification.from_config(config)
    config.architectures = fields.get("architectures", [type(model).__name__])
    model.save_pretrained(folder)
    (folder / "README.md").write_text(f"---\nlibrary_name: transformers\npipeline_tag: image-classification\n---\n# {repo_id}\n")
    (folder / "preprocessor_config.json").write_text(json.dumps(_processor(made)))
    torch.save({"learning_rate": 5e-5}, folder / "training_args.bin")
    _SPOIL.get(made.manner, lambda *_: None)(folder, model)
    for file in folder.iterdir():
        if file.name not in made.files:
            file.unlink()


def _processor(made: Made) -> dict[str, Any]:
    name = _PROCESSORS[made.model_type]
    size = int({**TINY[made.model_type], **made.config}.get("image_size", SIZE))
    common = {"do_resize": True, "do_normalize": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "resample": 2}
    if made.old:
        # Where the class crops, what it crops to by itself is ImageNet's.
        crop = {"do_center_crop": True, "crop_size": size} if made.model_type in ("deit", "poolformer") else {}
        return {**common, **crop, "feature_extractor_type": name.replace("ImageProcessor", "FeatureExtractor"), "size": size}
    shortest = name in ("ConvNextImageProcessor", "LevitImageProcessor", "MobileNetV2ImageProcessor", "BitImageProcessor")
    square = {"height": size, "width": size}
    crop = {"crop_size": square, "do_center_crop": True} if "MobileViT" in name or (shortest and "ConvNext" not in name) else {}
    if "MobileViT" in name:
        common = {"do_resize": True, "do_flip_channel_order": True, "resample": 2}
        return {**common, **crop, "image_processor_type": name, "size": {"shortest_edge": size + 4}}
    return {**common, **crop, "image_processor_type": name, "size": {"shortest_edge": size} if shortest else square}


def _pickle(folder: Path, model: Any) -> None:
    import torch

    torch.save(model.state_dict(), folder / "pytorch_model.bin")


def _adapt(folder: Path, model: Any) -> None:
    import torch

    config = {"peft_type": "LORA", "base_model_name_or_path": "google/vit-base-patch16-224-in21k", "r": 2, "lora_alpha": 2}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    torch.save({"base_model.model.classifier.weight": model.state_dict()["classifier.weight"]}, folder / "adapter_model.bin")


def _export(folder: Path, model: Any) -> None:
    (folder / "openvino_model.xml").write_text('<?xml version="1.0"?>\n<net name="Model0" version="11"></net>\n')
    (folder / "openvino_model.bin").write_bytes(bytes(64))


def _fake_quantise(folder: Path, model: Any) -> None:
    """As a tool for quantisation-aware training saves: its wrapper's names in front, its own parameters beside."""
    import torch
    from safetensors.torch import save_file

    state = {f"nncf_module.{name}": value for name, value in model.state_dict().items()}
    state |= {f"external_quantizers.{number}.signed_tensor": torch.ones(1) for number in range(4)}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


def _bring_code(folder: Path, model: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "model_type": "mambavision",
        "architectures": ["MambaVisionModelForImageClassification"],
        "auto_map": {
            "AutoConfig": "configuration_mambavision.MambaVisionConfig",
            "AutoModelForImageClassification": "modeling_mambavision.MambaVisionModelForImageClassification",
        },
    }
    (folder / "config.json").write_text(json.dumps(config))
    here = Path(__file__).parent / "remote_code"
    for name in ("configuration_mambavision.py", "modeling_mambavision.py"):
        shutil.copyfile(here / name, folder / name)


_SPOIL = {
    "pickled": _pickle,
    "adapter": _adapt,
    "openvino": _export,
    "fake-quantised": _fake_quantise,
    "code": _bring_code,
}

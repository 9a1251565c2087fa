"""The models that jobs work on, and the ways in which their arithmetic is done."""

from typing import Any

import torch
from torch import nn
from transformers import ViTConfig, ViTForImageClassification

from greenray.tasks.image_classification.presets import PRESETS

BATCH = {"vit-b": 64, "tiny": 32}
_SMALL = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64, "image_size": 32}


def build(name: str, *, small: bool) -> nn.Module:
    """`vit-b` (ViT-B/16 at 224 x 224) or `tiny` (the quickstart's), random weights; `small` shrinks the large one."""
    torch.manual_seed(0)
    if name == "tiny":
        config = ViTConfig(num_labels=10, **PRESETS["vit", "tiny"])
    else:
        config = ViTConfig(num_labels=10, **(_SMALL if small else {}))
    return ViTForImageClassification(config)


def pictures(model: nn.Module, count: int) -> torch.Tensor:
    """Random ones in host memory, of the size that the model takes."""
    config: Any = model.config
    return torch.rand(count, config.num_channels, config.image_size, config.image_size)


def prepared(model: nn.Module, arm: str) -> nn.Module:
    """The model on the board as an arm such as `bf16+int8+compile` asks for it; compiling happens at its first call.

    int8 is torchao's dynamic quantisation of every linear layer but the last, whose width its kernels do not take.
    """
    parts = arm.split("+")
    torch.compiler.reset()
    torch.set_float32_matmul_precision("high" if "tf32" in parts else "highest")
    torch.backends.cudnn.allow_tf32 = "tf32" in parts
    model = model.eval().to("cuda")
    if "bf16" in parts:
        model = model.to(torch.bfloat16)
    if "int8" in parts:
        from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_

        config = Int8DynamicActivationInt8WeightConfig(set_inductor_config=False)
        quantize_(model, config, filter_fn=lambda module, name: isinstance(module, nn.Linear) and "classifier" not in name)
    if "compile" in parts:
        model.compile()
    return model

"""How big a model is: parameters, bytes, operations."""

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import nn


def parameters(model: "nn.Module") -> int:
    """Number of parameters; shared ones count once."""
    return sum(parameter.numel() for parameter in model.parameters())


def nonzero_parameters(model: "nn.Module") -> int | None:
    """Parameters that are not zero, masks of pruning applied; None where weights are packed and cannot be counted."""
    if is_packed(model):
        return None
    counts: dict[int, int] = {}
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if id(parameter) not in counts:
                mask = getattr(module, name.removesuffix("_orig") + "_mask", None) if name.endswith("_orig") else None
                effective = parameter if mask is None else parameter * mask
                counts[id(parameter)] = int(effective.count_nonzero().item())
    return sum(counts.values())


def is_packed(model: "nn.Module") -> bool:
    """Whether some of the state is something else than plain tensors (quantised weights)."""
    import torch

    plain = (torch.Tensor, torch.nn.Parameter)
    return any(type(value) not in plain or value.is_quantized for value in model.state_dict().values())


def parameters_bytes(model: "nn.Module") -> int:
    """Bytes of what `parameters()` lists; packed weights are not there, so a quantised model looks smaller than it is."""
    return sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())


def quantized(model: "nn.Module") -> str | None:
    """How a model came quantised: its configuration's word for it, or the types of its weights; None if it did not."""
    told = getattr(getattr(model, "config", None), "quantization_config", None)
    if told is not None:
        method = told.get("quant_method") if isinstance(told, dict) else getattr(told, "quant_method", None)
        return str(getattr(method, "value", method) or type(told).__name__)
    whole = {str(own.dtype).removeprefix("torch.") for own in model.parameters() if not own.is_floating_point()}
    return ", ".join(sorted(whole)) or ("packed weights" if is_packed(model) else None)


def size_bytes(model: "nn.Module") -> int:
    """Bytes of the serialised state, packed parameters included; nothing is written."""
    import torch

    counter = _Counter()
    torch.save(model.state_dict(), counter)
    return counter.size


class _Counter(io.BytesIO):
    """A file that only counts."""

    size = 0

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        self.size += size
        return size


def operations_per_sample(skeleton: "nn.Module", inputs: "Mapping[str, torch.Tensor]") -> tuple[float, float]:
    """Multiply-accumulates and floating-point operations of one sample, model and inputs being on the meta device.

    Matrix products, convolutions and attention are counted; what works element by element is not.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with counter, torch.inference_mode():
        skeleton(**inputs)
    flops = float(counter.get_total_flops())
    return flops / 2, flops

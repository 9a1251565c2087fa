"""What the layers of a model are, and what they do: one pass over the example, before anything is compiled."""

import contextlib
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from greenray.errors import Unsupported
from greenray.tactics.prune import masked_layers

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

_SKIPPED_KEPT = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What a layer gave in one pass.

    Attributes:
        rows: vectors that the layer worked on: the smallest number, if it was called more than once.
        dtype: of its output, for example `float32`.
        channels_last: its output is four-dimensional, in NHWC order and not at the same time in NCHW order.
    """

    rows: int
    dtype: str
    channels_last: bool


def products(model: "nn.Module") -> "dict[str, nn.Module]":
    """The layers that multiply matrices, by name: linear layers and convolutions."""
    from torch import nn
    from torch.nn.modules.conv import _ConvNd

    return {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear | _ConvNd)}


def linear_layers(model: "nn.Module", *, tactic: str) -> "dict[str, nn.Linear]":
    """Linear layers with a plain weight, by name; Unsupported where masks of pruning are still multiplied in."""
    from torch import Tensor, nn

    if masked_layers(model):
        raise Unsupported(f"{tactic} cannot follow pruning with `permanent: false`: the masks have nowhere to go")
    plain = (Tensor, nn.Parameter)
    return {n: module for n, module in model.named_modules() if type(module) is nn.Linear and type(module.weight) in plain}


def observe(model: "nn.Module", layers: "Mapping[str, nn.Module]", example: "Mapping[str, Tensor]") -> dict[str, Call]:
    """What these layers do in one pass over the example; a layer that is not called as a module is missing."""
    import torch

    found: dict[str, Call] = {}

    def remember(name: str, module: "nn.Module", inputs: tuple[Any, ...], output: Any) -> None:
        if not isinstance(output, torch.Tensor):
            return
        rows = output.numel() // max(output.shape[-1], 1)
        before = found.get(name)
        found[name] = Call(
            rows=rows if before is None else min(rows, before.rows),
            dtype=dtype_name(output.dtype),
            channels_last=_is_channels_last(output) and (before is None or before.channels_last),
        )

    with torch.no_grad(), contextlib.ExitStack() as hooks:
        for name, module in layers.items():
            hooks.enter_context(module.register_forward_hook(functools.partial(remember, name)))
        model(**example)
    return found


def told_of_skipped(skipped: Mapping[str, str]) -> dict[str, Any]:
    """Evidence of layers that were left as they are, by name, with the reason: how many, and the first of them."""
    return {"modules_skipped": len(skipped), "skipped": dict(sorted(skipped.items())[:_SKIPPED_KEPT])}


def dtype_name(dtype: "torch.dtype") -> str:
    """`float32` for torch.float32."""
    return str(dtype).removeprefix("torch.")


def _is_channels_last(tensor: "Tensor") -> bool:
    import torch

    return tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last) and not tensor.is_contiguous()

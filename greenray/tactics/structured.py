"""Pruning that removes whole channels and attention heads, so that what is left is a smaller dense model.

torch-pruning traces the model once and finds out which channels of which layers belong together (a residual sum, the layers on
both sides of a normalisation, queries with keys and values); only whole groups are taken out. Fang et al., DepGraph, CVPR 2023.
"""

import importlib.util
import math
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import Field

from greenray.errors import NotApplied, Unsupported, first_line
from greenray.tactics.base import Context, Params, Tactic
from greenray.tactics.prune import masked_layers

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

# What transformers calls the three projections of attention.
_PROJECTIONS = (("q_proj", "k_proj", "v_proj"), ("query", "key", "value"))


class StructuredParams(Params):
    """What is removed.

    Attributes:
        amount: share of the channels of every group, and of the heads of every attention, the smallest by their weights' L2 norm.
            Parameters and operations fall by more, for a layer loses rows and columns.
        round_to: how many channels are left is rounded down to a multiple of it, which matrix units like; a group that would
            lose all of its channels keeps them.
    """

    amount: float = Field(default=0.3, gt=0.0, lt=1.0)
    round_to: int = Field(default=8, ge=1, le=1024)


class PruneStructured(Tactic[StructuredParams]):
    """torch-pruning's `BasePruner`, group by group, on every linear and convolution layer but the one that answers."""

    name = "prune-structured"
    summary = "Removes the smallest channels and attention heads of every layer: fewer operations, no zeros (torch-pruning)."
    needs = "the package torch-pruning (`pip install greenray[structured]`); accuracy falls without training afterwards"
    source = "https://arxiv.org/abs/2301.12900"
    Params = StructuredParams

    def check(self, context: Context) -> None:
        if context.training:
            raise Unsupported(
                "prune-structured changes the shapes that the model's configuration tells, so its checkpoint could not be loaded "
                "again; measure it in an inference experiment"
            )
        if importlib.util.find_spec("torch_pruning") is None:
            raise Unsupported("prune-structured needs the package torch-pruning: `pip install greenray[structured]`")

    def apply(self, model: "nn.Module", context: Context) -> "nn.Module":
        import torch

        if masked_layers(model):
            raise Unsupported("prune-structured cannot follow pruning with `permanent: false`: the masks have nowhere to go")
        if any(type(value) not in (torch.Tensor, torch.nn.Parameter) for value in model.state_dict().values()):
            raise Unsupported("prune-structured has to stand before quantisation in a chain: packed weights have no channels")
        before, shape = _size(model, context.example)
        shapes = _shapes(model)
        try:
            # Groups are found along autograd's graph, which inference mode does not record, nor for tensors that were made in it.
            with torch.inference_mode(False), torch.enable_grad():
                _leave_inference_mode(model)
                example = {name: value.clone() for name, value in context.example.items()}
                heads = self._prune(model, example, classes=shape[-1])
            after, new_shape = _size(model, context.example)
        except (torch.OutOfMemoryError, MemoryError):
            raise
        except Exception as error:  # whatever a library and a model's own code raise on shapes that they do not expect
            raise _misfit(model, first_line(error)) from error
        if new_shape != shape:
            raise _misfit(model, "its answers have another shape")
        self._evidence = {f"{name}_before": value for name, value in before.items()} | {
            f"{name}_after": value for name, value in after.items()
        }
        self._evidence |= {"heads_before": heads[0], "heads_after": heads[1]}
        self._cut = frozenset(name for name, now in _shapes(model).items() if now != shapes[name])
        if after["parameters"] >= before["parameters"]:
            raise NotApplied(
                f"no layer has channels to spare: amount {self.params.amount:g} rounded to multiples of {self.params.round_to} "
                "removes none",
                evidence=self._evidence,
            )
        return model

    def _prune(self, model: "nn.Module", example: "Mapping[str, Tensor]", *, classes: int) -> tuple[int, int]:
        """Remove the channels in place; returns the number of attention heads before and after."""
        import torch_pruning

        heads = {layer: count for projections, count in _attentions(model) for layer in projections}
        before = sum(count for _, count in _attentions(model))
        answering = [layer for layer in model.modules() if getattr(layer, "out_features", None) == classes]
        with warnings.catch_warnings():
            # Parameters outside of layers (position embeddings) are found, and said to be.
            warnings.simplefilter("ignore", UserWarning)
            pruner = torch_pruning.pruner.BasePruner(
                model,
                dict(example),
                importance=torch_pruning.importance.MagnitudeImportance(p=2),
                pruning_ratio=self.params.amount,
                round_to=self.params.round_to,
                ignored_layers=[*_whole(model), *answering],
                in_channel_groups={},  # the defaults are shared by all pruners of a process
                out_channel_groups={},
                num_heads=heads,
                # Whole heads: the size of a head is written in the model's code, and kernels are made for some sizes only.
                prune_num_heads=True,
                prune_head_dims=False,
                head_pruning_ratio_dict={layer: _at_most(self.params.amount, count) for layer, count in heads.items()},
                output_transform=_answers,
            )
            pruner.step()
        after = 0
        for module in model.modules():
            if projections := _projections(module):
                left = int(pruner.num_heads[projections[0]])
                setattr(module, "num_attention_heads", left)  # noqa: B010  # a plain number, which modules are not declared to hold
                if hasattr(module, "all_head_size"):  # of transformers' older attentions
                    setattr(module, "all_head_size", projections[0].out_features)  # noqa: B010
                after += left
        return before, after

    def evidence(self, model: "nn.Module") -> dict[str, Any]:
        return self._evidence

    def touched(self) -> frozenset[str]:
        return self._cut


def _leave_inference_mode(model: "nn.Module") -> None:
    """Replace the tensors that an earlier tactic of the chain made in inference mode (a cast) by ordinary ones."""
    from torch import nn

    made: dict[int, Tensor] = {}
    for module in model.modules():
        stores: tuple[tuple[dict[str, Any], Any], ...] = (
            (module._parameters, nn.Parameter),
            (module._buffers, lambda tensor: tensor),
        )
        for owned, kind in stores:
            for name, value in owned.items():
                if value is not None and value.is_inference():
                    owned[name] = made.setdefault(id(value), kind(value.clone()))


def _projections(module: "nn.Module") -> "list[nn.Linear]":
    """The queries', keys' and values' layers of an attention module, where they have as many heads each; else none."""
    from torch import nn

    children = dict(module.named_children())
    for names in _PROJECTIONS:
        found = [children.get(name) for name in names]
        layers = [layer for layer in found if isinstance(layer, nn.Linear)]
        if len({layer.out_features for layer in layers}) == 1 and len(layers) == 3 and hasattr(module, "num_attention_heads"):
            return layers
    return []


def _whole(model: "nn.Module") -> "list[nn.Module]":
    """Linear layers of attentions whose heads are not known: fewer channels would mix them, and the shapes would not tell."""
    from torch import nn

    unknown = (module for module in model.modules() if "attention" in type(module).__name__.lower() and not _projections(module))
    return [child for module in unknown for child in module.children() if isinstance(child, nn.Linear)]


def _attentions(model: "nn.Module") -> "list[tuple[list[nn.Linear], int]]":
    """The projections of each attention with the number of its heads."""
    found = [(_projections(module), getattr(module, "num_attention_heads", 0)) for module in model.modules()]
    return [(layers, int(heads)) for layers, heads in found if layers]


def _at_most(amount: float, heads: int) -> float:
    """The share of heads for which torch-pruning, which rounds up, removes `amount` of them rounded down."""
    return max(0.0, (min(math.floor(amount * heads), heads - 1) - 0.5) / heads)


def _answers(outputs: Any) -> "Tensor":
    answers: Tensor = getattr(outputs, "logits", outputs)
    return answers


def _shapes(model: "nn.Module") -> dict[str, tuple[Any, ...]]:
    """What becomes smaller in a module when channels go: the shapes of its own parameters, and how many heads it has."""
    return {
        name: (getattr(module, "num_attention_heads", None), *(own.shape for own in module.parameters(recurse=False)))
        for name, module in model.named_modules()
    }


def _size(model: "nn.Module", example: "Mapping[str, Tensor]") -> "tuple[dict[str, int], torch.Size]":
    """How big the model is, and the shape of its answers to the example."""
    import torch
    from torch import nn
    from torch.utils.flop_counter import FlopCounterMode

    layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d)]
    counter = FlopCounterMode(display=False)
    # Not inference mode: what a model's code makes once and keeps (an index of positions) must be fit for autograd's graph.
    with counter, torch.inference_mode(False), torch.no_grad():
        shape = _answers(model(**example)).shape
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "channels": sum(layer.weight.shape[0] for layer in layers),
        "macs_per_sample": int(counter.get_total_flops()) // 2 // shape[0],
    }, shape


def _misfit(model: "nn.Module", reason: str) -> Unsupported:
    return Unsupported(
        f"torch-pruning does not see which channels of {type(model).__name__} belong together ({reason}); "
        "measure the model with prune-local or prune-global"
    )

"""L1 unstructured magnitude pruning, per layer and over the whole model.

Zeros are still multiplied by dense kernels, so pruning alone is not expected to save energy; that is a result worth measuring.
The mask is either made permanent (one multiplication, at apply time) or multiplied in on every forward pass, as
`torch.nn.utils.prune` does by itself until `prune.remove` is called. In training a permanent mask is multiplied in again after
every update of the weights, which would grow back otherwise.
"""

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, cast

from pydantic import Field

from greenray.errors import NotApplied
from greenray.tactics.base import Context, Params, Tactic

if TYPE_CHECKING:
    from torch import Tensor, nn

    from greenray.tasks.training_step import TrainingStep


class PruneParams(Params):
    """`amount` is the share of the prunable weights that is set to zero; `permanent: false` keeps them under a mask."""

    amount: float = Field(default=0.3, gt=0.0, lt=1.0)
    permanent: bool = True


class _Prune(Tactic[PruneParams]):
    source = "https://arxiv.org/abs/1506.02626"
    Params = PruneParams

    def apply(self, model: "nn.Module", context: Context) -> "nn.Module":
        self._layers = layers = prunable_layers(model)
        self._masks: dict[str, Tensor] = {}
        if not layers:
            raise NotApplied("the model has no linear or convolution layer to prune", evidence={"layers": 0})
        before = {name: _zeros(layer) for name, layer in layers.items()}
        zeros_before = sum(before.values())
        self._prune(list(layers.values()))
        if context.training:
            self._masks = {name: cast("Tensor", layer.weight_mask).bool() for name, layer in layers.items()}
        if self.params.permanent:
            make_permanent(model)
        # Kept now: a later step of the chain may pack the weights so that zeros cannot be counted any more.
        self._evidence = {"permanent": self.params.permanent, "zeros_before": zeros_before, **sparsity(model, layers)}
        self._pruned = frozenset(name for name, layer in layers.items() if _zeros(layer) > before[name])
        if not self._pruned:
            raise NotApplied(f"amount {self.params.amount:g} set no further weight to zero", evidence=self._evidence)
        return model

    @abstractmethod
    def _prune(self, layers: "list[nn.Module]") -> None:
        """Put a mask on the weights of these layers."""

    def prepare_training(self, step: "TrainingStep") -> None:
        update = step.update

        def update_and_mask() -> None:
            import torch

            update()
            with torch.no_grad():
                for name, mask in self._masks.items():
                    _weight(self._layers[name]).mul_(mask)

        if self.params.permanent:
            step.update = update_and_mask

    def end_training(self, model: "nn.Module") -> None:
        make_permanent(model)

    def evidence(self, model: "nn.Module") -> dict[str, Any]:
        if not self._masks:
            return self._evidence
        grown = sum(int(_weight(self._layers[name])[~mask].count_nonzero().item()) for name, mask in self._masks.items())
        start = {"sparsity_prunable_start": self._evidence["sparsity_prunable"], "weights_grown_back": grown}
        return self._evidence | sparsity(model, self._layers) | start

    def touched(self) -> frozenset[str]:
        return self._pruned


class PruneLocal(_Prune):
    """The `amount` smallest weights of every layer."""

    name = "prune-local"
    summary = "Sets the smallest weights of every linear and convolution layer to zero (L1, layer by layer)."

    def _prune(self, layers: "list[nn.Module]") -> None:
        from torch.nn.utils import prune

        for layer in layers:
            prune.l1_unstructured(layer, "weight", amount=self.params.amount)  # type: ignore[no-untyped-call]


class PruneGlobal(_Prune):
    """The `amount` smallest weights of all layers together; layers with small weights lose more."""

    name = "prune-global"
    summary = "Sets the smallest weights of the whole model to zero (L1, all layers ranked together)."

    def _prune(self, layers: "list[nn.Module]") -> None:
        from torch.nn.utils import prune

        weights = [(layer, "weight") for layer in layers]
        prune.global_unstructured(weights, pruning_method=prune.L1Unstructured, amount=self.params.amount)


def prunable_layers(model: "nn.Module") -> "dict[str, nn.Module]":
    """Linear and convolution layers with a dense floating-point weight, by name; a weight shared by two layers counts once."""
    from torch import Tensor, nn

    found: dict[int, tuple[str, nn.Module]] = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
            weight: Any = getattr(module, "weight_orig", module.weight)
            if type(weight) in (Tensor, nn.Parameter) and weight.is_floating_point():
                found.setdefault(id(weight), (name, module))
    return dict(found.values())


def masked_layers(model: "nn.Module") -> "list[nn.Module]":
    """Layers whose mask is still multiplied in on every forward pass."""
    return [module for module in model.modules() if hasattr(module, "weight_orig")]


def make_permanent(model: "nn.Module") -> None:
    """Write every mask into its weights, so that the state is that of an ordinary model."""
    from torch.nn.utils import prune

    for layer in masked_layers(model):
        prune.remove(layer, "weight")  # type: ignore[no-untyped-call]


def sparsity(model: "nn.Module", layers: "dict[str, nn.Module]") -> dict[str, Any]:
    """True shares of zeros: over the given layers, over all parameters of the model, and in the extreme layers."""
    zeros = {name: _zeros(layer) for name, layer in layers.items()}
    sizes = {name: _weight(layer).numel() for name, layer in layers.items()}
    shares = {name: zeros[name] / sizes[name] for name in layers}
    lowest, highest = min(shares, key=shares.__getitem__), max(shares, key=shares.__getitem__)
    return {
        "layers": len(layers),
        "layers_pruned": sum(1 for share in shares.values() if share > 0),
        "sparsity_prunable": sum(zeros.values()) / sum(sizes.values()),
        "sparsity_model": sum(zeros.values()) / sum(p.numel() for p in model.parameters()),
        "sparsity_layer_min": shares[lowest],
        "sparsity_layer_min_name": lowest,
        "sparsity_layer_max": shares[highest],
        "sparsity_layer_max_name": highest,
    }


def _weight(layer: "nn.Module") -> "Tensor":
    return cast("Tensor", layer.weight)


def _zeros(layer: "nn.Module") -> int:
    return int((_weight(layer) == 0).sum().item())

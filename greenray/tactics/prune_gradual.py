"""Magnitude pruning while a model is trained: weights go one by one, and the others learn to do without.

The share of masked weights follows the cubic schedule of Zhu and Gupta (2017): many go at first, when there are many to spare,
and few in the end. In every linear and convolution layer alike the smallest weights are masked; a mask holds after every update
of the weights, so a masked weight is the smallest there is and stays masked. At the end zeros are ordinary weights: permanent.
"""

from typing import TYPE_CHECKING, Any, Self, cast

from pydantic import Field, model_validator

from greenray.errors import NotApplied, Unsupported
from greenray.tactics.base import Context, Params, Tactic
from greenray.tactics.prune import prunable_layers, sparsity

if TYPE_CHECKING:
    from torch import Tensor, nn

    from greenray.tasks.training_step import TrainingStep

_TOLD = 12  # points of the schedule in the evidence, the last included


class PruneGradualParams(Params):
    """The schedule: from `begin` to `end`, shares of all updates, the masked share rises to `amount`, every `every` updates."""

    amount: float = Field(default=0.5, gt=0.0, lt=1.0)
    begin: float = Field(default=0.1, ge=0.0, lt=1.0)
    end: float = Field(default=0.7, gt=0.0, le=1.0)
    every: int = Field(default=10, ge=1, le=1_000_000)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.begin >= self.end:
            raise ValueError(f"begin ({self.begin:g}) must come before end ({self.end:g})")
        return self


class PruneGradual(Tactic[PruneGradualParams]):
    """Masks are multiplied in after every update; the schedule counts updates, not batches."""

    name = "prune-gradual"
    summary = "Sets more and more of the smallest weights of every layer to zero during training (cubic schedule)."
    needs = "a training experiment"
    source = "https://arxiv.org/abs/1710.01878"
    Params = PruneGradualParams

    def check(self, context: Context) -> None:
        if not context.training:
            raise Unsupported("prune-gradual prunes while a model is trained: use prune-local or prune-global in inference")

    def apply(self, model: "nn.Module", context: Context) -> "nn.Module":
        self._layers = prunable_layers(model)
        self._masks = _Masks()
        if not self._layers:
            raise NotApplied("the model has no linear or convolution layer to prune", evidence={"layers": 0})
        return model

    def prepare_training(self, step: "TrainingStep") -> None:
        import torch

        update, total, params = step.update, step.updates_total, self.params
        first, last = max(1, round(params.begin * total)), max(1, round(params.end * total))

        def update_and_mask() -> None:
            update()
            number = step.updates + 1
            with torch.no_grad():
                self._masks.hold(self._layers)  # the update has moved masked weights too: they are to stay the smallest
                if number == last or (first <= number < last and (number - first) % params.every == 0):
                    self._masks.raise_to(self.share(number, first=first, last=last), self._layers, update=number)
                    self._masks.hold(self._layers)

        step.update = update_and_mask
        step.states.append(self._masks)

    def share(self, update: int, *, first: int, last: int) -> float:
        """Masked share from this update on: amount x (1 - (1 - progress) ^ 3)."""
        progress = 1.0 if update >= last else (update - first) / (last - first)
        return self.params.amount * (1 - (1 - progress) ** 3)

    def evidence(self, model: "nn.Module") -> dict[str, Any]:
        course = self._masks.course
        step = max(1, -(-(len(course) - 1) // (_TOLD - 1)))
        found = {
            "schedule": [*course[:-1:step], *course[-1:]],
            "raised": len(course),
            **sparsity(model, self._layers),
        }
        if not self._masks.masks:
            raise NotApplied(f"amount {self.params.amount:g} masks no weight in layers as small as these", evidence=found)
        return found

    def touched(self) -> frozenset[str]:
        return frozenset(self._masks.masks)


class _Masks:
    """The mask of every layer, and when which share was masked; joins the step, so that a rehearsal leaves none behind."""

    def __init__(self) -> None:
        self.masks: dict[str, Tensor] = {}
        self.course: list[list[float]] = []  # update, masked share of all prunable weights

    def state_dict(self) -> dict[str, Any]:
        return {"masks": dict(self.masks), "course": list(self.course)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.masks, self.course = dict(state["masks"]), list(state["course"])

    def raise_to(self, share: float, layers: "dict[str, nn.Module]", *, update: int) -> None:
        import torch

        masked = total = 0
        for name, layer in layers.items():
            weight = cast("Tensor", layer.weight)
            count = round(share * weight.numel())
            if count:
                kept = torch.ones(weight.numel(), dtype=torch.bool, device=weight.device)
                kept[weight.abs().flatten().topk(count, largest=False, sorted=False).indices] = False
                self.masks[name] = kept.view(weight.shape)
            masked, total = masked + count, total + weight.numel()
        self.course.append([update, masked / total])

    def hold(self, layers: "dict[str, nn.Module]") -> None:
        for name, mask in self.masks.items():
            cast("Tensor", layers[name].weight).mul_(mask)

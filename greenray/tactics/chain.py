"""Tactics one after the other, as one."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from greenray.errors import CellError
from greenray.tactics.base import Context, Tactic
from greenray.tactics.registry import build

if TYPE_CHECKING:
    from torch import nn

    from greenray.tasks.training_step import TrainingStep


class Chain:
    """The tactics of a cell, applied in order; evidence and errors name the tactic they come from."""

    def __init__(self, steps: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
        self._tactics: list[Tactic[Any]] = [build(name, params) for name, params in steps]
        self._applied: list[Tactic[Any]] = []

    def check(self, context: Context) -> None:
        """Raises Unsupported if any of them cannot run here; nothing has been changed by then."""
        for tactic in self._tactics:
            tactic.check(context)

    def apply(self, model: "nn.Module", context: Context) -> "nn.Module":
        """The model after all of them; raises NotApplied and Unsupported with the evidence of the steps before."""
        for tactic in self._tactics:
            try:
                model = tactic.apply(model, context)
            except CellError as error:
                error.evidence = {**self.evidence(model), tactic.name: error.evidence}
                raise
            self._applied.append(tactic)
        return model

    def prepare_training(self, step: "TrainingStep") -> None:
        """Let each of them wrap the training step; a later one wraps what an earlier one made of it."""
        for tactic in self._applied:
            tactic.prepare_training(step)

    def end_training(self, model: "nn.Module") -> None:
        """The model as it is to be evaluated and saved."""
        for tactic in self._applied:
            tactic.end_training(model)

    def evidence(self, model: "nn.Module") -> dict[str, Any]:
        """Evidence of each tactic that has some, by its name; of a tactic that stands twice in the chain the last."""
        found: dict[str, Any] = {}
        for tactic in self._applied:
            try:
                found[tactic.name] = tactic.evidence(model)
            except CellError as error:
                error.evidence = {**found, tactic.name: error.evidence}
                raise
        return {name: evidence for name, evidence in found.items() if evidence}

    def compilations(self) -> int:
        """How often code was compiled so far, over all tactics."""
        return max((tactic.compilations() for tactic in self._tactics), default=0)

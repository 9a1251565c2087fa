"""One step of training, in parts that tactics may wrap, and its rehearsal before anything is measured."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from greenray.tasks.base import Task, TrainingBatch

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


@dataclass(slots=True, kw_only=True)
class TrainingStep:
    """Forward and loss, backward, update of the weights.

    A tactic wraps a part by putting its own in place: `step.forward = autocast(step.forward)`.

    Attributes:
        forward: mean loss of a batch, and how many of its samples were answered right (None where nothing is).
        backward: gradients from the loss.
        update: new weights from the gradients.
        states: what else changes with the steps, such as a gradient scaler: objects with `state_dict` and `load_state_dict`.
        accumulation: batches whose mean gradient moves the weights once.
        updates, updates_total: updates of the weights so far, and of a training that is not ended early.
    """

    model: "nn.Module"
    optimizer: "torch.optim.Optimizer"
    forward: "Callable[[TrainingBatch], tuple[Tensor, Tensor | None]]"
    backward: "Callable[[Tensor], object]"
    update: Callable[[], object]
    states: list[Any] = field(default_factory=list)
    accumulation: int = 1
    updates: int = 0
    updates_total: int = 0
    _accumulated: int = 0

    def __call__(self, batch: TrainingBatch) -> "tuple[Tensor, Tensor | None]":
        """Train on one batch; returns what `forward` did, the loss without its graph."""
        loss, right = self.forward(batch)
        if not self._accumulated:
            self.optimizer.zero_grad(set_to_none=True)
        self.backward(loss if self.accumulation == 1 else loss / self.accumulation)
        self._accumulated = (self._accumulated + 1) % self.accumulation
        if self.complete:
            self.update()
            self.updates += 1
        return loss.detach(), right

    def autocast(self, dtype: "torch.dtype", *, device: str) -> None:
        """Run forward and loss in mixed precision."""
        import torch

        forward = self.forward

        def in_lower_precision(batch: TrainingBatch) -> "tuple[Tensor, Tensor | None]":
            with torch.autocast(device, dtype=dtype):
                return forward(batch)

        self.forward = in_lower_precision

    def scale_loss(self, *, device: str) -> "torch.amp.GradScaler":
        """Scale the loss before its gradients are computed, and leave out updates from gradients that have overflowed."""
        import torch

        scaler = torch.amp.GradScaler(device)
        backward, whole = self.backward, _Update(optimizer=self.optimizer, step=self.update)

        def update() -> None:
            scaler.step(cast("torch.optim.Optimizer", whole))
            scaler.update()

        self.backward = lambda loss: backward(scaler.scale(loss))
        self.update = update
        self.states.append(scaler)
        return scaler

    @property
    def complete(self) -> bool:
        """Whether the weights have moved by all that was learnt so far."""
        return not self._accumulated


@dataclass(frozen=True, kw_only=True)
class _Update:
    """What a scaler takes for an optimizer: the update as tactics have wrapped it, on the optimizer's own groups."""

    optimizer: "torch.optim.Optimizer"
    step: Callable[[], object]

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        return self.optimizer.param_groups  # a new list after each load_state_dict


def plain_step(task: Task, model: "nn.Module", optimizer: "torch.optim.Optimizer") -> TrainingStep:
    """The step of the baseline: fp32, nothing wrapped."""
    return TrainingStep(
        model=model,
        optimizer=optimizer,
        forward=lambda batch: task.loss(model(**batch.inputs), batch.targets),
        backward=lambda loss: loss.backward(),  # type: ignore[no-untyped-call]
        update=lambda: optimizer.step(),  # looked up at each call: schedulers put theirs in its place
    )


def rehearse(step: TrainingStep, batch: TrainingBatch, *, times: int) -> None:
    """Run the step, so that all its code is compiled, and put everything back: what follows is an untouched start.

    Put back are weights and buffers (the statistics of batch normalisation among them), gradients, the states of the optimizer
    and of what joined the step, the count of updates and the random numbers; order of the data and schedule are not touched by
    a step.
    """
    import torch

    tensors = [*step.model.parameters(), *step.model.buffers()]
    updates = step.updates
    before = [tensor.detach().to("cpu", copy=True) for tensor in tensors]  # in host memory: the board's may just do
    states = [(one, copy.deepcopy(one.state_dict())) for one in (step.optimizer, *step.states)]
    with torch.random.fork_rng():
        for _ in range(times * step.accumulation):
            step(batch)
    with torch.no_grad():
        for tensor, kept in zip(tensors, before, strict=True):
            tensor.copy_(kept)
    for one, state in states:
        one.load_state_dict(state)
    step.updates = updates
    step.optimizer.zero_grad(set_to_none=True)

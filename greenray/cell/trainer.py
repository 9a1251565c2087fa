"""Epochs of training: in which order samples are learnt from, what moves the weights, and what the model answers in between."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from greenray.cell import runtime, work
from greenray.config.refs import Hyperparameters
from greenray.errors import Unsupported
from greenray.tactics.registry import Chain
from greenray.tasks import precision
from greenray.tasks.base import Task
from greenray.tasks.training_step import plain_step, rehearse

if TYPE_CHECKING:
    import torch
    from torch import nn
    from torch.optim.lr_scheduler import LRScheduler

SGD_MOMENTUM = 0.9


class Trainer:
    """Epochs of shuffled full batches, in which no update is left half done; what is left over of an epoch is drawn in another.

    A data set smaller than one batch is one batch. Where a tactic holds samples out, none of them is learnt from, and every epoch
    ends with the model's answers to them. Raises Unsupported if there are too few samples for one update.

    Attributes:
        samples: how many are learnt from.
        share: of the samples that an epoch learns from where none are held out (0-1).
        validation_accuracy: share of the samples held out that were answered right after the last epoch; None without any.
    """

    def __init__(self, task: Task, model: "nn.Module", chain: Chain, *, hyper: Hyperparameters, seed: int) -> None:
        import torch

        self._task, self._model, self._chain = task, model, chain
        self._precision = hyper.precision
        self._held_out, self._learnt = _divided(task, share=chain.held_out_share())
        self.validation_accuracy: float | None = None
        samples, many = len(self._learnt), hyper.gradient_accumulation
        self.samples = samples
        self.batch_size, updates = _batches(samples, most=task.job.batch_size, many=many)
        if not updates:
            raise Unsupported(
                f"gradient_accumulation {many} with batches of {self.batch_size} needs {many * self.batch_size} samples to learn "
                f"from, there are {samples}; accumulate fewer, or smaller ones"
            )
        self.batches_per_epoch = updates * many
        # By what is drawn: what does not fill a batch is left out with and without samples held out.
        whole_batch, whole_updates = _batches(task.training_samples, most=task.job.batch_size, many=many)
        self.share = updates * self.batch_size / (whole_updates * whole_batch)
        self._order = torch.Generator().manual_seed(seed)
        kinds: dict[str, Callable[..., torch.optim.Optimizer]] = {
            "adamw": torch.optim.AdamW,
            "adam": torch.optim.Adam,
            "sgd": functools.partial(torch.optim.SGD, momentum=SGD_MOMENTUM),
        }
        optimizer = kinds[hyper.optimizer](model.parameters(), lr=hyper.learning_rate, weight_decay=hyper.weight_decay)
        self._scheduler = scheduler(optimizer, hyper.schedule, learning_rate=hyper.learning_rate, steps=updates * hyper.epochs)
        self._step = plain_step(task, model, optimizer)
        self._step.accumulation = many
        self._step.updates_total = updates * hyper.epochs
        self._scaler = precision.apply(hyper.precision, self._step, device=task.job.device)
        chain.prepare_training(self._step)
        torch.manual_seed(seed)  # dropout

    def rehearse(self) -> None:
        """The first steps, without consequences: what they compile belongs to no epoch."""
        self._model.train()
        rehearse(self._step, self._task.training_batch(self._learnt[: self.batch_size]), times=work.FIRST_CALLS)
        runtime.synchronize(self._task.job.device)

    def epoch(self) -> tuple[float, float | None]:
        """Train once over the data; returns mean loss and accuracy over the epoch, both while the model was learning."""
        import torch

        self._model.train()
        batches, size = self.batches_per_epoch, self.batch_size
        order = self._learnt[torch.randperm(self.samples, generator=self._order)]
        # Summed on the device: asking for each number would make every step wait.
        loss_sum: Any = 0.0
        right_sum: Any = 0
        for batch in self._task.training_batches(order[: batches * size].view(batches, size)):
            loss, right = self._step(batch)
            if self._step.complete:
                self._scheduler.step()
            loss_sum = loss_sum + loss
            right_sum = None if right is None else right_sum + right
        if self._held_out is not None:
            self.validation_accuracy = self._validate(self._held_out)
        return float(loss_sum) / batches, None if right_sum is None else int(right_sum) / (batches * size)

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """The model as the finished one is evaluated, and eager whatever was compiled; it learns on afterwards as if nothing was.

        That is in evaluation mode, in fp32 whatever precision it is trained in, with what a tactic has done to its weights.
        """
        import torch

        self._model.eval()
        try:
            # Not inference_mode: what a model keeps of its own between passes must be fit for learning.
            with torch.no_grad(), precision.paused(self._precision), self._chain.evaluating(self._model):
                yield
        finally:
            self._model.train()

    def scaled(self) -> dict[str, float]:
        """By how much gradients were scaled in the end, where they were."""
        return {} if self._scaler is None else {"gradient_scale": float(self._scaler.get_scale())}

    def _validate(self, rows: "torch.Tensor") -> float:
        import torch

        right: Any = 0
        with self.evaluating():
            for part in torch.split(rows, self.batch_size):
                batch = self._task.training_batch(part)
                _, found = self._task.loss(self._model(**batch.inputs), batch.targets)
                if found is None:
                    raise Unsupported(f"in {self._task.name} no answer is right or wrong, so there is nothing to validate by")
                right = right + found
        return int(right) / len(rows)


def _batches(samples: int, *, most: int, many: int) -> tuple[int, int]:
    """Samples in a batch, and how many updates of `many` full batches there are in an epoch."""
    size = min(most, samples)
    return size, samples // (size * many)


def _divided(task: Task, *, share: float) -> "tuple[torch.Tensor | None, torch.Tensor]":
    """Numbers of the training samples that are held out, and of those that are learnt from."""
    import torch

    everything = torch.arange(task.training_samples)
    if not share:
        return None, everything
    if share * task.training_samples < 1:
        raise Unsupported(
            f"{share:.0%} of {task.training_samples} samples to learn from is none to validate on: take more samples"
        )
    held_out = torch.tensor(task.hold_out(share))
    return held_out, everything[~torch.isin(everything, held_out)]


def scheduler(optimizer: "torch.optim.Optimizer", kind: str, *, learning_rate: float, steps: int) -> "LRScheduler":
    """The learning rate over so many updates: `one-cycle` up and down, `cosine` from its full height to 0, else constant."""
    from torch.optim import lr_scheduler

    if kind == "one-cycle":
        return lr_scheduler.OneCycleLR(optimizer, max_lr=learning_rate, total_steps=max(steps, 2))
    if kind == "cosine":
        return lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    return lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)

"""A training cell: one window an epoch, then the test split, then the checkpoint."""

import functools
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from greenray.cell import footprint, runtime, work
from greenray.cell.protocol import CellTask, Done
from greenray.cell.stages import compiled_inside
from greenray.config.refs import Hyperparameters
from greenray.errors import CellError, Refused, Unsupported
from greenray.tactics.base import Context
from greenray.tactics.registry import Chain
from greenray.tasks.base import Task
from greenray.tasks.training_step import plain_step, rehearse

if TYPE_CHECKING:
    import torch
    from torch import nn
    from torch.optim.lr_scheduler import LRScheduler

SGD_MOMENTUM = 0.9


def run(asked: CellTask, marker: work.WindowMarker, result: Done) -> Done:
    """Train one model, evaluate it and save it to `asked.save_to`; raises GreenRayError with what the cell's row will say."""
    cell = asked.cell
    hyper = cell.hyperparameters
    if hyper is None:
        raise CellError("a training cell without hyperparameters")
    chain = Chain((step.name, step.params) for step in cell.tactic)
    chain.check(Context(device=cell.device, training=True))
    task, model = work.begin(asked, marker, result, batch_size=chain.batch_size(cell.batch_size))

    if cell.is_baseline:
        trainer = Trainer(task, model, chain, hyper=hyper, seed=cell.seed)
    else:
        with marker.window("optimize") as window:
            context = Context(device=cell.device, example=task.example(), training=True)
            if chain.apply(model, context) is not model or footprint.is_packed(model):
                raise Unsupported("a quantised model cannot be trained; use the tactic in an inference experiment")
            trainer = Trainer(task, model, chain, hyper=hyper, seed=cell.seed)
            trainer.rehearse()
            window.samples, window.iterations = work.FIRST_CALLS * trainer.batch_size, work.FIRST_CALLS
    for epoch in range(1, hyper.epochs + 1):
        compiled = chain.compilations()
        with marker.window("epoch") as window:
            window.epoch = epoch
            loss, window.train_accuracy = trainer.epoch()
            window.loss = loss
            window.samples, window.iterations = trainer.steps_per_epoch * trainer.batch_size, trainer.steps_per_epoch
            window.rejected = compiled_inside(chain.compilations() - compiled)
        if not math.isfinite(loss):
            raise Refused(f"training diverged in epoch {epoch} (loss {loss}); try a lower learning rate")
    chain.end_training(model)
    result.evidence = chain.evidence(model)

    model.eval()
    work.finish(task, model, marker, result)
    if asked.save_to is not None:
        task.save(model, Path(asked.save_to))
    result.settings["inference_mode"] = False
    return result


class Trainer:
    """Epochs of shuffled full batches; what is left over of an epoch is drawn in another.

    A data set smaller than one batch is one batch.
    """

    def __init__(self, task: Task, model: "nn.Module", chain: Chain, *, hyper: Hyperparameters, seed: int) -> None:
        import torch

        self._task = task
        self._model = model
        self.batch_size = min(task.job.batch_size, task.training_samples)
        self.steps_per_epoch = task.training_samples // self.batch_size
        self._order = torch.Generator().manual_seed(seed)
        kinds: dict[str, Callable[..., torch.optim.Optimizer]] = {
            "adamw": torch.optim.AdamW,
            "adam": torch.optim.Adam,
            "sgd": functools.partial(torch.optim.SGD, momentum=SGD_MOMENTUM),
        }
        optimizer = kinds[hyper.optimizer](model.parameters(), lr=hyper.learning_rate, weight_decay=hyper.weight_decay)
        self._scheduler = _scheduler(optimizer, hyper, steps=self.steps_per_epoch * hyper.epochs)
        self._step = plain_step(task, model, optimizer)
        chain.prepare_training(self._step)
        torch.manual_seed(seed)  # dropout

    def rehearse(self) -> None:
        """The first steps, without consequences: what they compile belongs to no epoch."""
        import torch

        self._model.train()
        rehearse(self._step, self._task.training_batch(torch.arange(self.batch_size)), times=work.FIRST_CALLS)
        runtime.synchronize(self._task.job.device)

    def epoch(self) -> tuple[float, float | None]:
        """Train once over the data; returns mean loss and accuracy over the epoch, both while the model was learning."""
        import torch

        self._model.train()
        steps, size = self.steps_per_epoch, self.batch_size
        order = torch.randperm(self._task.training_samples, generator=self._order)
        # Summed on the device: asking for each number would make every step wait.
        loss_sum: Any = 0.0
        right_sum: Any = 0
        for rows in order[: steps * size].view(steps, size):
            loss, right = self._step(self._task.training_batch(rows))
            self._scheduler.step()
            loss_sum = loss_sum + loss
            right_sum = None if right is None else right_sum + right
        return float(loss_sum) / steps, None if right_sum is None else int(right_sum) / (steps * size)


def _scheduler(optimizer: "torch.optim.Optimizer", hyper: Hyperparameters, *, steps: int) -> "LRScheduler":
    from torch.optim import lr_scheduler

    if hyper.schedule == "one-cycle":
        return lr_scheduler.OneCycleLR(optimizer, max_lr=hyper.learning_rate, total_steps=max(steps, 2))
    if hyper.schedule == "cosine":
        return lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    return lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)

"""A training cell: epochs in windows, then the test split in fp32, then the checkpoint.

On the cpu a window is an epoch. On a GPU it holds as many as it takes to be as long as a steady window, for an epoch may be over
before the board's counter has moved a few times.
"""

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
from greenray.tasks import precision
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
    chain.check(Context(device=cell.device, training=True, precision=hyper.precision))
    precision.check(hyper.precision, device=cell.device)
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
    memory = runtime.PeakMemory(cell.device)
    with memory.measured():
        train(trainer, chain, marker, epochs=hyper.epochs, least_s=asked.steady_window_s if cell.device == "cuda" else 0.0)
    chain.end_training(model)
    precision.end(hyper.precision)
    result.evidence = chain.evidence(model)
    result.peak_gpu_memory_bytes, result.peak_gpu_memory_load_bytes = memory.inside, memory.outside
    result.settings |= {"precision": hyper.precision} | trainer.scaled()

    model.eval()
    work.finish(task, model, chain, marker, result, batch_size=cell.batch_size)
    if asked.save_to is not None:
        task.save(model, Path(asked.save_to))
    result.settings["inference_mode"] = False
    return result


def train(trainer: "Trainer", chain: Chain, marker: work.WindowMarker, *, epochs: int, least_s: float) -> None:
    """Train for so many epochs in windows that last `least_s` or hold one, the last of them included; raises Refused.

    `epoch`, `loss` and `train_accuracy` of a window are those of its last epoch.
    """
    epoch = 0
    while epoch < epochs:
        compiled = chain.compilations()
        with marker.window("epoch") as window:
            window.epochs = 0
            rest_s = 0.0
            while window.epochs == 0 or rest_s < least_s:
                epoch += 1
                loss, window.train_accuracy = trainer.epoch()
                window.epoch, window.epochs, window.loss = epoch, window.epochs + 1, loss
                if epoch == epochs or not math.isfinite(loss):
                    break
                # What remains must be long enough too, or else it belongs to this window.
                so_far_s = marker.clock() - window.start_s
                rest_s = min(so_far_s, so_far_s / window.epochs * (epochs - epoch))
            batches = window.epochs * trainer.batches_per_epoch
            window.samples, window.iterations = batches * trainer.batch_size, batches
            window.rejected = compiled_inside(chain.compilations() - compiled)
        if not math.isfinite(loss):
            raise Refused(f"training diverged in epoch {epoch} (loss {loss}); try a lower learning rate")


class Trainer:
    """Epochs of shuffled full batches, in which no update is left half done; what is left over of an epoch is drawn in another.

    A data set smaller than one batch is one batch. Raises Unsupported if there are too few samples for one update.
    """

    def __init__(self, task: Task, model: "nn.Module", chain: Chain, *, hyper: Hyperparameters, seed: int) -> None:
        import torch

        self._task = task
        self._model = model
        samples, many = task.training_samples, hyper.gradient_accumulation
        self.batch_size = min(task.job.batch_size, samples)
        updates = samples // (self.batch_size * many)
        if not updates:
            raise Unsupported(
                f"gradient_accumulation {many} with batches of {self.batch_size} needs {many * self.batch_size} samples to learn "
                f"from, there are {samples}; accumulate fewer, or smaller ones"
            )
        self.batches_per_epoch = updates * many
        self._order = torch.Generator().manual_seed(seed)
        kinds: dict[str, Callable[..., torch.optim.Optimizer]] = {
            "adamw": torch.optim.AdamW,
            "adam": torch.optim.Adam,
            "sgd": functools.partial(torch.optim.SGD, momentum=SGD_MOMENTUM),
        }
        optimizer = kinds[hyper.optimizer](model.parameters(), lr=hyper.learning_rate, weight_decay=hyper.weight_decay)
        self._scheduler = _scheduler(optimizer, hyper, steps=updates * hyper.epochs)
        self._step = plain_step(task, model, optimizer)
        self._step.accumulation = many
        self._scaler = precision.apply(hyper.precision, self._step, device=task.job.device)
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
        batches, size = self.batches_per_epoch, self.batch_size
        order = torch.randperm(self._task.training_samples, generator=self._order)
        # Summed on the device: asking for each number would make every step wait.
        loss_sum: Any = 0.0
        right_sum: Any = 0
        for batch in self._task.training_batches(order[: batches * size].view(batches, size)):
            loss, right = self._step(batch)
            if self._step.complete:
                self._scheduler.step()
            loss_sum = loss_sum + loss
            right_sum = None if right is None else right_sum + right
        return float(loss_sum) / batches, None if right_sum is None else int(right_sum) / (batches * size)

    def scaled(self) -> dict[str, float]:
        """By how much gradients were scaled in the end, where they were."""
        return {} if self._scaler is None else {"gradient_scale": float(self._scaler.get_scale())}


def _scheduler(optimizer: "torch.optim.Optimizer", hyper: Hyperparameters, *, steps: int) -> "LRScheduler":
    from torch.optim import lr_scheduler

    if hyper.schedule == "one-cycle":
        return lr_scheduler.OneCycleLR(optimizer, max_lr=hyper.learning_rate, total_steps=max(steps, 2))
    if hyper.schedule == "cosine":
        return lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    return lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)

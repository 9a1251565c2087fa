"""A training cell: one window an epoch, then the test split, then the checkpoint."""

import gc
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from greenray.cell import quality, runtime
from greenray.cell.inference import classify, judge, operations
from greenray.cell.marks import WindowMarker
from greenray.cell.partial import PartialResult
from greenray.cell.protocol import CellTask, Done
from greenray.config.cell import Hyperparameters
from greenray.errors import CellError, Unsupported
from greenray.tactics.base import Context
from greenray.tactics.chain import Chain
from greenray.tactics.prune import make_permanent
from greenray.tasks.image_classification import batches, data, models

if TYPE_CHECKING:
    import torch
    from torch import nn

SGD_MOMENTUM = 0.9


def run(task: CellTask, marker: WindowMarker, partial: PartialResult) -> Done:
    """Train one model, evaluate it and save it to `task.save_to`.

    Raises:
        GreenRayError: what the cell's row will say.
    """
    import torch

    cell, device = task.cell, task.cell.device
    hyper = cell.hyperparameters
    if hyper is None:
        raise CellError("a training cell without hyperparameters")
    chain = Chain((step.name, step.params) for step in cell.tactic)

    with marker.window("data") as draft:
        train, test = data.load(cell.dataset, purpose="train"), data.load(_test_ref(task), purpose="test")
        plan = models.blueprint(
            cell.model,
            label_names=train.label_names,
            channels=train.channels,
            checkpoint=task.checkpoint,
            trust=task.trust,
            new_head=True,
        )
        pool = batches.Pool(train, plan=plan)
        prepared = batches.prepare(test, plan=plan, batch_size=cell.batch_size, pinned=device == "cuda")
        draft.samples = len(train) + prepared.samples_kept
    partial.family = plan.family

    with marker.window("load"):
        model = models.build(plan)
        model.to(device)
        runtime.synchronize(device)
    parameters = quality.parameters(model)
    gc.freeze()  # a full collection over all that was imported would take a tenth of a second of some window
    marker.idle(task.measure.idle_s)

    if not cell.is_baseline:
        with marker.window("optimize"):
            _optimize(model, chain, example=runtime.to_device(prepared.kept[0], device), device=device)
    trainer = Trainer(model, pool=pool, hyper=hyper, batch_size=cell.batch_size, device=device, seed=cell.seed)
    for epoch in range(1, hyper.epochs + 1):
        with marker.window("epoch") as draft:
            draft.epoch = epoch
            draft.loss, draft.train_accuracy = trainer.epoch()
            draft.samples, draft.iterations = trainer.steps_per_epoch * trainer.batch_size, trainer.steps_per_epoch
        if not math.isfinite(draft.loss):
            raise CellError(f"training diverged in epoch {epoch} (loss {draft.loss}); try a lower learning rate")
    partial.evidence = chain.evidence(model)

    model.eval()
    with torch.inference_mode(), marker.window("evaluate") as draft:
        outputs = classify(model, prepared, device=device)
        draft.samples, draft.iterations = len(outputs), prepared.count
    make_permanent(model)
    if task.save_to is not None:
        models.save(model, plan.processor, Path(task.save_to))

    return Done(
        evidence=partial.evidence,
        settings=partial.settings | {"inference_mode": False},
        model_family=plan.family,
        dataset_split=test.split,
        dtype=runtime.dtype_name(model),
        attention=models.attention(model),
        num_threads=torch.get_num_threads(),
        parameters=parameters,
        nonzero_parameters=quality.nonzero_parameters(model),
        size_bytes=quality.size_bytes(model),
        peak_gpu_memory_bytes=runtime.peak_gpu_memory_bytes(device),
        versions=runtime.versions(),
        **operations(plan, shape=tuple(prepared.kept[0].shape[1:]), partial=partial),
        **judge(outputs, images=test, plan=plan, partial=partial),
    )


class Trainer:
    """Epochs of shuffled full batches with cross-entropy loss; what is left over of an epoch is drawn in another.

    A data set smaller than one batch is one batch.
    """

    def __init__(
        self, model: "nn.Module", *, pool: batches.Pool, hyper: Hyperparameters, batch_size: int, device: str, seed: int
    ) -> None:
        import torch

        self._model = model
        self._pool = pool
        self._device = device
        self.batch_size = min(batch_size, len(pool))
        self.steps_per_epoch = len(pool) // self.batch_size
        self._order = torch.Generator().manual_seed(seed)
        self._optimizer = _optimizer(model, hyper)
        self._scheduler = _scheduler(self._optimizer, hyper, steps=self.steps_per_epoch * hyper.epochs)
        torch.manual_seed(seed)  # dropout

    def epoch(self) -> tuple[float, float]:
        """Train once over the data; returns mean loss and accuracy over the epoch, both while the model was learning."""
        import torch
        from torch.nn.functional import cross_entropy

        self._model.train()
        order = torch.randperm(len(self._pool), generator=self._order)
        # Summed on the device: asking for each number would make every step wait.
        loss_sum = torch.zeros((), device=self._device)
        correct = torch.zeros((), device=self._device, dtype=torch.int64)
        for rows in order[: self.steps_per_epoch * self.batch_size].view(self.steps_per_epoch, self.batch_size):
            pixels, labels = self._pool.batch(rows, device=self._device)
            logits = self._model(pixel_values=pixels).logits
            loss = cross_entropy(logits.float(), labels)
            self._optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            self._optimizer.step()
            self._scheduler.step()
            loss_sum += loss.detach()
            correct += (logits.detach().argmax(dim=-1) == labels).sum()
        seen = self.steps_per_epoch * self.batch_size
        return loss_sum.item() / self.steps_per_epoch, correct.item() / seen


def _optimizer(model: "nn.Module", hyper: Hyperparameters) -> "torch.optim.Optimizer":
    import torch

    shared: dict[str, Any] = {"lr": hyper.learning_rate, "weight_decay": hyper.weight_decay}
    if hyper.optimizer == "adamw":
        return torch.optim.AdamW(model.parameters(), **shared)
    if hyper.optimizer == "adam":
        return torch.optim.Adam(model.parameters(), **shared)
    if hyper.optimizer == "sgd":
        return torch.optim.SGD(model.parameters(), momentum=SGD_MOMENTUM, **shared)
    raise CellError(f"unknown optimizer {hyper.optimizer!r}; there are adamw, adam and sgd")


def _scheduler(
    optimizer: "torch.optim.Optimizer", hyper: Hyperparameters, *, steps: int
) -> "torch.optim.lr_scheduler.LRScheduler":
    import torch

    if hyper.schedule == "one-cycle":
        return torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=hyper.learning_rate, total_steps=max(steps, 2))
    if hyper.schedule == "cosine":
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    if hyper.schedule == "constant":
        return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    raise CellError(f"unknown schedule {hyper.schedule!r}; there are one-cycle, cosine and constant")


def _optimize(model: "nn.Module", chain: Chain, *, example: Any, device: str) -> None:
    context = Context(device=device, example={"pixel_values": example})
    chain.check(context)
    if chain.apply(model, context) is not model or quality.is_packed(model):
        raise Unsupported("a quantised model cannot be trained; use the tactic in an inference experiment")
    runtime.synchronize(device)


def _test_ref(task: CellTask) -> Any:
    """What is evaluated: never the split that was declared for training."""
    return task.cell.dataset.model_copy(update={"split": None})

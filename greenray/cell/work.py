"""What measuring and training a model have in common: everything until the model is loaded, and the last word."""

import gc
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from greenray.cell import footprint, runtime
from greenray.cell.marks import WindowMarker
from greenray.cell.protocol import CellTask, Done
from greenray.tasks.base import Evaluation, Job, Task
from greenray.tasks.registry import task_class

if TYPE_CHECKING:
    from torch import nn

FIRST_CALLS = 3  # the second and third are for CUDA graphs, which are recorded after a first run


@dataclass(slots=True)
class PartialResult:
    """What is known of a cell so far, for its last word also when it fails half-way."""

    family: str | None = None
    attention: str | None = None
    parameters: int | None = None
    evidence: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)


def begin(asked: CellTask, marker: WindowMarker, partial: PartialResult) -> "tuple[Task, nn.Module]":
    """The windows `data`, `load` and `idle`: the work made ready, and the model on the device.

    Raises:
        GreenRayError: what the cell's row will say.
    """
    cell = asked.cell
    job = Job(
        model=cell.model,
        dataset=cell.dataset,
        batch_size=cell.batch_size,
        device=cell.device,
        training=cell.phase == "training",
        trust=asked.trust,
        checkpoint=asked.checkpoint,
    )
    task = task_class(cell.task)(job)
    with marker.window("data") as draft:
        draft.samples, draft.iterations = task.prepare()
    partial.family = task.family
    with marker.window("load"):
        model = task.load()
        model.to(cell.device)
        runtime.synchronize(cell.device)
    partial.parameters, partial.attention = footprint.parameters(model), runtime.attention(model)
    gc.freeze()  # a full collection over all that was imported would take a tenth of a second of some window
    marker.idle(asked.measure.idle_s)
    return task, model


def evaluate(task: Task, model: "nn.Module", marker: WindowMarker) -> Evaluation:
    """The window `evaluate`."""
    with marker.window("evaluate") as draft:
        evaluation = task.evaluate(model)
        draft.samples, draft.iterations = evaluation.amount
    return evaluation


def finish(task: Task, model: "nn.Module", evaluation: Evaluation, partial: PartialResult) -> Done:
    """The last word on a model that was measured or trained."""
    import torch

    if evaluation.unknown is not None:
        partial.settings["accuracy_unknown"] = evaluation.unknown
    macs = flops = None
    try:
        macs, flops = footprint.operations_per_sample(*task.skeleton())
    except Exception as error:  # any model's own code runs here, and not all of it runs on the meta device
        partial.settings["operations_unknown"] = f"{type(error).__name__}: {error}"[:200]
    return Done(
        evidence=partial.evidence,
        settings=partial.settings,
        model_family=partial.family,
        dataset_split=task.split,
        dtype=runtime.dtype_name(model),
        attention=partial.attention,
        num_threads=torch.get_num_threads(),
        parameters=partial.parameters,
        nonzero_parameters=footprint.nonzero_parameters(model),
        size_bytes=footprint.size_bytes(model),
        macs_per_sample=macs,
        flops_per_sample=flops,
        peak_gpu_memory_bytes=runtime.peak_gpu_memory_bytes(task.job.device),
        accuracy=evaluation.quality,
        accuracy_low=evaluation.low,
        accuracy_high=evaluation.high,
        labels=evaluation.labels,
        predictions=evaluation.predictions,
        versions=runtime.versions(),
    )

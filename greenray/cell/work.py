"""What measuring and training a model have in common: windows, everything until the model is loaded, and the last word."""

import gc
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from greenray.cell import descriptors, footprint, runtime, touched
from greenray.cell.protocol import CellTask, Channel, Done, Kind, Settle, Settled, Spending, Spent, Verdict, Warmth, Window
from greenray.errors import CellError
from greenray.tactics.registry import Chain
from greenray.tasks.base import Evaluation, Job, Task
from greenray.tasks.registry import task_class

if TYPE_CHECKING:
    from torch import nn

FIRST_CALLS = 3  # the second and third are for CUDA graphs, which are recorded after a first run
_ANSWER_TIMEOUT_S = 60.0


class WindowMarker:
    """Marks windows on CLOCK_MONOTONIC and sends them; the one place that talks to the worker while a cell runs."""

    def __init__(self, channel: Channel, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._channel = channel
        self.clock = clock
        self.send = channel.send

    @contextmanager
    def window(self, kind: Kind, *, stage: str | None = None) -> Iterator[Window]:
        """The block inside is a window, filled in there and sent if the block succeeds.

        The block ends with a synchronised device; it sets `end_s` itself where the end is that of an iteration.
        """
        window = Window(kind=kind, stage=stage, start_s=self.clock(), end_s=math.inf)
        yield window
        window.end_s = min(window.end_s, self.clock())
        self.send(window)

    def idle(self, seconds: float) -> None:
        """Wait until the board is steady, then hold still for a window; raises EOFError if the worker is gone."""
        self.send(Settle())
        if not isinstance(self._channel.receive(timeout_s=_ANSWER_TIMEOUT_S), Settled):
            raise CellError(f"the worker did not say within {_ANSWER_TIMEOUT_S:g} s whether the board is steady")
        with self.window("idle"):
            time.sleep(seconds)

    def spent(self) -> Spent:
        """What the epochs have cost so far; waits for the worker's answer. Raises EOFError if the worker is gone."""
        self.send(Spending())
        if not isinstance(message := self._channel.receive(timeout_s=_ANSWER_TIMEOUT_S), Spent):
            raise CellError(f"the worker did not say within {_ANSWER_TIMEOUT_S:g} s what training has cost so far")
        return message

    def warmth(self) -> Warmth | None:
        """The worker's answer to `Warming`, if it has arrived; never waits."""
        message = self._channel.receive(timeout_s=0.0)
        return message if isinstance(message, Warmth) else None

    def verdict(self, stage: str) -> Verdict | None:
        """The worker's word on a steady window of a stage, if one has arrived; never waits."""
        message = self._channel.receive(timeout_s=0.0)
        # One on the stage before may still be on its way when that had enough windows, and so may a late word on the warmth.
        return message if isinstance(message, Verdict) and message.stage == stage else None


def begin(asked: CellTask, marker: WindowMarker, result: Done, *, batch_size: int) -> "tuple[Task, nn.Module]":
    """The windows `data`, `load` and `idle`: the work made ready in batches of that size, and the model on the device."""
    cell = asked.cell
    same: dict[str, Any] = {name: getattr(cell, name) for name in ("model", "dataset", "device")} | {"batch_size": batch_size}
    training, in_flight, hyper = cell.phase == "training", asked.measure.in_flight, cell.hyperparameters
    same |= {"seed": cell.seed, "augmentation": () if hyper is None else hyper.augmentation}
    job = Job(training=training, in_flight=in_flight, trust=asked.trust, checkpoint=asked.checkpoint, **same)
    result.measured_batch_size = batch_size
    task = task_class(cell.task)(job)
    with marker.window("data") as window:
        window.samples, window.iterations = task.prepare()
    result.model_family, result.dataset_split = task.family, task.split
    result.settings |= task.settings
    with marker.window("load"):
        model = task.load()
        model.to(cell.device)
        runtime.synchronize(cell.device)
    result.parameters = footprint.parameters(model)
    if (quantized := footprint.quantized(model)) is not None:
        result.settings["loaded_quantized"] = quantized
    gc.freeze()  # a full collection over all that was imported would take a tenth of a second of some window
    marker.idle(asked.idle_s)
    return task, model


def evaluate(task: Task, model: "nn.Module", marker: WindowMarker, *, epoch: int | None = None) -> Evaluation:
    """A window `evaluate` with answers to the whole split: of a model in training after that epoch, else of the finished one."""
    with marker.window("evaluate") as window:
        evaluation = task.evaluate(model)
        window.samples, window.iterations = evaluation.amount
        window.epoch, window.accuracy = epoch, evaluation.quality
    return evaluation


def finish(task: Task, model: "nn.Module", chain: Chain, marker: WindowMarker, result: Done, *, batch_size: int) -> Done:
    """The window `evaluate`, and the rest of what is told of a model that was measured or trained.

    `batch_size` is the block's: descriptors are the same in all of its cells, whatever batch a tactic chose.
    """
    import torch

    with torch.inference_mode():
        evaluation = evaluate(task, model, marker)
    result.labels, result.predictions = evaluation.labels, evaluation.predictions
    result.accuracy, result.accuracy_low, result.accuracy_high = evaluation.quality, evaluation.low, evaluation.high
    if evaluation.unknown is not None:
        result.settings["accuracy_unknown"] = evaluation.unknown
    try:
        skeleton, one = task.skeleton()
        result.macs_per_sample, result.flops_per_sample = footprint.operations_per_sample(skeleton, one)
        traffic = descriptors.traffic_per_sample(skeleton, one, batch_size=batch_size)
        result.activations_per_sample, result.bytes_moved_per_sample = traffic
    except Exception as error:  # any model's own code runs here, and not all of it runs on the meta device
        result.settings["operations_unknown"] = f"{type(error).__name__}: {error}"[:200]
    touched.tell(result, task, chain.touched())
    # Of the model and the process as they were measured: tactics change them.
    result.settings |= runtime.switches(task.job.device)
    result.attention = runtime.attention(model)
    result.dtype = runtime.dtype_name(model)
    result.num_threads = torch.get_num_threads()
    result.nonzero_parameters = footprint.nonzero_parameters(model)
    result.size_bytes = footprint.size_bytes(model)
    result.parameters_bytes = footprint.parameters_bytes(model)
    result.versions = runtime.versions()
    return result

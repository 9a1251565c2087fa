"""A training cell: epochs in windows, then the test split in fp32, then the checkpoint.

On the cpu a window is an epoch. On a GPU it holds as many as it takes to be as long as a steady window, for an epoch may be over
before the board's counter has moved a few times; where something is asked after each epoch (the model's quality, or whether a
tactic ends training), it is one there too.
"""

import math
from collections.abc import Callable
from pathlib import Path

from greenray.cell import footprint, runtime, work
from greenray.cell.protocol import CellTask, Done
from greenray.cell.stages import compiled_inside
from greenray.cell.trainer import Trainer
from greenray.errors import CellError, Refused, Unsupported
from greenray.tactics.base import Context, Progress
from greenray.tactics.registry import Chain
from greenray.tasks import precision


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

    def evaluate(epoch: int) -> None:
        with trainer.evaluating():
            work.evaluate(task, model, marker, epoch=epoch)

    memory = runtime.PeakMemory(cell.device)
    with memory.measured():
        trained = train(
            trainer,
            chain,
            marker,
            epochs=hyper.epochs,
            least_s=asked.steady_window_s if cell.device == "cuda" else 0.0,
            evaluate=evaluate if hyper.evaluate_each_epoch else None,
        )
    result.training_share = trained / hyper.epochs * trainer.share
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


def train(
    trainer: Trainer,
    chain: Chain,
    marker: work.WindowMarker,
    *,
    epochs: int,
    least_s: float,
    evaluate: Callable[[int], None] | None = None,
) -> int:
    """Train for so many epochs in windows that last `least_s` or hold one, the last of them included; raises Refused.

    `epoch`, `loss` and `train_accuracy` of a window are those of its last epoch. With `evaluate`, which is called after each
    epoch and marks a window of its own, and under a tactic that may end training, every window holds one.

    Returns the epochs that were trained: fewer if a tactic ends it.
    """
    epoch, enough = 0, False
    least_s = 0.0 if evaluate is not None or chain.held_out_share() else least_s
    while epoch < epochs and not enough:
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
        if evaluate is not None:
            evaluate(epoch)
        if (accuracy := trainer.validation_accuracy) is not None:
            spent = marker.spent()
            so_far = Progress(epoch=epoch, epochs=epochs, accuracy=accuracy, energy_j=spent.energy_j, unknown=spent.unknown)
            enough = chain.is_enough(so_far)
    return epoch

"""An inference cell, window by window."""

import gc
from typing import TYPE_CHECKING, Any

from greenray.cell import quality, runtime
from greenray.cell.marks import WindowMarker
from greenray.cell.partial import PartialResult
from greenray.cell.protocol import CellTask, Done
from greenray.cell.steady import Loop, predict, steady_windows, warm_up
from greenray.tactics.base import Context
from greenray.tactics.chain import Chain
from greenray.tasks.image_classification import batches, data, models

if TYPE_CHECKING:
    from torch import nn

FIRST_CALLS = 3  # the second and third are for CUDA graphs, which are recorded after a first run


def run(task: CellTask, marker: WindowMarker, partial: PartialResult) -> Done:
    """Measure one model under one tactic chain.

    Raises:
        GreenRayError: what the cell's row will say.
    """
    import torch

    cell, measure, device = task.cell, task.measure, task.cell.device
    chain = Chain((step.name, step.params) for step in cell.tactic)

    with marker.window("data") as draft:
        images = data.load(cell.dataset, purpose="test")
        plan = models.blueprint(
            cell.model,
            label_names=images.label_names,
            channels=images.channels,
            checkpoint=task.checkpoint,
            trust=task.trust,
        )
        prepared = batches.prepare(images, plan=plan, batch_size=cell.batch_size, pinned=device == "cuda")
        draft.samples, draft.iterations = prepared.samples_kept, len(prepared.kept)
    partial.family = plan.family

    with marker.window("load"):
        loaded = models.build(plan)
        loaded.to(device)
        runtime.synchronize(device)
    parameters = quality.parameters(loaded)
    attention = models.attention(loaded)

    gc.freeze()  # a full collection over all that was imported would take a tenth of a second of some window
    marker.idle(measure.idle_s)

    with torch.inference_mode():
        with marker.window("optimize") as draft:
            model = optimize(loaded, chain, example=runtime.to_device(prepared.kept[0], device), device=device)
            draft.samples, draft.iterations = FIRST_CALLS * cell.batch_size, FIRST_CALLS
        partial.evidence = chain.evidence(model)

        loop = Loop(model, batches=prepared.kept, device=device)
        warm = warm_up(loop, marker, max_s=measure.warmup_max_s)
        partial.settings |= {"warmup_stable": warm.stable, "warmup_variation": warm.variation}
        steady_windows(
            loop,
            marker,
            start_s=warm.end_s,
            window_s=task.steady_window_s,
            max_windows=measure.max_windows,
            compilations=chain.compilations,
        )

        with marker.window("evaluate") as draft:
            outputs = classify(model, prepared, device=device)
            draft.samples, draft.iterations = len(outputs), prepared.count

    return Done(
        evidence=partial.evidence,
        settings=partial.settings,
        model_family=plan.family,
        dataset_split=images.split,
        dtype=runtime.dtype_name(model),
        attention=attention,
        num_threads=torch.get_num_threads(),
        parameters=parameters,
        nonzero_parameters=quality.nonzero_parameters(model),
        size_bytes=quality.size_bytes(model),
        peak_gpu_memory_bytes=runtime.peak_gpu_memory_bytes(device),
        versions=runtime.versions(),
        **operations(plan, shape=tuple(prepared.kept[0].shape[1:]), partial=partial),
        **judge(outputs, images=images, plan=plan, partial=partial),
    )


def optimize(model: "nn.Module", chain: Chain, *, example: Any, device: str) -> "nn.Module":
    """The model under its tactics, after its first calls, so that nothing is compiled or tuned any more later."""
    context = Context(device=device, example={"pixel_values": example})
    chain.check(context)
    model = chain.apply(model, context)
    for _ in range(FIRST_CALLS):
        predict(model, example, device=device)
    runtime.synchronize(device)
    return model


def classify(model: "nn.Module", prepared: batches.Batches, *, device: str) -> list[int]:
    """The model's output for every image of the split; the surplus of the filled-up last batch is dropped."""
    outputs: list[int] = []
    for batch in prepared:
        outputs.extend(predict(model, batch, device=device).tolist())
    return outputs[: len(prepared.images)]


def judge(outputs: list[int], *, images: data.ImageSet, plan: models.Blueprint, partial: PartialResult) -> dict[str, Any]:
    """Labels, predictions and accuracy as fields of Done, in the data's classes; -1 is an output that is none of them."""
    of_class = models.label_map(plan.label_names, images.label_names)
    if of_class is None:
        partial.settings["accuracy_unknown"] = (
            f"the model's {len(plan.label_names)} classes are not the data's {len(images.label_names)}"
        )
        return {"labels": list(images.labels), "predictions": outputs}
    class_of = {output: label for label, output in enumerate(of_class)}
    predictions = [class_of.get(output, -1) for output in outputs]
    correct = sum(label == prediction for label, prediction in zip(images.labels, predictions, strict=True))
    low, high = quality.wilson_interval(correct, len(predictions))
    return {
        "labels": list(images.labels),
        "predictions": predictions,
        "accuracy": correct / len(predictions),
        "accuracy_low": low,
        "accuracy_high": high,
    }


def operations(plan: models.Blueprint, *, shape: tuple[int, ...], partial: PartialResult) -> dict[str, Any]:
    """MACs and FLOPs of the baseline model as fields of Done; unknown where its code cannot run on the meta device."""
    try:
        macs, flops = quality.operations_per_sample(models.meta_copy(plan), shape=shape)
    except Exception as error:  # any model's own code runs here
        partial.settings["operations_unknown"] = f"{type(error).__name__}: {error}"[:200]
        return {"macs_per_sample": None, "flops_per_sample": None}
    return {"macs_per_sample": macs, "flops_per_sample": flops}

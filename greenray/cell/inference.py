"""An inference cell, window by window."""

from greenray.cell import runtime, work
from greenray.cell.protocol import CellTask, Done
from greenray.cell.stages import Load, Warmup
from greenray.tactics.base import Context
from greenray.tactics.registry import Chain


def run(asked: CellTask, marker: work.WindowMarker, result: Done) -> Done:
    """Measure one model under one tactic chain; raises GreenRayError with what the cell's row will say."""
    import torch

    device, measure = asked.cell.device, asked.measure
    chain = Chain((step.name, step.params) for step in asked.cell.tactic)
    chain.check(Context(device=device, batch_size=asked.cell.batch_size))
    task, model = work.begin(asked, marker, result, batch_size=chain.batch_size(asked.cell.batch_size))
    stages = task.stages()

    with torch.inference_mode():
        with marker.window("optimize") as window:
            context = Context(device=device, example=task.example(), batch_size=asked.cell.batch_size)
            model = chain.apply(model, context)
            for stage in stages:  # so that nothing is compiled or tuned any more later
                for _ in range(work.FIRST_CALLS):
                    stage.step(model)
                window.samples += work.FIRST_CALLS * stage.samples
                window.iterations += work.FIRST_CALLS
            runtime.synchronize(device)
        result.evidence = chain.evidence(model)

        warm: list[Warmup] = []
        for stage in stages:
            load = Load(stage, model, marker, device=device)
            warm.append(load.warm_up(max_s=measure.warmup_max_s))
            load.steady_windows(
                start_s=warm[-1].end_s,
                window_s=asked.steady_window_s,
                max_windows=asked.most_windows,
                compilations=chain.compilations,
            )
    result.settings["warmup_stable"] = all(one.stable for one in warm)
    result.settings["warmup_variation"] = max((one.variation for one in warm if one.variation is not None), default=None)
    work.finish(task, model, marker, result)
    if chain.allocates_itself:
        result.peak_gpu_memory_bytes = None  # torch's is not all of it
    return result

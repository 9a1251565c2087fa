"""An inference cell, window by window."""

from greenray.cell import runtime, work
from greenray.cell.marks import WindowMarker
from greenray.cell.protocol import CellTask, Done
from greenray.cell.stages import Loop, Warmup, steady_windows, warm_up
from greenray.tactics.base import Context
from greenray.tactics.chain import Chain


def run(asked: CellTask, marker: WindowMarker, partial: work.PartialResult) -> Done:
    """Measure one model under one tactic chain.

    Raises:
        GreenRayError: what the cell's row will say.
    """
    import torch

    device, measure = asked.cell.device, asked.measure
    chain = Chain((step.name, step.params) for step in asked.cell.tactic)
    task, model = work.begin(asked, marker, partial)
    stages = task.stages()

    with torch.inference_mode():
        with marker.window("optimize") as draft:
            context = Context(device=device, example=task.example())
            chain.check(context)
            model = chain.apply(model, context)
            for stage in stages:  # so that nothing is compiled or tuned any more later
                for _ in range(work.FIRST_CALLS):
                    stage.step(model)
                draft.samples += work.FIRST_CALLS * stage.samples
                draft.iterations += work.FIRST_CALLS
            runtime.synchronize(device)
        partial.evidence = chain.evidence(model)

        warm: list[Warmup] = []
        for stage in stages:
            loop = Loop(stage, model, device=device)
            warm.append(warm_up(loop, marker, max_s=measure.warmup_max_s))
            steady_windows(
                loop,
                marker,
                start_s=warm[-1].end_s,
                window_s=asked.steady_window_s,
                max_windows=measure.max_windows,
                compilations=chain.compilations,
            )
        variations = [one.variation for one in warm if one.variation is not None]
        partial.settings |= {"warmup_stable": all(one.stable for one in warm), "warmup_variation": max(variations, default=None)}
        evaluation = work.evaluate(task, model, marker)
    return work.finish(task, model, evaluation, partial)

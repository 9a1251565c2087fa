"""An inference cell, window by window."""

from greenray.cell import runtime, work
from greenray.cell.launches import compare, worst
from greenray.cell.protocol import CellTask, Done
from greenray.cell.stages import Load
from greenray.cell.warmup import how_it_ended, warm_up
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

        warm, launches = [], []
        memory = runtime.PeakMemory(device)
        for stage in stages:
            load = Load(stage, model, marker, device=device, in_flight=measure.in_flight)
            warm.append(warm_up(load, max_s=measure.warmup_max_s))
            start_s = warm[-1].end_s
            if device == "cuda":
                launches.append(compare(load))
                start_s = launches[-1].end_s
            with memory.measured():
                load.steady_windows(
                    start_s=start_s,
                    window_s=asked.steady_window_s,
                    max_windows=asked.most_windows,
                    compilations=chain.compilations,
                )
    result.settings |= how_it_ended(warm)
    if device == "cuda":
        result.settings["in_flight"] = measure.in_flight
    if not chain.allocates_itself:  # else torch's peak is not all of it
        result.peak_gpu_memory_bytes, result.peak_gpu_memory_load_bytes = memory.inside, memory.outside
    if (most := worst(launches)) is not None:
        result.latency_bound = most.latency_bound
        result.synchronized_samples_per_s = most.synchronized_samples_per_s
        result.unsynchronized_samples_per_s = most.unsynchronized_samples_per_s
        result.device_time_share = most.device_time_share
    return work.finish(task, model, chain, marker, result, batch_size=asked.cell.batch_size)

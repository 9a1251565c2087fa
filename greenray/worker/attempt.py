"""One attempt of a cell, from a fresh process to its rows in the store.

The cell marks windows on the monotonic clock; this side reads each window's energy off the trace when the cell is done,
and already during the run for the steady windows: those that others have spoiled do not count and are taken again.
"""

import contextlib
import os
import shutil
import time
import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from greenray.cell.protocol import CellTask
from greenray.cell.runtime import compile_workers
from greenray.config.cell import Cell
from greenray.errors import CellError, MeasurementError
from greenray.gpu import power_limit, registry
from greenray.gpu.base import Gpu
from greenray.power.instrument import Instrument
from greenray.processes.launcher import Launcher, LaunchError
from greenray.store import tables
from greenray.store.registry import open_store
from greenray.tactics.registry import Chain
from greenray.worker.assignment import Assignment, AttemptResult, WorkerInfo, WorkerSettings
from greenray.worker.binding import BoardCores
from greenray.worker.board import may_be_the_boards
from greenray.worker.caches import CompileCaches
from greenray.worker.monitor import CellMonitor, steady_figures
from greenray.worker.rows import cell_row
from greenray.worker.supervise import Outcome, supervise

_WINDOWS = 2
_IDLE_WITHOUT_BOARD_S = 0.05


def run_attempt(
    assignment: Assignment,
    *,
    settings: WorkerSettings,
    info: WorkerInfo,
    instrument: Instrument,
    launcher: Launcher,
    caches: CompileCaches,
    memory_limit_bytes: int,
    board_cores: BoardCores | None = None,
) -> AttemptResult:
    """Run one cell in a fresh process, measure it and commit it. Raises StoreError if the rows cannot be written.

    A cell that uses a board is bound to its processors of `board_cores`.
    """
    cell = assignment.cell
    store = open_store(settings.out)
    run_id = str(uuid.uuid4())
    checkpoint = store.scratch() / f"checkpoint-{run_id}" if cell.phase == "training" else None
    measure = settings.measure
    threads = measure.threads_of(usable_cores=info.usable_cores, workers_sharing=assignment.workers_sharing)
    cores = None
    if cell.device == "cuda" and board_cores is not None:
        cores = board_cores.of_cell(workers_sharing=assignment.workers_sharing)
    if cores is not None:
        threads = min(threads, measure.threads_of(usable_cores=cores.physical, workers_sharing=cores.sharing))
    windows = min(measure.max_windows, max(measure.min_windows, assignment.windows or _WINDOWS))
    most_windows = windows + measure.max_windows
    # Before the cell starts and the recording begins: it may have to come over a network.
    fetched = store.fetch_folder(f"checkpoints/{cell.model.id}") if cell.model.source == "checkpoint" else None
    if instrument.gpu is not None and (limits := instrument.gpu.power_limits()) is not None:
        info = replace(info, power_limit_w=limits.enforced_w)  # somebody may have set another since the worker started
    started_at = datetime.now(UTC)
    with contextlib.ExitStack() as kept:
        # Compiled graphs and kernels may come from an earlier round, and but for rehearsals never from another cell. The threads
        # are compiled in.
        lender = cell.tactic_slug if settings.rehearsal else cell.repeated_id
        lent = kept.enter_context(caches.lend(f"{lender}-{threads}"))
        log_path = kept.enter_context(store.log_file(f"logs/{cell.cell_id}.{assignment.attempt}.log"))
        recording = instrument.record()
        kept.callback(recording.stop)
        begin_s = time.monotonic()
        monitor = CellMonitor(
            device=cell.device, windows=windows, most_windows=most_windows, gpu=instrument.gpu, recording=recording
        )
        limit: power_limit.Held | None = None
        try:
            gpu = instrument.gpu if cell.device == "cuda" else None
            limit = kept.enter_context(_power_limit(cell, gpu))
            process = launcher.start(env=cell_environment(gpu, threads=threads, caches=lent.folder), log_path=log_path)
            recording.follow(process.pid)
            if cores is not None:
                with contextlib.suppress(OSError):  # it has ended; or it may not run there: the row's settings say where it ran
                    os.sched_setaffinity(process.pid, cores.cores)  # before it has a task, and so before it has other threads
            # One update more: where a window begins within a period decides whether n periods hold n updates.
            updates_s = (measure.min_counter_updates + 1) * (instrument.counter_period_s or 0.0)
            task = CellTask(
                cell=cell,
                measure=measure,
                steady_window_s=max(measure.window_s, updates_s if gpu else 0.0),
                most_windows=most_windows,
                # Without a board nothing is read off it: a processor's idle power is read while no cell runs.
                idle_s=measure.idle_s if instrument.gpu else min(measure.idle_s, _IDLE_WITHOUT_BOARD_S),
                threads=threads,
                checkpoint=str(fetched) if fetched else None,
                save_to=str(checkpoint) if checkpoint else None,
                trust=settings.trust,
            )
            outcome = supervise(
                process,
                task=task,
                deadline_s=settings.cell_timeout_s,
                memory_limit_bytes=memory_limit_bytes,
                handle=monitor.handle,
            )
        except CellError as error:  # before there is a process that could say so
            outcome = Outcome(status=cast(Any, error.status), error=str(error), error_kind="exception")
        except MeasurementError as error:  # the board is not the one that is measured
            outcome = Outcome(status="failed", error=str(error), error_kind="exception")
        except LaunchError as error:
            outcome = Outcome(status="crashed", error=str(error), error_kind="exception")
        end_s = time.monotonic()
        rows, attempt_energy = monitor.read_all(begin_s=begin_s, end_s=end_s)
        lent.keep = outcome.status == "ok"
    if outcome.status != "ok":
        store.require_space()  # a checkpoint that cannot be saved is not the cell's fault, and trying again is no use
    row = cell_row(
        assignment,
        info=info,
        outcome=outcome,
        windows=rows,
        energy=attempt_energy,
        run_id=run_id,
        started_at=started_at,
        duration_s=end_s - begin_s,
        threads=threads,
        warm=lent.warm,
        limit=limit,
        not_bound=board_cores.reason if board_cores is not None and cell.device == "cuda" else None,
    )
    predictions: dict[str, Sequence[int]] = {}
    if done := outcome.done:
        predictions = {"sample": range(len(done.predictions)), "label": done.labels, "prediction": done.predictions}
    tables.commit(
        store,
        sweep=settings.sweep,
        tactic=cell.tactic_slug,
        cell=row,
        windows=rows,
        trace=recording.trace().rows(),
        predictions=predictions,
        checkpoint=checkpoint if outcome.status == "ok" else None,
    )
    if checkpoint is not None and outcome.status != "ok":
        shutil.rmtree(checkpoint, ignore_errors=True)
    return AttemptResult.of_row(
        row,
        tactic=cell.tactic_slug,
        **steady_figures(rows),
        gpu_lost=monitor.gpu_lost,
        suspect=cell.device == "cuda" and outcome.status != "ok" and may_be_the_boards(outcome, ready=monitor.ready),
        contended=any(window["contention"] for window in rows if window["kind"] in ("steady", "epoch")),
    )


def _power_limit(cell: Cell, gpu: Gpu | None) -> contextlib.AbstractContextManager[power_limit.Held | None]:
    """The board under the limit that the cell's tactics ask for; CellError if it cannot be set, None if none is asked for."""
    chain = Chain((step.name, step.params) for step in cell.tactic)
    if gpu is None or not chain.changes_hardware:
        return contextlib.nullcontext()
    return power_limit.held(gpu, chain.board_power_limit_w)


def cell_environment(gpu: Gpu | None, *, threads: int, caches: Path) -> dict[str, str]:
    """What a cell's process gets beside the worker's own environment."""
    return {
        **registry.environment_for(gpu),
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "TOKENIZERS_PARALLELISM": "false",
        # By default as many compile workers as the host has processors, up to 32, and their memory counts to the cell.
        "TORCHINDUCTOR_COMPILE_THREADS": str(compile_workers(threads)),
        "TORCHINDUCTOR_CACHE_DIR": str(caches / "inductor"),
        "TRITON_CACHE_DIR": str(caches / "triton"),
    }

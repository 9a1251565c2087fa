"""One attempt of a cell, from a fresh process to its rows in the store.

The cell marks windows on the monotonic clock; this side reads each window's energy off the trace when the cell is done,
and already during the run for the steady windows, whose spread decides when there are enough of them.
"""

import dataclasses
import logging
import shutil
import statistics
import tempfile
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from scipy import stats

from greenray.errors import MeasurementError
from greenray.power.instrument import Instrument, Recording
from greenray.power.nvml import same_board
from greenray.power.window import WindowReading
from greenray.store import layout, writer
from greenray.sweep.launching import Launcher, LaunchError
from greenray.sweep.orders import Order, Receipt, WorkerInfo, WorkerSettings
from greenray.sweep.rows import cell_row
from greenray.sweep.supervise import Outcome, supervise
from greenray.workload.messages import AnyMessage, CellTask, Channel, Message, Ready, Settle, Settled, Verdict, Window

log = logging.getLogger(__name__)

_SETTLE_TIMEOUT_S = 10.0


def run_attempt(
    order: Order,
    *,
    settings: WorkerSettings,
    info: WorkerInfo,
    instrument: Instrument,
    launcher: Launcher,
    memory_limit_bytes: int,
) -> Receipt:
    """Run one cell in a fresh process, measure it and commit it.

    Raises:
        StoreError: the rows cannot be written.
    """
    cell = order.cell
    out = Path(settings.out)
    run_id = str(uuid.uuid4())
    checkpoint = out / ".staging" / f"checkpoint-{run_id}" if cell.phase == "training" else None
    # Compiled graphs and kernels must not come from an earlier cell: every cell gets empty caches.
    caches = Path(tempfile.mkdtemp(prefix="greenray-"))
    threads = max(1, info.usable_cores // order.workers_sharing)
    started_at = datetime.now(UTC)
    recording = instrument.record()
    begin_s = time.monotonic()
    desk = _Desk(order=order, settings=settings, instrument=instrument, recording=recording)
    try:
        try:
            process = launcher.start(
                env=_environment(cell.device, gpu_uuid=info.gpu_uuid, threads=threads, caches=caches),
                log_path=out / "logs" / f"{cell.cell_id}.{order.attempt}.log",
            )
            recording.follow(process.pid)
            task = CellTask(
                cell=cell,
                measure=settings.measure,
                steady_window_s=_steady_window_s(cell.device, settings=settings, instrument=instrument),
                threads=threads,
                checkpoint=str(out / "checkpoints" / cell.model.id) if cell.model.source == "checkpoint" else None,
                save_to=str(checkpoint) if checkpoint else None,
                trust=settings.trust,
            )
            _send_task(process.channel, task)
            outcome = supervise(
                process, deadline_s=settings.cell_timeout_s, memory_limit_bytes=memory_limit_bytes, handle=desk.handle
            )
        except MeasurementError as error:  # the board is not the one that is measured
            outcome = Outcome(status="failed", error=str(error), error_kind="exception")
        except LaunchError as error:
            outcome = Outcome(status="crashed", error=str(error), error_kind="exception")
        end_s = time.monotonic()
        rows, attempt_energy = desk.read_all(begin_s=begin_s, end_s=end_s)
    finally:
        trace = recording.stop()
        shutil.rmtree(caches, ignore_errors=True)
    if outcome.status != "ok":
        layout.require_space(out)  # a checkpoint that cannot be saved is not the cell's fault, and trying again is no use
    row = cell_row(
        order,
        info=info,
        outcome=outcome,
        windows=rows,
        energy=attempt_energy,
        run_id=run_id,
        started_at=started_at,
        duration_s=end_s - begin_s,
        threads=threads,
    )
    kept = checkpoint if checkpoint is not None and outcome.status == "ok" else None
    done = outcome.done
    writer.commit(
        out,
        sweep=settings.sweep,
        tactic=cell.tactic_slug,
        cell=row,
        windows=rows,
        trace=trace.rows(),
        predictions={
            "sample": list(range(len(done.predictions))) if done else [],
            "label": list(done.labels) if done else [],
            "prediction": list(done.predictions) if done else [],
        },
        checkpoint=kept,
    )
    if checkpoint is not None and kept is None:
        shutil.rmtree(checkpoint, ignore_errors=True)
    return Receipt(
        cell_id=cell.cell_id,
        attempt=order.attempt,
        status=row["status"],
        error=row["error"],
        error_kind=row["error_kind"],
        duration_s=row["duration_s"],
        energy_j=row["energy_j"],
        j_per_sample=desk.j_per_sample(),
        board_lost=desk.board_lost,
    )


class _Desk:
    """The worker's side of the conversation with one cell."""

    def __init__(self, *, order: Order, settings: WorkerSettings, instrument: Instrument, recording: Recording) -> None:
        self._device = order.cell.device
        self._measure = settings.measure
        self._board = instrument.board
        self._recording = recording
        self._windows: list[tuple[Window, float]] = []
        self._steady: list[float | None] = []
        self.board_lost: str | None = None

    def handle(self, message: AnyMessage) -> Message | None:
        """Answer one message of the cell."""
        if isinstance(message, Ready):
            self._check_board(message)
        elif isinstance(message, Settle):
            return Settled(steady=self._recording.settled(timeout_s=_SETTLE_TIMEOUT_S))
        elif isinstance(message, Window):
            self._recording.look()
            # Wall clock of the start, for people: computed now, while both clocks are at hand.
            self._windows.append((message, time.time() - (time.monotonic() - message.start_s)))
            if message.kind == "steady":
                return Verdict(enough=self._enough(message))
        return None

    def read_all(self, *, begin_s: float, end_s: float) -> tuple[list[dict[str, Any]], WindowReading]:
        """The rows of `windows`, and what the whole attempt cost."""
        idle_w = None
        rows = []
        for number, (window, started) in enumerate(self._windows):
            reading = self._read(window.start_s, window.end_s, idle_w=idle_w)
            if window.kind == "idle":
                idle_w = reading.gpu_power_w
            rows.append(
                {
                    "window": number,
                    "kind": window.kind,
                    "start_monotonic_s": window.start_s,
                    "end_monotonic_s": window.end_s,
                    "started_at": datetime.fromtimestamp(started, UTC),
                    "duration_s": window.end_s - window.start_s,
                    **window.model_dump(exclude={"type", "kind", "start_s", "end_s"}),
                    **dataclasses.asdict(reading),
                }
            )
        return rows, self._read(begin_s, end_s, idle_w=idle_w)

    def j_per_sample(self) -> float | None:
        known = [value for value in self._steady if value is not None]
        return statistics.fmean(known) if known else None

    def _check_board(self, ready: Ready) -> None:
        if self._device != "cuda" or self._board is None:
            return
        if ready.gpu_uuid is None or not same_board(ready.gpu_uuid, self._board.uuid):
            self.board_lost = f"CUDA ran on board {ready.gpu_uuid}, NVML measures {self._board.uuid}"
            raise MeasurementError(self.board_lost)

    def _enough(self, window: Window) -> bool:
        reading = self._read(window.start_s, window.end_s, idle_w=None)
        usable = window.rejected is None and reading.total_energy_j is not None and window.samples > 0
        self._steady.append(reading.total_energy_j / window.samples if usable and reading.total_energy_j else None)
        if len(self._steady) >= self._measure.max_windows:
            return True
        known = [value for value in self._steady if value is not None]
        if len(known) < self._measure.min_windows:
            # Where energy cannot be read at all, more windows would not help.
            return not known and len(self._steady) >= self._measure.min_windows and window.rejected is None
        half = float(stats.t.ppf(0.975, len(known) - 1)) * statistics.stdev(known) / len(known) ** 0.5
        return bool(half <= self._measure.target_ci * statistics.fmean(known))

    def _read(self, start_s: float, end_s: float, *, idle_w: float | None) -> WindowReading:
        return self._recording.read(start_s=start_s, end_s=end_s, device=self._device, gpu_idle_w=idle_w)


def _send_task(channel: Channel, task: CellTask) -> None:
    try:
        channel.send(task)
    except OSError as error:  # the cell died at once; supervise finds out how
        log.debug("task not sent: %s", error)


def _environment(device: str, *, gpu_uuid: str | None, threads: int, caches: Path) -> dict[str, str]:
    return {
        "CUDA_VISIBLE_DEVICES": gpu_uuid or "" if device == "cuda" else "",
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "TOKENIZERS_PARALLELISM": "false",
        "TORCHINDUCTOR_CACHE_DIR": str(caches / "inductor"),
        "TRITON_CACHE_DIR": str(caches / "triton"),
    }


def _steady_window_s(device: str, *, settings: WorkerSettings, instrument: Instrument) -> float:
    """Long enough for `min_counter_updates` where the main meter is a counter that moves now and then."""
    period_s = instrument.board.counter_period_s if device == "cuda" and instrument.board else None
    # One more: where a window begins within a period decides whether n periods hold n updates.
    return max(settings.measure.window_s, (settings.measure.min_counter_updates + 1) * (period_s or 0.0))

"""The worker's side of the conversation with one cell: answers while it runs, and its windows' rows when it is done.

The load runs until the 95 % t interval of the mean energy per sample is narrow enough, `max_windows` are there, or energy turns
out to be unreadable. A window in which code was compiled or the board's clock changed level counts neither towards `min_windows`
nor into the interval, but it does count towards `max_windows`: a board that never holds its clock ends there too, and then its
windows are kept, with a reason and a worse grade (C at worst), since a doubtful figure says more than none.
"""

import math
import statistics
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from scipy import stats

from greenray.cell.protocol import AnyMessage, Message, Ready, Settle, Settled, Verdict, Window
from greenray.config.settings import Measure
from greenray.errors import MeasurementError
from greenray.gpu.base import Gpu
from greenray.power.instrument import Recording
from greenray.power.window import WindowReading

_WORSE = {"A": "B", "B": "C"}


class CellMonitor:
    """Listens to one cell; `gpu_lost` says why the worker's GPU must not be used any more, None while it may."""

    def __init__(self, *, device: str, measure: Measure, gpu: Gpu | None, recording: Recording, settle_s: float = 10.0) -> None:
        self._device = device
        self._measure = measure
        self._gpu = gpu
        self._recording = recording
        self._settle_s = settle_s
        self._windows: list[tuple[Window, float]] = []
        self._verdicts: dict[str | None, Verdicts] = {}  # one a stage
        self._idle_settled: bool | None = None
        self.gpu_lost: str | None = None

    def handle(self, message: AnyMessage) -> Message | None:
        """Answer one message. Raises MeasurementError if the cell runs on another GPU than the one that is measured."""
        if isinstance(message, Ready):
            gpu = self._gpu if self._device == "cuda" else None
            if gpu is not None and (message.gpu_uuid is None or not gpu.is_same(message.gpu_uuid)):
                self.gpu_lost = f"CUDA ran on board {message.gpu_uuid}, {gpu.uuid} is measured"
                raise MeasurementError(self.gpu_lost)
        elif isinstance(message, Settle):
            steady = self._recording.settled(timeout_s=self._settle_s)
            # Without a GPU there is nothing to settle: a processor's idle power is the host's, read while no cell runs.
            self._idle_settled = None if self._gpu is None else steady
            return Settled(steady=steady)
        elif isinstance(message, Window):
            self._recording.look()
            # Wall clock of the start, for people: computed now, while both clocks are at hand.
            self._windows.append((message, time.time() - (time.monotonic() - message.start_s)))
            if message.kind == "steady":
                return Verdict(enough=self._enough(message), stage=message.stage)
        return None

    def read_all(self, *, begin_s: float, end_s: float) -> tuple[list[dict[str, Any]], WindowReading]:
        """The rows of `windows`, and what the whole attempt cost."""
        self._recording.wait_for_wall(end_s)
        idle = next((window for window, _ in self._windows if window.kind == "idle"), None)
        resting = None if idle is None else self._read(idle.start_s, idle.end_s).gpu
        idle_w = None if resting is None else resting.power_w
        rows = []
        for number, (window, started) in enumerate(self._windows):
            reading = self._read(window.start_s, window.end_s, idle_w=idle_w)
            rejected = rejection(kind=window.kind, device=self._device, said=window.rejected, clock_change=reading.clock_change)
            rows.append(
                {
                    "window": number,
                    "kind": window.kind,
                    "start_monotonic_s": window.start_s,
                    "end_monotonic_s": window.end_s,
                    "started_at": datetime.fromtimestamp(started, UTC),
                    "duration_s": window.end_s - window.start_s,
                    "gpu_idle_settled": None if idle is None else self._idle_settled,
                    **window.model_dump(exclude={"type", "kind", "start_s", "end_s"}),
                    **reading.row(),
                    "rejected": rejected,
                }
            )
        for stage in self._verdicts:
            keep_a_figure([row for row in rows if row["stage"] == stage], min_windows=self._measure.min_windows)
        return rows, self._read(begin_s, end_s, idle_w=idle_w)

    def _enough(self, window: Window) -> bool:
        reading = self._read(window.start_s, window.end_s)
        rejected = rejection(kind=window.kind, device=self._device, said=window.rejected, clock_change=reading.clock_change)
        total_j = reading.total_energy_j
        return self._verdicts.setdefault(window.stage, Verdicts(self._measure)).take(
            j_per_sample=None if total_j is None or window.samples <= 0 else total_j / window.samples,
            rejected=rejected is not None,
        )

    def _read(self, start_s: float, end_s: float, *, idle_w: float | None = None) -> WindowReading:
        return self._recording.read(start_s=start_s, end_s=end_s, device=self._device, gpu_idle_w=idle_w)


def j_per_sample(rows: Sequence[dict[str, Any]]) -> float | None:
    """Mean energy per sample of the steady windows that may be used; None when none knows it, or stages do different work."""
    steady = [row for row in rows if row["kind"] == "steady"]
    used = [row for row in steady if row["rejected"] is None and row["samples"] and row["total_energy_j"] is not None]
    if not used or len({row["stage"] for row in steady}) > 1:
        return None
    return statistics.fmean(row["total_energy_j"] / row["samples"] for row in used)


def half_width(values: Sequence[float]) -> float | None:
    """Half-width of the 95 % t interval of a mean, as a share of it; None under two values, or where the mean is not positive."""
    if len(values) < 2 or statistics.fmean(values) <= 0:
        return None
    error: float = statistics.stdev(values) / math.sqrt(len(values))
    return float(stats.t.ppf(0.975, len(values) - 1)) * error / statistics.fmean(values)


def rejection(*, kind: str, device: str, said: str | None, clock_change: str | None) -> str | None:
    """Why a window must not be used, by the cell's word or the board's clock; None when it may.

    Only steady windows can be taken again, so only they are rejected for the clock; and on the cpu a board's clock says nothing.
    """
    return clock_change if said is None and kind == "steady" and device == "cuda" else said


class Verdicts:
    """The steady windows of one stage of an attempt so far."""

    def __init__(self, measure: Measure) -> None:
        self._measure = measure
        self._taken = self._unreadable = 0
        self._usable: list[float] = []

    def take(self, *, j_per_sample: float | None, rejected: bool) -> bool:
        """Take in one more window, whose energy may be unknown; returns whether there are enough of them."""
        self._taken += 1
        if not rejected:
            if j_per_sample is None:
                self._unreadable += 1
            else:
                self._usable.append(j_per_sample)
        if self._taken >= self._measure.max_windows:
            return True
        if len(self._usable) < self._measure.min_windows:
            # Where energy cannot be read at all, more windows would not help.
            return not self._usable and self._unreadable >= self._measure.min_windows
        half = half_width(self._usable)
        return half is not None and half <= self._measure.target_ci


def keep_a_figure(rows: Sequence[dict[str, Any]], *, min_windows: int) -> None:
    """Take back the rejections for the clock in one stage's rows of `windows` if they leave too few steady windows."""
    steady = [row for row in rows if row["kind"] == "steady"]
    for_clock = [row for row in steady if row["rejected"] is not None and row["rejected"] == row["clock_change"]]
    usable = sum(row["rejected"] is None for row in steady)
    if usable >= min_windows:
        return
    for row in for_clock:
        reason = f"{row['clock_change']}; used all the same: without such windows {usable} of {len(steady)} would be left"
        row["grade"] = _WORSE.get(row["grade"], row["grade"])
        row["grade_reasons"] = [*row["grade_reasons"], reason]
        row["rejected"] = None

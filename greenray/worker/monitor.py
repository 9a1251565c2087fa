"""The worker's side of the conversation with one cell: answers while it runs, and its windows' rows when it is done.

The load of a stage runs until the process has given the windows that it was asked for: how good a figure is, only fresh processes
tell. A window in which code was compiled, the board's clock changed level, or others took enough of the processors to matter does
not count, and another is taken, within bounds. A board that never holds its clock and a host that is never quiet end there too;
their windows are kept then, with a reason and a worse grade (C at worst), since a doubtful figure says more than none. No window
is judged by its value.
"""

import statistics
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from greenray.cell.protocol import AnyMessage, Message, Ready, Settle, Settled, Spending, Spent, Verdict, Warming, Warmth, Window
from greenray.errors import MeasurementError
from greenray.gpu.base import Gpu
from greenray.power.grade import worse
from greenray.power.instrument import Recording
from greenray.power.window import WindowReading

_UNDER_LOAD = ("warmup", "steady", "epoch")  # by the first of each the board's meter is looked at again


class CellMonitor:
    """Listens to one cell; `gpu_lost` says why the worker's GPU must not be used any more, None while it may; `ready` whether the
    cell had its device.

    `windows` usable steady windows of a stage are wanted, and at most `most_windows` of it are taken.
    """

    def __init__(
        self,
        *,
        device: str,
        windows: int,
        most_windows: int,
        gpu: Gpu | None,
        recording: Recording,
        settle_s: float = 10.0,
    ) -> None:
        self._device = device
        self._wanted, self._most = windows, most_windows
        self._gpu = gpu
        self._recording = recording
        self._settle_s = settle_s
        self._windows: list[tuple[Window, float]] = []
        self._verdicts: dict[str | None, Verdicts] = {}  # one a stage
        self._epochs_j: list[float] = []  # as they were told to the cell
        self._idle_settled: bool | None = None
        self.gpu_lost: str | None = None
        self.ready = False

    def handle(self, message: AnyMessage) -> Message | None:
        """Answer one message. Raises MeasurementError if the cell runs on another GPU than the one that is measured."""
        if isinstance(message, Ready):
            self.ready = True
            gpu = self._gpu if self._device == "cuda" else None
            if gpu is not None and (message.gpu_uuid is None or not gpu.is_same(message.gpu_uuid)):
                self.gpu_lost = f"CUDA ran on board {message.gpu_uuid}, {gpu.uuid} is measured"
                raise MeasurementError(self.gpu_lost)
        elif isinstance(message, Settle):
            steady = self._recording.settled(timeout_s=self._settle_s)
            # Without a GPU there is nothing to settle: a processor's idle power is the host's, read while no cell runs.
            self._idle_settled = None if self._gpu is None else steady
            return Settled(steady=steady)
        elif isinstance(message, Warming):
            return Warmth(seconds=message.seconds, rise_c=self._recording.warming(message.seconds))
        elif isinstance(message, Spending):
            return self._spent()
        elif isinstance(message, Window):
            self._recording.look()
            # Wall clock of the start, for people: computed now, while both clocks are at hand.
            first = message.kind not in {window.kind for window, _ in self._windows}
            self._windows.append((message, time.time() - (time.monotonic() - message.start_s)))
            if first and message.kind in _UNDER_LOAD:
                self._recording.loaded(start_s=message.start_s, end_s=message.end_s)
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
            rejected = self._rejection(window, reading)
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
            keep_a_figure([row for row in rows if row["stage"] == stage])
        return rows, self._read(begin_s, end_s, idle_w=idle_w)

    def _enough(self, window: Window) -> bool:
        reading = self._read(window.start_s, window.end_s)
        rejected = self._rejection(window, reading)
        total_j = reading.total_energy_j
        verdicts = self._verdicts.setdefault(window.stage, Verdicts(windows=self._wanted, most=self._most))
        return verdicts.take(
            j_per_sample=None if total_j is None or window.samples <= 0 else total_j / window.samples,
            rejected=rejected is not None,
        )

    def _spent(self) -> Spent:
        """Energy of the epochs so far, each window read once."""
        epochs = [window for window, _ in self._windows if window.kind == "epoch"]
        for window in epochs[len(self._epochs_j) :]:
            reading = self._read(window.start_s, window.end_s)
            if (joules := reading.total_energy_j) is None:
                return Spent(energy_j=None, unknown="; ".join(reading.row()["grade_reasons"]) or "a window has no total")
            self._epochs_j.append(joules)
        return Spent(energy_j=sum(self._epochs_j))

    def _rejection(self, window: Window, reading: WindowReading) -> str | None:
        found = {"clock_change": reading.clock_change, "contention": reading.contention}
        return rejection(kind=window.kind, device=self._device, said=window.rejected, **found)

    def _read(self, start_s: float, end_s: float, *, idle_w: float | None = None) -> WindowReading:
        return self._recording.read(start_s=start_s, end_s=end_s, device=self._device, gpu_idle_w=idle_w)


def steady_figures(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What `AttemptResult` says of steady windows: of those that may be used, and none where stages do different work."""
    steady = [row for row in rows if row["kind"] == "steady"]
    used = [row for row in steady if row["rejected"] is None and row["samples"] and row["total_energy_j"] is not None]
    if not used or len({row["stage"] for row in steady}) > 1:
        return {}
    joules = tuple(row["total_energy_j"] / row["samples"] for row in used)
    return {"j_per_sample": statistics.fmean(joules), "steady_j": joules, "steady_s": sum(row["duration_s"] for row in used)}


def rejection(*, kind: str, device: str, said: str | None, clock_change: str | None, contention: str | None) -> str | None:
    """Why a window must not be used, by the cell's word, its neighbours or the board's clock; None when it may.

    Only steady windows can be taken again, so only they are rejected for more than what the cell said; and on the cpu a board's
    clock says nothing.
    """
    if said is not None or kind != "steady":
        return said
    return contention or (clock_change if device == "cuda" else None)


class Verdicts:
    """The steady windows of one stage of an attempt so far: `windows` usable ones are wanted, at most `most` are taken."""

    def __init__(self, *, windows: int, most: int) -> None:
        self._wanted, self._most = windows, most
        self._taken = self._unreadable = self._usable = 0

    def take(self, *, j_per_sample: float | None, rejected: bool) -> bool:
        """Take in one more window, whose energy may be unknown; returns whether there are enough of them."""
        self._taken += 1
        if not rejected:
            self._unreadable += j_per_sample is None
            self._usable += j_per_sample is not None
        # Where energy cannot be read at all, more windows would not help.
        unknown = not self._usable and self._unreadable >= self._wanted
        return self._usable >= self._wanted or unknown or self._taken >= self._most


def keep_a_figure(rows: Sequence[dict[str, Any]]) -> None:
    """Take back rejections in one stage's rows of `windows` if they leave none: for the clock, else for neighbours."""
    steady = [row for row in rows if row["kind"] == "steady"]
    for column in ("clock_change", "contention"):
        if any(row["rejected"] is None for row in steady):
            return
        rejected = [row for row in steady if row["rejected"] is not None and row["rejected"] == row[column]]
        if column == "contention":  # of those, rather the ones whose clock held
            rejected = [row for row in rejected if row["clock_change"] is None] or rejected
        for row in rejected:
            row["rejected"] = None
            if column == "clock_change":
                row["grade"] = worse(row["grade"])
                reason = f"{row[column]}; used all the same: without such windows 0 of {len(steady)} would be left"
            else:  # its grade is worse already, and says why
                reason = f"used all the same: none of {len(steady)} windows was quiet"
            row["grade_reasons"] = [*row["grade_reasons"], reason]

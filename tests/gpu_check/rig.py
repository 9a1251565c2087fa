"""What every section works with: one board, its calibrated sensor, the load, and stretches of recording."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from greenray.errors import MeasurementError
from greenray.gpu.nvidia import nvml
from greenray.gpu.nvidia.sensor import Calibration, GpuSensor, calibrate
from greenray.power.estimate.counter import counter_energy
from greenray.power.estimate.energy import Energy
from greenray.power.reading import BoardFacts, GpuReading, facts_of, read_gpu
from greenray.power.recorder import Recorder
from greenray.power.trace import Series
from tests.gpu_check.load import Load, Truth

HZ = 50.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """A recording of one board from before `start_s` to after `end_s`, while one mode was played.

    Attributes:
        truth: the true energy between two moments, where it is known.
    """

    series: Series
    facts: BoardFacts
    start_s: float
    end_s: float
    truth: Truth | None = None
    hz: float = HZ

    @property
    def duration_s(self) -> float:
        return self.end_s - self.start_s

    def read(self, start_s: float, end_s: float) -> GpuReading:
        """All figures of a window, as a cell's row gets them."""
        return read_gpu(self.series, self.facts, start_s=start_s, end_s=end_s, hz=self.hz)

    def meter(self) -> Callable[[float, float], Energy]:
        """The energy of any window, as `read` gives it, prepared once for many windows."""
        if self.facts.counter_missing is not None or self.facts.power_source == "average":
            return lambda start_s, end_s: self.read(start_s, end_s).energy
        calibration = self.facts.calibration
        period_s = float("nan") if calibration.period_s is None else calibration.period_s
        return counter_energy(self.series.fast, hz=self.hz, period_s=period_s, jitter_s=calibration.jitter_s).between

    def power_w(self) -> float | None:
        """Mean power of the whole stretch."""
        return self.read(self.start_s, self.end_s).power_w


@dataclass(slots=True, kw_only=True)
class Rig:
    """One board under the check.

    Attributes:
        boards: every board of the host, in NVML's order.
        scale: factor on the lengths of all recordings, 1 in a full run.
        deadline_s: the moment (CLOCK_MONOTONIC) at which the section will be killed.
        folder: for temporary files.
        keep: where short traces are to be kept; None keeps none.
    """

    board: nvml.Board
    boards: list[nvml.Board]
    sensor: GpuSensor
    load: Load
    folder: Path
    scale: float = 1.0
    deadline_s: float = float("inf")
    keep: Path | None = None
    facts: BoardFacts = field(init=False)

    def __post_init__(self) -> None:
        calibrate([self.sensor])
        found = self.sensor.calibration
        # Period and jitter alone: the recordings come minutes after the calibration, and stand for themselves when they are kept.
        steadiness = Calibration(period_s=found.period_s, jitter_s=found.jitter_s)
        self.facts = replace(facts_of(self.sensor), calibration=steadiness)

    def record(self, seconds: float, *, settle_s: float = 1.0) -> Stretch:
        """Records the mode that plays for `seconds` times the scale, from `settle_s` on."""
        time.sleep(settle_s * min(1.0, self.scale))
        truth = self.load.truth()
        recorder = Recorder([self.sensor], hz=HZ)
        recorder.start()
        # Past both edges by some updates of a slow counter, so that each edge lies between two.
        margin_s = 0.1 + 4 * (self.facts.calibration.period_s or 0.1)
        time.sleep(margin_s)
        start_s = time.monotonic()
        time.sleep(seconds * self.scale)
        end_s = time.monotonic()
        time.sleep(margin_s)
        recorder.stop()
        series = recorder.trace().series[self.sensor.name]
        return Stretch(series=series, facts=self.facts, start_s=start_s, end_s=end_s, truth=truth)


def first_board() -> tuple[nvml.Board, list[nvml.Board]]:
    """The board to check, the first that CUDA_VISIBLE_DEVICES leaves, and all boards of the host.

    Raises:
        MeasurementError: there is none that can be measured; the sentence says why.
    """
    problem = nvml.start()
    if problem is not None:
        raise MeasurementError(problem)
    every = nvml.boards()
    usable = [board for board in nvml.visible(os.environ, every) if not board.mig]
    if not usable:
        raise MeasurementError("NVML sees no board that is visible and not in MIG mode")
    return usable[0], every


def open_rig(open_load: Callable[[nvml.Board], Load], *, folder: Path, scale: float, deadline_s: float, keep: Path | None) -> Rig:
    """The rig for one section; the load is started at its first mode."""
    board, every = first_board()
    sensor = GpuSensor(board)
    load = open_load(board)
    return Rig(board=board, boards=every, sensor=sensor, load=load, folder=folder, scale=scale, deadline_s=deadline_s, keep=keep)

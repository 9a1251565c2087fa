"""What every section works with: one board, its calibrated sensor, the load, and stretches of recording."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from greenray.errors import MeasurementError
from greenray.gpu import registry
from greenray.gpu.base import Gpu
from greenray.power.estimate.counter import counter_energy
from greenray.power.estimate.energy import Energy
from greenray.power.gpu_reading import GpuFacts, GpuReading, GpuSensor, calibrate, prepare_counter, read_gpu
from greenray.power.recorder import Recorder
from greenray.power.trace import EMPTY, Series
from tests.gpu_check.load import Load, Truth

HZ = 50.0
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """A recording of one board from before `start_s` to after `end_s`, while one mode was played.

    Attributes:
        truth: the true energy between two moments, where it is known.
    """

    series: Series
    facts: GpuFacts
    start_s: float
    end_s: float
    truth: Truth | None = None
    hz: float = HZ

    @property
    def duration_s(self) -> float:
        return self.end_s - self.start_s

    def read(self, start_s: float, end_s: float) -> GpuReading:
        """All figures of a window, as a cell's row gets them."""
        counter = prepare_counter(self.series, self.facts, hz=self.hz)
        return read_gpu(self.series, self.facts, start_s=start_s, end_s=end_s, hz=self.hz, counter=counter)

    def meter(self) -> Callable[[float, float], Energy]:
        """The energy of any window, as `read` gives it, prepared once for many windows."""
        if self.facts.counter_missing is not None or self.facts.power_source == "average":
            return lambda start_s, end_s: self.read(start_s, end_s).energy
        facts = self.facts
        period_s = float("nan") if facts.period_s is None else facts.period_s
        return counter_energy(self.series.fast, hz=self.hz, period_s=period_s, jitter_s=facts.jitter_s).between

    def power_w(self) -> float | None:
        """Mean power of the whole stretch."""
        return self.read(self.start_s, self.end_s).power_w


@dataclass(slots=True, kw_only=True)
class Rig:
    """One board under the check.

    Attributes:
        gpus: every GPU of the host, in the driver's order.
        scale: factor on the lengths of all recordings, 1 in a full run.
        deadline_s: the moment (CLOCK_MONOTONIC) at which the section will be killed.
        folder: for temporary files.
        keep: where short traces are to be kept; None keeps none.
    """

    gpu: Gpu
    gpus: list[Gpu]
    sensor: GpuSensor
    load: Load
    folder: Path
    scale: float = 1.0
    deadline_s: float = float("inf")
    keep: Path | None = None
    facts: GpuFacts = field(init=False)

    def __post_init__(self) -> None:
        calibrate([self.sensor])
        # Period and jitter alone: the recordings come minutes after the calibration, and stand for themselves when they are kept.
        self.facts = replace(self.sensor.facts, polled=EMPTY)

    def record(self, seconds: float, *, settle_s: float = 1.0) -> Stretch:
        """Records the mode that plays for `seconds` times the scale, from `settle_s` on."""
        time.sleep(settle_s * min(1.0, self.scale))
        truth = self.load.truth()
        _, stretch = self.record_while(lambda: time.sleep(seconds * self.scale))
        return replace(stretch, truth=truth)

    def record_while(self, work: Callable[[], Answer]) -> tuple[Answer, Stretch]:
        """Records while something is done; what it returns, and the recording from its beginning to its end."""
        recorder = Recorder([self.sensor], hz=HZ)
        recorder.start()
        # Past both edges by some updates of a slow counter, so that each edge lies between two.
        margin_s = 0.1 + 4 * (self.facts.period_s or 0.1)
        try:
            time.sleep(margin_s)
            start_s = time.monotonic()
            answer = work()
            end_s = time.monotonic()
            time.sleep(margin_s)
        finally:
            recorder.stop()
        series = recorder.trace().series[self.sensor.name]
        return answer, Stretch(series=series, facts=self.facts, start_s=start_s, end_s=end_s)


def first_board() -> tuple[Gpu, list[Gpu]]:
    """The GPU to check, the first that CUDA_VISIBLE_DEVICES leaves, and all GPUs of the host.

    Raises:
        MeasurementError: there is none that can be measured; the sentence says why.
    """
    found, notes = registry.visible(os.environ)
    usable = [gpu for gpu in found if gpu.partitioned is None]
    if not usable:
        raise MeasurementError("; ".join(notes) or "no board that is visible and not in MIG mode")
    return usable[0], registry.gpus()


def open_rig(open_load: Callable[[Gpu], Load], *, folder: Path, scale: float, deadline_s: float, keep: Path | None) -> Rig:
    """The rig for one section; the load is started at its first mode."""
    gpu, every = first_board()
    sensor = GpuSensor(gpu)
    load = open_load(gpu)
    return Rig(gpu=gpu, gpus=every, sensor=sensor, load=load, folder=folder, scale=scale, deadline_s=deadline_s, keep=keep)

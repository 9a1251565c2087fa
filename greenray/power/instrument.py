"""The instrument of one worker: a board (or none) and its host, measured while a cell runs in another process.

instrument = Instrument.open(accelerator="0", hz=50, cpu_model=CpuModel())
instrument.share_host(idle=instrument.measure_idle(5), workers=4)
recording = instrument.record()
recording.follow(pid)
reading = recording.read(start_s=a, end_s=b, device="cuda", gpu_idle_w=None)    # CLOCK_MONOTONIC
trace = recording.stop()
"""

import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import pynvml

from greenray.config.settings import CpuModel, WallMeter
from greenray.errors import MeasurementError
from greenray.gpu.foreign import foreign_processes
from greenray.gpu.nvidia import nvml
from greenray.gpu.nvidia.sensor import GpuSensor, calibrate
from greenray.power.activity import TreeActivity
from greenray.power.estimate.counter import CounterEnergy
from greenray.power.host import HostInfo, host_info
from greenray.power.modelled import modelled_idle
from greenray.power.rapl import powercap_root, survey
from greenray.power.reading import HostShare, facts_of, prepare_counter, read_cpu, read_gpu, read_wall
from greenray.power.recorder import Recorder
from greenray.power.sensors import Sensor, Setup, open_sensors
from greenray.power.sharing import IdlePower
from greenray.power.trace import Trace
from greenray.power.wall.meter import WallSensor
from greenray.power.window import WindowReading, combine

logger = logging.getLogger(__name__)

_SETTLED_S = 1.0
_SETTLED_SHARE = 0.05
_BEYOND_S = 2.0  # of a window: what else its figures may rest on


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardInfo:
    """The worker's board. `counter_period_s` is measured, None where there is no counter or it does not move."""

    uuid: str
    name: str
    power_limit_w: float | None
    driver_version: str
    counter_period_s: float | None
    board: nvml.Board = field(repr=False)

    def memory_used_bytes(self) -> int | None:
        """Memory in use by everybody; None where the board does not tell."""
        return self.board.memory_used_bytes()

    def power_w(self) -> float | None:
        """Power as the board averages it, about 1 s on Ampere and later: for people who watch, not for energies."""
        milliwatts = nvml.ask("nvmlDeviceGetPowerUsage", self.board.handle)
        return None if milliwatts is None else float(milliwatts) / 1000

    def temperature_c(self) -> float | None:
        """Temperature of the chip."""
        celsius = nvml.ask("nvmlDeviceGetTemperature", self.board.handle, pynvml.NVML_TEMPERATURE_GPU)
        return None if celsius is None else float(celsius)


class Instrument:
    """Everything that measures for one worker; see `open`."""

    def __init__(
        self,
        *,
        board: nvml.Board | None,
        sensors: list[Sensor],
        host: HostInfo,
        hz: float,
        cpu_model: CpuModel,
        no_cpu_meter: str | None = None,
    ) -> None:
        self.host = host
        self.hz = hz
        self.gpu: BoardInfo | None = None
        self._sensors = sensors
        self._sensor = next((sensor for sensor in sensors if isinstance(sensor, GpuSensor)), None)
        self._household = HostShare(logical_cores=host.logical_cores, model=cpu_model, no_meter=no_cpu_meter)
        self._memory_level = None if board is None else board.memory_used_bytes()
        if board is not None and self._sensor is not None:
            calibrate([self._sensor])
            self.gpu = BoardInfo(
                uuid=board.uuid,
                name=board.name,
                power_limit_w=board.power_limit_w,
                driver_version=board.driver_version,
                counter_period_s=self._sensor.calibration.period_s,
                board=board,
            )

    @classmethod
    def open(
        cls,
        *,
        accelerator: str | None,
        hz: float,
        cpu_model: CpuModel,
        cpu_seconds: Callable[[], float] | None = None,
        wall_meter: WallMeter | None = None,
    ) -> "Instrument":
        """Opens the sensors of this host; takes up to about a second on a host with a board.

        Args:
            accelerator: the board as Ray or CUDA_VISIBLE_DEVICES name it (index, full or shortened UUID); None for no board.
            hz: sampling rate of the counters.
            cpu_model: assumed power of a processor without a meter.
            cpu_seconds: replaces the kernel's count of the processor seconds that the whole host has used.
            wall_meter: a power meter outside the host, followed until `close`.

        Raises:
            MeasurementError: the board cannot be identified or measured; the sentence says why.
        """
        board = None
        if accelerator is not None:
            problem = nvml.start()
            if problem is not None:
                raise MeasurementError(f"board {accelerator!r} cannot be measured: {problem}")
            board = nvml.resolve(accelerator, nvml.boards())
        setup = Setup(
            boards=[] if board is None else [board],
            hz=hz,
            cpu_model=cpu_model,
            powercap_root=powercap_root(os.environ),
            cpu_seconds=cpu_seconds,
            wall_meter=wall_meter,
        )
        sensors = open_sensors(setup)
        lost = next((sensor for sensor in sensors if isinstance(sensor, GpuSensor) and sensor.lost), None)
        if lost is not None:
            for sensor in sensors:
                sensor.close()
            raise lost.board.lost()
        problem = survey(setup.powercap_root).problem
        return cls(board=board, sensors=sensors, host=host_info(), hz=hz, cpu_model=cpu_model, no_cpu_meter=problem)

    @property
    def energy_scope(self) -> str:
        """The parts that a total counts: those for which this host has a meter or a model."""
        parts = []
        if self._sensor is not None and (self._sensor.counter_missing is None or self._sensor.power_source is not None):
            parts.append("gpu")
        parts.append("cpu")
        if any(sensor.part == "dram" for sensor in self._sensors):
            parts.append("dram")
        return "+".join(parts)

    def wall_problem(self) -> str | None:
        """Why the wall meter has given no reading yet, after a few of its periods; None when it has, or there is none."""
        meter = next((sensor for sensor in self._sensors if isinstance(sensor, WallSensor)), None)
        return None if meter is None else meter.problem()

    def measure_idle(self, seconds: float) -> IdlePower:
        """The host's idle power over the next `seconds`, when no cell runs. A host without a meter answers at once."""
        metered = [sensor for sensor in self._sensors if sensor.part in ("cpu", "dram")]
        if not any(sensor.part == "cpu" for sensor in metered):
            return modelled_idle(self._household.model, logical_cores=self.host.logical_cores)
        recorder = Recorder(metered, hz=self.hz)
        recorder.start()
        time.sleep(seconds)
        recorder.stop()
        return idle_of(recorder.trace()) or modelled_idle(self._household.model, logical_cores=self.host.logical_cores)

    def share_host(self, *, idle: IdlePower, workers: int) -> None:
        """Sets what the sharing rule needs: the host's idle power and the number of its workers, busy or not."""
        self._household = replace(self._household, idle=idle, workers=max(1, workers))

    def require_gpu(self) -> None:
        """Checks that the board still answers; nothing to check on a host without one.

        Raises:
            MeasurementError: it does not.
        """
        if self.gpu is not None and not self.gpu.board.answers():
            raise self.gpu.board.lost()

    def record(self) -> "Recording":
        """Starts the sampling thread; the first sample has been taken when this returns."""
        return Recording(instrument=self)

    def close(self) -> None:
        """Gives the sensors back."""
        for sensor in self._sensors:
            sensor.close()


class Recording:
    """One attempt under measurement; made by `Instrument.record`."""

    def __init__(self, *, instrument: Instrument) -> None:
        self._instrument = instrument
        self._sensor = instrument._sensor
        self._board = instrument.gpu
        self._tree = TreeActivity()
        self._memory_before = None if self._board is None else self._board.memory_used_bytes()
        self._ours: set[int] = set()
        self._looks: list[tuple[float, list[int] | None]] = []
        self.look()
        self._prepared: CounterEnergy | None = None
        self._recorder = Recorder([*instrument._sensors, self._tree], hz=instrument.hz)
        self._recorder.start()
        deadline_s = time.monotonic() + 5.0
        while self._recorder.last_s() < 0 and time.monotonic() < deadline_s:
            time.sleep(0.001)

    def follow(self, pid: int) -> None:
        """Names the process whose tree is the cell."""
        self._tree.follow(pid)

    def settled(self, timeout_s: float = 10.0) -> bool:
        """Waits until the board's power was steady (within 5 % of its mean) for a second; True at once without a board.

        False when the time runs out, or when the board does not tell its power.
        """
        if self._sensor is None or self._sensor.power_source is None:
            return self._sensor is None
        deadline_s = time.monotonic() + timeout_s
        while True:
            latest = self._recorder.latest(self._sensor.name, seconds=_SETTLED_S)
            watts = latest.column("power_w")
            if len(watts) >= 0.8 * _SETTLED_S * self._instrument.hz and np.all(np.isfinite(watts)):
                mean_w = float(watts.mean())
                if float(np.abs(watts - mean_w).max()) <= _SETTLED_SHARE * mean_w:
                    return True
            if time.monotonic() >= deadline_s:
                return False
            time.sleep(0.05)

    def read(self, *, start_s: float, end_s: float, device: str, gpu_idle_w: float | None = None) -> WindowReading:
        """The figures of one window, as the `windows` table has them.

        Waits, for a few sampling and counter periods at most, until the trace reaches past the window's end.

        Args:
            start_s: start, CLOCK_MONOTONIC.
            end_s: end.
            device: cuda or cpu; says which meter is the cell's main one.
            gpu_idle_w: the board's power in this attempt's idle window, where one is known.
        """
        self._wait_past(end_s)
        recorded = self._recorder.trace()
        trace = recorded.part(start_s - _BEYOND_S, end_s + _BEYOND_S)
        host_share = self._instrument._household
        gpu = None
        if self._sensor is not None:
            counter = self._counter(recorded, end_s=end_s)
            series, facts = trace.series[self._sensor.name], facts_of(self._sensor)
            gpu = read_gpu(series, facts, start_s=start_s, end_s=end_s, hz=trace.hz, counter=counter)
        return combine(
            gpu=gpu,
            gpu_uuid=None if self._board is None else self._board.uuid,
            gpu_power_source=None if self._sensor is None else self._sensor.power_source,
            gpu_counter_missing=None if self._sensor is None else self._sensor.counter_missing,
            gpu_idle_w=gpu_idle_w,
            foreign=self._foreign(start_s=start_s, end_s=end_s, uses_gpu=device == "cuda"),
            cpu=read_cpu(trace, host_share, start_s=start_s, end_s=end_s),
            host_share=host_share,
            wall=read_wall(recorded, start_s=start_s, end_s=end_s),
            scope=self._instrument.energy_scope,
            device=device,
            duration_s=end_s - start_s,
        )

    def _counter(self, recorded: Trace, *, end_s: float) -> CounterEnergy | None:
        """The board's counter, prepared anew when a window reaches further than what the last preparation saw."""
        assert self._sensor is not None
        if self._prepared is None or self._prepared.until_s < end_s + _BEYOND_S:
            self._prepared = prepare_counter(recorded.series[self._sensor.name], facts_of(self._sensor), hz=recorded.hz)
        return self._prepared

    def wait_for_wall(self, end_s: float) -> None:
        """Waits, for a few periods of the wall meter at most, until it too has read past a moment; `read` does not wait."""
        self._recorder.wait_for_followers(end_s)

    def trace(self) -> Trace:
        """What was recorded so far."""
        return self._recorder.trace()

    def stop(self) -> Trace:
        """Ends the sampling thread and returns the whole trace; windows can still be read."""
        self._recorder.stop()
        return self._recorder.trace()

    def _wait_past(self, end_s: float) -> None:
        period_s = (self._board.counter_period_s if self._board is not None else None) or 0.0
        sampling_s = 1 / self._instrument.hz
        wanted_s = end_s + 1.3 * period_s + 2 * sampling_s
        deadline_s = max(end_s, time.monotonic()) + 3 * max(period_s, sampling_s) + 0.5
        while self._recorder.running() and self._recorder.last_s() < wanted_s and time.monotonic() < deadline_s:
            time.sleep(min(sampling_s / 2, max(wanted_s - time.monotonic(), 0.001)))

    def look(self) -> None:
        """Note who is on the board now; to be called at the edges of windows, while the cell lives."""
        if self._board is not None:
            self._ours |= {*self._tree.pids(), os.getpid()}
            self._looks.append((time.monotonic(), self._board.board.processes()))

    def _foreign(self, *, start_s: float, end_s: float, uses_gpu: bool) -> int | None:
        """The most other processes seen from the last look before the window to the first after it."""
        if self._board is None:
            return None
        if self._looks[-1][0] < end_s:
            self.look()
        before = [look for look in self._looks if look[0] <= start_s][-1:]
        after = [look for look in self._looks if look[0] >= end_s][:1]
        inside = [look for look in self._looks if start_s < look[0] < end_s]
        counts = [
            foreign_processes(
                pids=pids,
                ours=self._ours,
                uses_gpu=uses_gpu,
                memory_before_bytes=self._memory_before,
                memory_level_bytes=self._instrument._memory_level,
            )
            for _, pids in (*before, *inside, *after)
        ]
        known = [count for count in counts if count is not None]
        return max(known) if known and len(known) == len(counts) else None


def idle_of(trace: Trace) -> IdlePower | None:
    """Mean power of the processors (and memory) of a trace that was taken while nothing ran; None when it holds too little."""
    watts: dict[str, float] = {}
    seconds = 0.0
    for part in ("cpu", "dram"):
        for series in trace.of_part(part):
            times, counter = series.fast.times, series.fast.column("counter_j")
            if len(times) < 2 or not np.all(np.isfinite(counter)):
                return None
            steps = np.diff(counter)
            steps = np.where(steps < 0, steps + series.range_j, steps)
            seconds = float(times[-1] - times[0])
            watts[part] = watts.get(part, 0.0) + float(steps.sum()) / seconds
    if "cpu" not in watts or not np.isfinite(watts["cpu"]):
        return None
    return IdlePower(cpu_w=watts["cpu"], dram_w=watts.get("dram"), source="rapl", seconds=seconds)

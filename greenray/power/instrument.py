"""The instrument of one worker: a GPU (or none) and its host, measured while a cell runs in another process.

instrument = Instrument(accelerator="0", hz=50, cpu_model=CpuModel())
instrument.share_host(idle=instrument.measure_idle(5), workers=4)
recording = instrument.record()
recording.follow(pid)
reading = recording.read(start_s=a, end_s=b, device="cuda", gpu_idle_w=None)    # CLOCK_MONOTONIC
trace = recording.stop()
"""

import os
import time
from dataclasses import replace

import numpy as np

from greenray.config.settings import CpuModel, WallMeter
from greenray.gpu import registry
from greenray.gpu.base import foreign_processes
from greenray.power.activity import TreeActivity
from greenray.power.cpu_reading import HostShare, idle_of, read_cpu
from greenray.power.estimate.counter import CounterEnergy
from greenray.power.gpu_reading import MOVED_BY, GpuSensor, calibrate, prepare_counter, read_gpu, under_load
from greenray.power.host import allotted_cores, host_info, sees_all_processes
from greenray.power.rapl import powercap_root, survey
from greenray.power.recorder import Recorder
from greenray.power.sensors import Setup, open_sensors
from greenray.power.sharing import IdlePower, core_share, modelled_idle
from greenray.power.trace import Trace
from greenray.power.wall.meter import WallSensor
from greenray.power.window import WindowReading, read_wall

_SETTLED_S, _SETTLED_SHARE = 1.0, 0.05
_BEYOND_S = 2.0  # of a window: what else its figures may rest on


class Instrument:
    """Everything that measures for one worker: the sensors of this host, open until `close`.

    `gpu` is None on a host without one.
    """

    def __init__(self, *, accelerator: str | None, hz: float, cpu_model: CpuModel, wall_meter: WallMeter | None = None) -> None:
        """Opens them, see `Setup`; takes up to about a second on a host with a GPU.

        `accelerator` is the GPU as Ray or users name it (index, full or shortened UUID), None for no GPU; raises
        `MeasurementError` when it cannot be identified or measured. A wall meter is followed until `close`.
        """
        self.gpu = gpu = None if accelerator is None else registry.resolve(accelerator)
        setup = Setup(
            gpus=[] if gpu is None else [gpu],
            hz=hz,
            cpu_model=cpu_model,
            powercap_root=powercap_root(os.environ),
            wall_meter=wall_meter,
        )
        self._hz, self._sensors = hz, open_sensors(setup)
        self._gpu_sensor = next((sensor for sensor in self._sensors if isinstance(sensor, GpuSensor)), None)
        if self._gpu_sensor is not None and self._gpu_sensor.meter.lost:
            self.close()
            raise self._gpu_sensor.gpu.lost()
        self.host = host_info()
        no_meter = survey(setup.powercap_root).problem
        self._boards = (0, 0) if gpu is None else registry.boards()
        self._host_share = HostShare(logical_cores=self.host.logical_cores, model=cpu_model, no_meter=no_meter)
        self.share_host(idle=None, workers=1)
        calibrate([] if self._gpu_sensor is None else [self._gpu_sensor])

    @property
    def counter_period_s(self) -> float | None:
        """How often the GPU's counter moves, by what was seen last; None where there is none or it stands still."""
        return None if self._gpu_sensor is None else self._gpu_sensor.facts.period_s

    @property
    def energy_scope(self) -> str:
        """The parts that a total counts: those for which this host has a meter or a model."""
        facts = None if self._gpu_sensor is None else self._gpu_sensor.facts
        gpu = facts is not None and (facts.counter_missing is None or facts.power_source is not None)
        dram = any(sensor.part == "dram" for sensor in self._sensors)
        return "+".join(["gpu"] * gpu + ["cpu"] + ["dram"] * dram)

    def wall_problem(self) -> str | None:
        """Why the wall meter has given no reading yet, after a few of its periods; None when it has, or there is none."""
        meter = next((sensor for sensor in self._sensors if isinstance(sensor, WallSensor)), None)
        return None if meter is None else meter.problem()

    def measure_idle(self, seconds: float) -> IdlePower:
        """The host's idle power over the next `seconds`, when no cell runs. A host without a meter answers at once."""
        metered = [sensor for sensor in self._sensors if sensor.part in ("cpu", "dram", "activity")]
        idle = None
        if any(sensor.part == "cpu" for sensor in metered):
            recorder = Recorder(metered, hz=self._hz)
            recorder.start()
            time.sleep(seconds)
            recorder.stop()
            idle = idle_of(recorder.trace())
        return idle or modelled_idle(self._host_share.model, logical_cores=self._host_share.counted.cores)

    def share_host(self, *, idle: IdlePower | None, workers: int) -> None:
        """Sets what the sharing rule needs from the next recording on; `workers` are counted busy or not."""
        workers, logical_cores = max(1, workers), self.host.logical_cores
        cores = core_share(logical_cores=logical_cores, allotted=allotted_cores(), boards=self._boards, workers=workers)
        self._host_share = replace(self._host_share, idle=idle, workers=workers, modelled=cores)

    def require_gpu(self) -> None:
        """Raises `MeasurementError` when the GPU no longer answers; nothing to check on a host without one."""
        if self.gpu is not None and not self.gpu.answers():
            raise self.gpu.lost()

    def record(self) -> "Recording":
        """Starts the sampling thread; the first sample has been taken when this returns."""
        return Recording(self)

    def close(self) -> None:
        """Gives the sensors back."""
        for sensor in self._sensors:
            sensor.close()


class Recording:
    """One attempt under measurement, from `Instrument.record` to `stop`: the recorder, who is on the GPU, and every window."""

    def __init__(self, instrument: Instrument) -> None:
        self._sensor, self._gpu = instrument._gpu_sensor, instrument.gpu
        self._hz, self._host_share, self._energy_scope = instrument._hz, instrument._host_share, instrument.energy_scope
        self._held_before = None if self._gpu is None else self._gpu.memory_held_bytes()
        self._sees_all = sees_all_processes()
        self._tree = TreeActivity()
        self._ours: set[int] = set()
        self._looks: list[tuple[float, list[int] | None]] = []
        self._prepared: CounterEnergy | None = None
        self._recorder = Recorder([*instrument._sensors, self._tree], hz=self._hz)
        self.look()
        self._recorder.start()
        self._recorder.wait_past(0.0, limit_s=5.0)

    def follow(self, pid: int) -> None:
        """Names the process whose tree is the cell."""
        self._tree.follow(pid)

    def settled(self, timeout_s: float = 10.0) -> bool:
        """Waits until the GPU's power was steady (within 5 % of its mean) for a second; True at once without a GPU.

        False when the time runs out, or when the GPU does not tell its power.
        """
        if self._sensor is None or self._sensor.facts.power_source is None:
            return self._sensor is None
        deadline_s = time.monotonic() + timeout_s
        while True:
            latest = self._recorder.latest(self._sensor.name, seconds=_SETTLED_S)
            watts = latest.column("power_w")
            if len(watts) >= 0.8 * _SETTLED_S * self._hz and np.all(np.isfinite(watts)):
                mean_w = float(watts.mean())
                if float(np.abs(watts - mean_w).max()) <= _SETTLED_SHARE * mean_w:
                    return True
            if time.monotonic() >= deadline_s:
                return False
            time.sleep(0.05)

    def warming(self, seconds: float = 5.0) -> float | None:
        """By how much the GPU's temperature rose over the last `seconds`, in C: a second's mean against that of another before.

        None without a GPU, when it does not tell its temperature, or when the trace is shorter.
        """
        if self._sensor is None:
            return None
        times, celsius = self._recorder.latest_slow(self._sensor.name, seconds=seconds + 1.0).known("temperature_c")
        since_s = time.monotonic() - times
        before, now = celsius[since_s > seconds], celsius[since_s < 1.0]
        return float(now.mean() - before.mean()) if len(before) and len(now) else None

    def loaded(self, *, start_s: float, end_s: float) -> None:
        """Measures the counter's period again, by a window in which the GPU worked; readings go by it from now on."""
        if self._sensor is None or self._sensor.facts.counter_missing is not None:
            return
        samples = self._recorder.trace().series[self._sensor.name].fast.within(start_s, end_s)
        facts = under_load(self._sensor.facts, samples)
        if facts is not self._sensor.facts:
            self._sensor.facts, self._prepared = facts, None

    def read(self, *, start_s: float, end_s: float, device: str, gpu_idle_w: float | None = None) -> WindowReading:
        """The figures of one window (CLOCK_MONOTONIC); waits, a few sampling and counter periods at most, for its end.

        `device`, cuda or cpu, says which meter is the cell's main one; `gpu_idle_w` is the GPU's power in its idle window.
        """
        period_s = (None if self._sensor is None else self._sensor.facts.period_s) or 0.0
        self._recorder.wait_past(end_s + MOVED_BY * period_s + 2 / self._hz, limit_s=3 * max(period_s, 1 / self._hz) + 0.5)
        recorded = self._recorder.trace()
        trace = recorded.part(start_s - _BEYOND_S, end_s + _BEYOND_S)
        gpu = None
        if self._sensor is not None:
            counter = self._counter(recorded, self._sensor, end_s=end_s)
            series, facts = trace.series[self._sensor.name], self._sensor.facts
            gpu = read_gpu(series, facts, start_s=start_s, end_s=end_s, hz=trace.hz, counter=counter)
        return WindowReading(
            device=device,
            duration_s=end_s - start_s,
            energy_scope=self._energy_scope,
            cpu=read_cpu(trace, self._host_share, start_s=start_s, end_s=end_s),
            gpu=gpu,
            gpu_uuid=None if self._gpu is None else self._gpu.uuid,
            gpu_idle_w=gpu_idle_w,
            foreign=self._foreign(start_s=start_s, end_s=end_s, uses_gpu=device == "cuda"),
            wall=read_wall(recorded, start_s=start_s, end_s=end_s),
        )

    def _counter(self, recorded: Trace, sensor: GpuSensor, *, end_s: float) -> CounterEnergy | None:
        """The GPU's counter, prepared anew when a window reaches further than what the last preparation saw."""
        if self._prepared is None or self._prepared.until_s < end_s + _BEYOND_S:
            self._prepared = prepare_counter(recorded.series[sensor.name], sensor.facts, hz=recorded.hz)
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

    def look(self) -> None:
        """Note who is on the GPU now, and read what is read slowly; for the edges of windows, while the cell lives."""
        self._recorder.mark()
        if self._gpu is not None:
            self._ours |= {*self._tree.pids(), os.getpid()}
            self._looks.append((time.monotonic(), self._gpu.processes()))

    def _foreign(self, *, start_s: float, end_s: float, uses_gpu: bool) -> int | None:
        """The most other processes seen from the last look before the window to the first after it."""
        if self._gpu is None:
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
                held_bytes=self._held_before,
                sees_all=self._sees_all,
            )
            for _, pids in (*before, *inside, *after)
        ]
        known = [count for count in counts if count is not None]
        return max(known) if known and len(known) == len(counts) else None

"""One attempt under measurement: the recorder, who is on the GPU, and every window's figures."""

import os
import time
from collections.abc import Sequence

import numpy as np

from greenray.gpu.foreign_processes import foreign_processes
from greenray.power.activity import TreeActivity
from greenray.power.cpu_reading import HostShare, read_cpu
from greenray.power.estimate.counter import CounterEnergy
from greenray.power.gpu_reading import prepare_counter, read_gpu
from greenray.power.gpu_sensor import GpuSensor
from greenray.power.recorder import Recorder
from greenray.power.sensors import Sensor
from greenray.power.trace import Trace
from greenray.power.window import WindowReading, read_wall

_SETTLED_S = 1.0
_SETTLED_SHARE = 0.05
_BEYOND_S = 2.0  # of a window: what else its figures may rest on


class Recording:
    """Made by `Instrument.record`; runs until `stop`."""

    def __init__(
        self,
        *,
        sensors: Sequence[Sensor],
        gpu_sensor: GpuSensor | None,
        hz: float,
        host_share: HostShare,
        energy_scope: str,
        memory_level_bytes: int | None,
    ) -> None:
        self._sensor = gpu_sensor
        self._gpu = None if gpu_sensor is None else gpu_sensor.gpu
        self._hz = hz
        self._host_share = host_share
        self._energy_scope = energy_scope
        self._memory_level = memory_level_bytes
        self._memory_before = None if self._gpu is None else self._gpu.memory_used_bytes()
        self._tree = TreeActivity()
        self._ours: set[int] = set()
        self._looks: list[tuple[float, list[int] | None]] = []
        self.look()
        self._prepared: CounterEnergy | None = None
        self._recorder = Recorder([*sensors, self._tree], hz=hz)
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

    def read(self, *, start_s: float, end_s: float, device: str, gpu_idle_w: float | None = None) -> WindowReading:
        """The figures of one window.

        Waits, for a few sampling and counter periods at most, until the trace reaches past the window's end.

        Args:
            start_s: start, CLOCK_MONOTONIC.
            end_s: end.
            device: cuda or cpu; says which meter is the cell's main one.
            gpu_idle_w: the GPU's power in this attempt's idle window, where one is known.
        """
        period_s = (None if self._sensor is None else self._sensor.facts.period_s) or 0.0
        self._recorder.wait_past(end_s + 1.3 * period_s + 2 / self._hz, limit_s=3 * max(period_s, 1 / self._hz) + 0.5)
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
        """Note who is on the GPU now; to be called at the edges of windows, while the cell lives."""
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
                memory_before_bytes=self._memory_before,
                memory_level_bytes=self._memory_level,
            )
            for _, pids in (*before, *inside, *after)
        ]
        known = [count for count in counts if count is not None]
        return max(known) if known and len(known) == len(counts) else None

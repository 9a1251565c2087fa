"""The instrument of one worker: a GPU (or none) and its host, measured while a cell runs in another process.

instrument = Instrument.open(accelerator="0", hz=50, cpu_model=CpuModel())
instrument.share_host(idle=instrument.measure_idle(5), workers=4)
recording = instrument.record()
recording.follow(pid)
reading = recording.read(start_s=a, end_s=b, device="cuda", gpu_idle_w=None)    # CLOCK_MONOTONIC
trace = recording.stop()
"""

import os
import time
from collections.abc import Callable
from dataclasses import replace

from greenray.config.settings import CpuModel, WallMeter
from greenray.gpu import registry
from greenray.gpu.base import Gpu
from greenray.power.cpu_reading import HostShare, idle_of
from greenray.power.gpu_sensor import GpuSensor, calibrate
from greenray.power.host import HostInfo, host_info
from greenray.power.modelled import modelled_idle
from greenray.power.rapl import powercap_root, survey
from greenray.power.recorder import Recorder
from greenray.power.recording import Recording
from greenray.power.sensors import Sensor, Setup, open_sensors
from greenray.power.sharing import IdlePower
from greenray.power.wall.meter import WallSensor


class Instrument:
    """Everything that measures for one worker; see `open`.

    Attributes:
        gpu: the worker's GPU, None on a host without one.
        host: the host.
        counter_period_s: how often the GPU's counter moves; None where there is no counter or it does not move.
    """

    def __init__(self, *, gpu: Gpu | None, sensors: list[Sensor], host: HostInfo, hz: float, host_share: HostShare) -> None:
        self.gpu = gpu
        self.host = host
        self._hz = hz
        self._sensors = sensors
        self._gpu_sensor = next((sensor for sensor in sensors if isinstance(sensor, GpuSensor)), None)
        self._host_share = host_share
        self._memory_level = None if gpu is None else gpu.memory_used_bytes()
        calibrate([] if self._gpu_sensor is None else [self._gpu_sensor])
        self.counter_period_s = None if self._gpu_sensor is None else self._gpu_sensor.facts.period_s

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
        """Opens the sensors of this host; takes up to about a second on a host with a GPU.

        Args:
            accelerator: the GPU as Ray or users name it (index, full or shortened UUID); None for no GPU.
            hz: sampling rate of the counters.
            cpu_model: assumed power of a processor without a meter.
            cpu_seconds: replaces the kernel's count of the processor seconds that the whole host has used.
            wall_meter: a power meter outside the host, followed until `close`.

        Raises:
            MeasurementError: the GPU cannot be identified or measured; the sentence says why.
        """
        gpu = None if accelerator is None else registry.resolve(accelerator)
        setup = Setup(
            gpus=[] if gpu is None else [gpu],
            hz=hz,
            cpu_model=cpu_model,
            powercap_root=powercap_root(os.environ),
            cpu_seconds=cpu_seconds,
            wall_meter=wall_meter,
        )
        sensors = open_sensors(setup)
        if any(isinstance(sensor, GpuSensor) and sensor.meter.lost for sensor in sensors):
            for sensor in sensors:
                sensor.close()
            assert gpu is not None
            raise gpu.lost()
        host = host_info()
        no_meter = survey(setup.powercap_root).problem
        host_share = HostShare(logical_cores=host.logical_cores, model=cpu_model, no_meter=no_meter)
        return cls(gpu=gpu, sensors=sensors, host=host, hz=hz, host_share=host_share)

    @property
    def energy_scope(self) -> str:
        """The parts that a total counts: those for which this host has a meter or a model."""
        facts = None if self._gpu_sensor is None else self._gpu_sensor.facts
        known = {
            "gpu": facts is not None and (facts.counter_missing is None or facts.power_source is not None),
            "cpu": True,
            "dram": any(sensor.part == "dram" for sensor in self._sensors),
        }
        return "+".join(part for part, there in known.items() if there)

    def wall_problem(self) -> str | None:
        """Why the wall meter has given no reading yet, after a few of its periods; None when it has, or there is none."""
        meter = next((sensor for sensor in self._sensors if isinstance(sensor, WallSensor)), None)
        return None if meter is None else meter.problem()

    def measure_idle(self, seconds: float) -> IdlePower:
        """The host's idle power over the next `seconds`, when no cell runs. A host without a meter answers at once."""
        metered = [sensor for sensor in self._sensors if sensor.part in ("cpu", "dram")]
        idle = None
        if any(sensor.part == "cpu" for sensor in metered):
            recorder = Recorder(metered, hz=self._hz)
            recorder.start()
            time.sleep(seconds)
            recorder.stop()
            idle = idle_of(recorder.trace())
        return idle or modelled_idle(self._host_share.model, logical_cores=self.host.logical_cores)

    def share_host(self, *, idle: IdlePower, workers: int) -> None:
        """Sets what the sharing rule needs from the next recording on: the host's idle power and its workers, busy or not."""
        self._host_share = replace(self._host_share, idle=idle, workers=max(1, workers))

    def require_gpu(self) -> None:
        """Checks that the GPU still answers; nothing to check on a host without one.

        Raises:
            MeasurementError: it does not.
        """
        if self.gpu is not None and not self.gpu.answers():
            raise self.gpu.lost()

    def record(self) -> Recording:
        """Starts the sampling thread; the first sample has been taken when this returns."""
        return Recording(
            sensors=self._sensors,
            gpu_sensor=self._gpu_sensor,
            hz=self._hz,
            host_share=self._host_share,
            energy_scope=self.energy_scope,
            memory_level_bytes=self._memory_level,
        )

    def close(self) -> None:
        """Gives the sensors back."""
        for sensor in self._sensors:
            sensor.close()

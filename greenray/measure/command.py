"""Energy of any command, like `time`: every visible GPU, the processors and the memory, from its start to its end."""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from greenray.config.settings import CpuModel
from greenray.gpu import registry
from greenray.gpu.base import Gpu
from greenray.gpu.foreign_processes import foreign_processes
from greenray.measure.account import cpu_entry, dram_entry, gpu_entry, never_ran, plain_entry, total
from greenray.measure.run import Ended, run
from greenray.measure.signals import Signals
from greenray.power.cpu_reading import HostShare, idle_of, read_cpu
from greenray.power.estimate.energy import Energy
from greenray.power.gpu_reading import GpuReading, prepare_counter, read_gpu
from greenray.power.gpu_sensor import GpuSensor, calibrate
from greenray.power.host import host_info
from greenray.power.rapl import powercap_root, survey
from greenray.power.recorder import Recorder
from greenray.power.sensors import Setup, open_sensors
from greenray.power.trace import Series, Trace, readings
from greenray.power.window import read_wall

_PAUSED_S = 1.0  # without a sample: the machine slept, or this process was stopped
_AROUND_S = 0.25  # recorded before and after the command where there is a GPU


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What a command cost; `as_json` has the fields that `greenray measure --json` writes. Joules; None is unknown.

    Attributes:
        exit_code: the command's; 126 or 127 when it could not be run, 128 + n when signal n ended it.
        error: why the command could not be run; None when it ran.
        gpus: one entry a GPU: whole GPUs, whoever used them.
        cpu, dram: the command's share of the host (`energy_j`), and the whole host (`host_energy_j`).
        wall: energy at the plug, of the whole host.
        total_energy_j: the parts that `energy_scope` names; `modelled_energy_j` of it is not metered.
        cpu_user_s, cpu_system_s: processor seconds of what the command started and what ended with it or before it.
        still_running: processes of the command that outlived it, counted up to its end.
        notes: what the figures leave out or take in, in sentences.
    """

    command: list[str]
    start_monotonic_s: float
    end_monotonic_s: float
    duration_s: float
    exit_code: int
    gpus: list[dict[str, Any]]
    cpu: dict[str, Any]
    dram: dict[str, Any]
    wall: dict[str, Any]
    total_energy_j: float | None
    energy_scope: str
    modelled_energy_j: float | None
    cpu_user_s: float
    cpu_system_s: float
    still_running: int
    logical_cores: int
    hz: float
    error: str | None = None
    notes: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def measure_command(
    argv: Sequence[str],
    *,
    signals: Signals,
    hz: float = 50.0,
    idle_s: float | None = None,
    cpu_model: CpuModel | None = None,
    environ: Mapping[str, str] | None = None,
) -> Measurement:
    """Runs a command to its end and measures it; standard input, output and error are the command's.

    What cannot be measured never keeps the command from running: it is left out, and `notes` say so.

    Args:
        argv: the command and its arguments.
        signals: of `greenray.measure.signals.holding_signals`: who wants this process to end means the command.
        hz: sampling rate.
        idle_s: seconds of idle to measure before the command; None leaves idle power unknown.
        cpu_model: assumed power of a processor without a meter.
        environ: environment of the command; this process's by default. It may choose the GPUs.

    Raises:
        Interrupted: a signal came before the command was started.
    """
    environ = os.environ if environ is None else environ
    model = cpu_model or CpuModel()
    gpus, notes = registry.visible(environ)
    root = powercap_root(environ)
    whole = [gpu for gpu in gpus if gpu.partitioned is None]
    sensors = open_sensors(Setup(gpus=whole, hz=hz, cpu_model=model, powercap_root=root))
    gpu_sensors = {sensor.gpu.uuid: sensor for sensor in sensors if isinstance(sensor, GpuSensor)}
    calibrate(list(gpu_sensors.values()))
    strangers = {gpu.uuid: gpu.processes() for gpu in whole}
    slowest_s = max((sensor.facts.period_s or 0.0 for sensor in gpu_sensors.values()), default=0.0)
    around_s = _AROUND_S if gpu_sensors else 0.0
    recorder = Recorder(sensors, hz=hz)
    recorder.start()
    try:
        # GPUs are read for a while before: their power then says where it stepped; after it, until their counters have moved, so
        # that the command's last moment lies between two updates.
        recorder.wait_past(time.monotonic() + around_s, limit_s=1.0)
        idle = _rest(idle_s, signals=signals)
        ended = run(argv, environ=environ, signals=signals)
        after_s = around_s + 1.3 * slowest_s + 2 / hz
        recorder.wait_past(ended.end_s + after_s, limit_s=3 * max(slowest_s, 1 / hz) + 0.5)
    finally:
        recorder.stop()
    trace = _with_used(recorder.trace(), ended)
    host_share = HostShare(
        logical_cores=host_info().logical_cores,
        model=model,
        idle=None if idle is None else idle_of(trace.part(*idle)),
        no_meter=survey(root).problem,
    )
    cpu = read_cpu(trace, host_share, start_s=ended.start_s, end_s=ended.end_s)
    duration_s = ended.end_s - ended.start_s
    gpu_entries = []
    for gpu in gpus:
        reading, idle_w = _read(gpu_sensors.get(gpu.uuid), trace, ended, idle=idle)
        foreign = _strangers(gpu, before=strangers.get(gpu.uuid), ended=ended)
        gpu_entries.append(gpu_entry(gpu, reading, idle_w=idle_w, foreign=foreign, duration_s=duration_s))
    parts: dict[str, Any] = {
        "gpus": gpu_entries,
        "cpu": cpu_entry(cpu),
        "dram": dram_entry(cpu),
        "wall": plain_entry(read_wall(trace, start_s=ended.start_s, end_s=ended.end_s)),
    }
    for one in sensors:
        one.close()
    if ended.error is not None:
        parts = {name: never_ran(part) for name, part in parts.items()}
    return Measurement(
        command=list(argv),
        start_monotonic_s=ended.start_s,
        end_monotonic_s=ended.end_s,
        duration_s=duration_s,
        exit_code=ended.exit_code,
        **parts,
        **total(parts),
        cpu_user_s=ended.user_s,
        cpu_system_s=ended.system_s,
        still_running=len(ended.running),
        logical_cores=host_share.logical_cores,
        hz=hz,
        error=ended.error,
        notes=[*notes, *_surprises(trace, ended)],
    )


def _read(
    sensor: GpuSensor | None, trace: Trace, ended: Ended, *, idle: tuple[float, float] | None
) -> tuple[GpuReading, float | None]:
    """What a GPU took while the command ran, and its idle power, None where no idle time was measured."""
    if sensor is None:
        return GpuReading(energy=Energy()), None
    series, facts = trace.series[sensor.name], sensor.facts
    counter = prepare_counter(series, facts, hz=trace.hz)
    reading = read_gpu(series, facts, start_s=ended.start_s, end_s=ended.end_s, hz=trace.hz, counter=counter)
    if idle is None:
        return reading, None
    return reading, read_gpu(series, facts, start_s=idle[0], end_s=idle[1], hz=trace.hz, counter=counter).power_w


def _strangers(gpu: Gpu, *, before: list[int] | None, ended: Ended) -> int | None:
    """The command had not started or has ended: whoever is on the GPU, but for what it left behind, is somebody else."""
    now = gpu.processes()
    return foreign_processes(
        pids=None if now is None else sorted({*now, *(before or ())}),
        ours=ended.running,
        uses_gpu=False,
        memory_before_bytes=None,
        memory_level_bytes=None,
    )


def _rest(idle_s: float | None, *, signals: Signals) -> tuple[float, float] | None:
    """Waits for `idle_s` seconds; the interval, or None when there is none."""
    if idle_s is None:
        return None
    start_s = time.monotonic()
    signals.pause(idle_s)
    return start_s, time.monotonic()


def _with_used(trace: Trace, ended: Ended) -> Trace:
    """The trace with the command's processor time, which the kernel tells at the end and nobody needs to sample."""
    used = readings([ended.start_s, ended.end_s], cpu_seconds=[0.0, ended.cpu_s])
    return replace(trace, series={**trace.series, "cpu:cell": Series(sensor="cpu:cell", part="activity", fast=used)})


def _surprises(trace: Trace, ended: Ended) -> list[str]:
    """What a reader of the figures might not expect of this run."""
    notes = []
    if ended.running:
        count = len(ended.running)
        notes.append(f"{count} process{'es' if count > 1 else ''} of the command outlived it: counted up to its end only")
    times = next((series.fast.times for series in trace.series.values() if len(series.fast.times) > 2), None)
    if times is not None:
        inside = times[(times >= ended.start_s) & (times <= ended.end_s)]
        paused_s = float(sum(step for step in inside[1:] - inside[:-1] if step > _PAUSED_S))
        if paused_s:
            notes.append(f"nothing was sampled for {paused_s:.1f} s of it: it was stopped, or the machine slept")
    return notes

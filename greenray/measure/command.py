"""Energy of any command, like `time`: every visible board, the processors and the memory, from its start to its end."""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from greenray.config.settings import CpuModel
from greenray.errors import MeasurementError
from greenray.gpu.nvidia import nvml
from greenray.gpu.nvidia.sensor import GpuSensor, calibrate
from greenray.measure.account import board_entry, cpu_entry, dram_entry, left_out, never_ran, total, wall_entry
from greenray.measure.run import Ended, run
from greenray.measure.signals import Signals
from greenray.power.host import host_info
from greenray.power.instrument import idle_of
from greenray.power.rapl import powercap_root, survey
from greenray.power.reading import HostShare, read_cpu
from greenray.power.recorder import Recorder
from greenray.power.sensors import Setup, open_sensors
from greenray.power.trace import Series, Trace, readings

_PAUSED_S = 1.0  # without a sample: the machine slept, or this process was stopped
_AROUND_S = 0.25  # recorded before and after the command where there is a board


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What a command cost; `as_json` has the fields that `greenray measure --json` writes. Joules; None is unknown.

    Attributes:
        exit_code: the command's; 126 or 127 when it could not be run, 128 + n when signal n ended it.
        error: why the command could not be run; None when it ran.
        gpus: one entry a board: whole boards, whoever used them.
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
        environ: environment of the command; this process's by default. CUDA_VISIBLE_DEVICES in it chooses the boards.

    Raises:
        Interrupted: a signal came before the command was started.
    """
    environ = os.environ if environ is None else environ
    model = cpu_model or CpuModel()
    boards, notes = _boards(environ)
    root = powercap_root(environ)
    sensors = open_sensors(Setup(boards=[board for board in boards if not board.mig], hz=hz, cpu_model=model, powercap_root=root))
    gpus = [sensor for sensor in sensors if isinstance(sensor, GpuSensor)]
    calibrate(gpus)
    strangers = {sensor.name: sensor.board.processes() for sensor in gpus}
    recorder = Recorder(sensors, hz=hz)
    recorder.start()
    try:
        _lead_in(recorder, gpus)
        idle = _rest(idle_s, signals=signals)
        ended = run(argv, environ=environ, signals=signals)
        _lead_out(recorder, gpus, end_s=ended.end_s, hz=hz)
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
    entries = {
        sensor.board.index: board_entry(sensor, trace, ended, idle=idle, strangers=strangers[sensor.name]) for sensor in gpus
    }
    parts: dict[str, Any] = {
        "gpus": [entries.get(board.index) or left_out(board) for board in boards],
        "cpu": cpu_entry(cpu, host_share, idle_measured=host_share.idle is not None),
        "dram": dram_entry(cpu),
        "wall": wall_entry(trace, ended),
    }
    for sensor in sensors:
        sensor.close()
    if ended.error is not None:
        parts = {name: never_ran(part) for name, part in parts.items()}
    return Measurement(
        command=list(argv),
        start_monotonic_s=ended.start_s,
        end_monotonic_s=ended.end_s,
        duration_s=ended.end_s - ended.start_s,
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


def _boards(environ: Mapping[str, str]) -> tuple[list[nvml.Board], list[str]]:
    """The boards that the command can see, and why there are fewer than one might think."""
    problem = nvml.start()
    if problem is not None:
        return [], [f"no GPU is measured: {problem}"]
    found = nvml.boards()
    notes = []
    silent = (nvml.ask("nvmlDeviceGetCount") or 0) - len(found)
    if silent > 0:
        notes.append(f"boards that do not answer and are left out: {silent} of {silent + len(found)}")
    try:
        chosen = nvml.visible(environ, found)
    except MeasurementError as refused:
        return [], [*notes, f"no GPU is measured: {refused}"]
    if not chosen and found:
        notes.append(f"no GPU is measured: CUDA_VISIBLE_DEVICES={environ.get('CUDA_VISIBLE_DEVICES', '')!r} leaves none")
    return chosen, notes


def _lead_in(recorder: Recorder, gpus: Sequence[GpuSensor]) -> None:
    """Waits until every sensor was read once, and boards for a while: their power before the start says where it stepped."""
    begin_s = time.monotonic()
    _reach(recorder, begin_s + (_AROUND_S if gpus else 0.0), limit_s=1.0)


def _lead_out(recorder: Recorder, gpus: Sequence[GpuSensor], *, end_s: float, hz: float) -> None:
    """Waits until the boards' counters have moved after the command's end, so that its last moment lies between two updates."""
    slowest_s = max((sensor.calibration.period_s or 0.0 for sensor in gpus), default=0.0)
    _reach(recorder, end_s + (_AROUND_S + 1.3 * slowest_s if gpus else 0.0) + 2 / hz, limit_s=3 * max(slowest_s, 1 / hz) + 0.5)


def _rest(idle_s: float | None, *, signals: Signals) -> tuple[float, float] | None:
    """Waits for `idle_s` seconds; the interval, or None when there is none."""
    if idle_s is None:
        return None
    start_s = time.monotonic()
    signals.pause(idle_s)
    return start_s, time.monotonic()


def _reach(recorder: Recorder, moment_s: float, *, limit_s: float) -> None:
    """Waits until every sensor was read after a moment, at most `limit_s` seconds past it."""
    deadline_s = max(moment_s, time.monotonic()) + limit_s
    while recorder.running() and recorder.last_s() < moment_s and time.monotonic() < deadline_s:
        time.sleep(0.002)


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

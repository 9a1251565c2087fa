"""Energy of any command, like `time`: every visible GPU, the processors and the memory, from its start to its end."""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from greenray.config.settings import CpuModel
from greenray.gpu import registry
from greenray.gpu.base import Gpu, foreign_processes
from greenray.measure.run import Ended, run
from greenray.measure.signals import Signals
from greenray.power.cpu_reading import CpuReading, HostShare, idle_of, read_cpu
from greenray.power.estimate.energy import Energy
from greenray.power.gpu_reading import MOVED_BY, GpuReading, GpuSensor, calibrate, prepare_counter, read_gpu, under_load
from greenray.power.grade import grade_cpu, grade_gpu, worse
from greenray.power.host import allotted_cores, host_info, sees_all_processes
from greenray.power.rapl import powercap_root, survey
from greenray.power.recorder import Recorder
from greenray.power.sensors import Setup, open_sensors
from greenray.power.sharing import core_share
from greenray.power.trace import Series, Trace, readings
from greenray.power.window import read_wall

_PAUSED_S = 1.0  # without a sample: the machine slept, or this process was stopped
_BRIEF_IDLE_S = 0.5
_AROUND_S = 0.25  # recorded before and after the command where there is a GPU


def measure_command(argv: Sequence[str], *, signals: Signals, hz: float = 50.0, idle_s: float | None = None) -> dict[str, Any]:
    """Runs a command to its end and measures it; standard input, output and error are the command's.

    What cannot be measured never keeps the command from running: it is left out, and `notes` say so.

    Args:
        signals: those that this process holds back; who wants this process to end means the command.
        hz: sampling rate.
        idle_s: seconds of idle to measure before the command; None leaves idle power unknown, though processors with a meter are
            read for half a second: a meter's energy is divided by a power that was measured too.

    Returns plain data, what `greenray measure --json` writes; joules, None is unknown. `gpus` has an entry a GPU, whole and
    whoever used it; in `cpu` and `dram` energy_j is the command's share, `wall` is all of the host. total_energy_j is of the
    parts that energy_scope names, modelled_energy_j of it not metered. cpu_user_s and cpu_system_s are of what ended with the
    command or before it; what is still_running is counted up to its end. exit_code and error are as in `Ended`.

    Raises `Interrupted` when a signal came before the command was started.
    """
    model = CpuModel()
    gpus, notes = registry.visible(os.environ)
    root = powercap_root(os.environ)
    whole = [gpu for gpu in gpus if gpu.partitioned is None]
    sensors = open_sensors(Setup(gpus=whole, hz=hz, cpu_model=model, powercap_root=root))
    gpu_sensors = {sensor.gpu.uuid: sensor for sensor in sensors if isinstance(sensor, GpuSensor)}
    calibrate(list(gpu_sensors.values()))
    strangers = {gpu.uuid: (gpu.processes(), gpu.memory_held_bytes()) for gpu in whole}
    slowest_s = max((sensor.facts.period_s or 0.0 for sensor in gpu_sensors.values()), default=0.0)
    around_s = _AROUND_S if gpu_sensors else 0.0
    recorder = Recorder(sensors, hz=hz)
    recorder.start()
    try:
        # GPUs are read for a while before: their power then says where it stepped; after it, until their counters have moved, so
        # that the command's last moment lies between two updates.
        recorder.wait_past(time.monotonic() + around_s, limit_s=1.0)
        idle_from_s = time.monotonic()
        metered = any(sensor.part == "cpu" for sensor in sensors)
        signals.pause(idle_s or (_BRIEF_IDLE_S if metered else 0.0))
        rest = (idle_from_s, time.monotonic())
        idle = None if idle_s is None else rest
        recorder.mark()
        ended = run(argv, signals=signals)
        recorder.mark()
        after_s = around_s + MOVED_BY * slowest_s + 2 / hz
        recorder.wait_past(ended.end_s + after_s, limit_s=3 * max(slowest_s, 1 / hz) + 0.5)
    finally:
        recorder.stop()
    trace = recorder.trace()
    # The kernel tells the command's processor time at its end: nobody needs to sample it.
    used = readings([ended.start_s, ended.end_s], cpu_seconds=[0.0, ended.cpu_s])
    trace = replace(trace, series={**trace.series, "cpu:cell": Series(sensor="cpu:cell", part="activity", fast=used)})
    logical_cores = host_info().logical_cores
    host_share = HostShare(
        logical_cores=logical_cores,
        model=model,
        idle=idle_of(trace.part(*rest)),
        no_meter=survey(root).problem,
        modelled=core_share(logical_cores=logical_cores, allotted=allotted_cores(), boards=registry.boards(), workers=1),
    )
    cpu = read_cpu(trace, host_share, start_s=ended.start_s, end_s=ended.end_s)
    parts: dict[str, Any] = {
        "gpus": [
            _gpu_entry(gpu, gpu_sensors.get(gpu.uuid), trace, ended, idle=idle, before=strangers.get(gpu.uuid, (None, None)))
            for gpu in gpus
        ],
        "cpu": _cpu_entry(cpu, idle_s=idle_s),
        "dram": {**_ungraded_entry(cpu.dram), "source": None if cpu.dram.energy_j is None else "rapl"},
        "wall": _ungraded_entry(read_wall(trace, start_s=ended.start_s, end_s=ended.end_s)),
    }
    for one in sensors:
        one.close()
    if ended.error is not None:
        parts = {name: _never_ran(part) for name, part in parts.items()}
    return {
        "command": list(argv),
        "start_monotonic_s": ended.start_s,
        "end_monotonic_s": ended.end_s,
        "duration_s": ended.end_s - ended.start_s,
        "exit_code": ended.exit_code,
        **parts,
        **_total(parts),
        "cpu_user_s": ended.user_s,
        "cpu_system_s": ended.system_s,
        "still_running": len(ended.running),
        "logical_cores": host_share.logical_cores,
        "hz": hz,
        "error": ended.error,
        "notes": [*notes, *_surprises(trace, ended)],
    }


def _gpu_entry(
    gpu: Gpu,
    sensor: GpuSensor | None,
    trace: Trace,
    ended: Ended,
    *,
    idle: tuple[float, float] | None,
    before: tuple[list[int] | None, int | None],
) -> dict[str, Any]:
    """`sensor` is None for a GPU that cannot be read; `before` are the processes on it before the command, and what they held."""
    reading, idle_w = GpuReading(energy=Energy()), None
    if sensor is not None:
        series = trace.series[sensor.name]
        facts = under_load(sensor.facts, series.fast.within(ended.start_s, ended.end_s))
        counter = prepare_counter(series, facts, hz=trace.hz)
        reading = read_gpu(series, facts, start_s=ended.start_s, end_s=ended.end_s, hz=trace.hz, counter=counter)
        if idle is not None:
            idle_w = read_gpu(series, facts, start_s=idle[0], end_s=idle[1], hz=trace.hz, counter=counter).power_w
    now, (were, held_bytes) = gpu.processes(), before
    # The command had not started or has ended: whoever is on the GPU, but for what it left behind, is somebody else.
    pids = None if now is None else sorted({*now, *(were or ())})
    foreign = foreign_processes(
        pids=pids, ours=ended.running, uses_gpu=False, held_bytes=held_bytes, sees_all=sees_all_processes()
    )
    grade, reasons = grade_gpu(reading, foreign=foreign)
    if gpu.partitioned is not None:
        grade, reasons = None, [gpu.partitioned]
    energy_j = reading.energy.energy_j
    return {
        "index": gpu.index,
        "uuid": gpu.uuid,
        "name": gpu.name,
        "energy_j": energy_j,
        "source": reading.source,
        "error_j": reading.energy.error_j,
        "power_energy_j": reading.power.energy_j,
        "idle_w": idle_w,
        "active_energy_j": None if energy_j is None or idle_w is None else energy_j - idle_w * (ended.end_s - ended.start_s),
        "grade": grade,
        "reasons": reasons,
    }


def _cpu_entry(cpu: CpuReading, *, idle_s: float | None) -> dict[str, Any]:
    grade, reasons = grade_cpu(cpu)
    if idle_s is None and cpu.idle.source == "rapl" and cpu.source is not None:
        grade, reasons = worse(grade), [*reasons, f"idle power was read for {cpu.idle.seconds:.1f} s only; --idle S reads more"]
    return {
        "energy_j": cpu.energy.energy_j,
        "host_energy_j": cpu.host.energy_j,
        "source": cpu.source,
        "error_j": cpu.energy.error_j,
        "idle_w": None if idle_s is None or cpu.host_share.idle is None else cpu.idle.cpu_w,
        "cpu_seconds": cpu.cell_s,
        "neighbours_busy": cpu.neighbours_busy,
        "modelled_cores": cpu.host_share.counted.cores if cpu.source == "modelled" else None,
        "modelled_cores_by": cpu.host_share.counted.by if cpu.source == "modelled" else None,
        "grade": grade,
        "reasons": reasons,
    }


def _ungraded_entry(energy: Energy) -> dict[str, Any]:
    return {"energy_j": energy.energy_j, "error_j": energy.error_j, "reason": energy.reason}


def _never_ran(part: Any) -> Any:
    """Nothing was done, so nothing has cost anything: the entry with unknown energies."""
    if isinstance(part, list):
        return [_never_ran(entry) for entry in part]
    nothing = {name: None for name in part if name.endswith("_j") or name in ("source", "grade")}
    why = "the command did not run"
    reason: dict[str, Any] = {"reasons": [why]} if "reasons" in part else {"reason": why}
    return {**part, **nothing, **reason}


def _total(parts: Mapping[str, Any]) -> dict[str, Any]:
    """The sum over GPUs, processors and, where it is metered, memory; unknown as soon as one of them is."""
    scope = {"gpu": parts["gpus"], "cpu": [parts["cpu"]], "dram": [parts["dram"]] if parts["dram"]["source"] else []}
    energies = [entry["energy_j"] for entries in scope.values() for entry in entries]
    known = [energy_j for energy_j in energies if energy_j is not None]
    complete = len(known) == len(energies)
    modelled_j = parts["cpu"]["energy_j"] if parts["cpu"]["source"] == "modelled" else 0.0
    return {
        "total_energy_j": sum(known) if complete else None,
        "energy_scope": "+".join(name for name, entries in scope.items() if entries),
        "modelled_energy_j": modelled_j if complete else None,
    }


def _surprises(trace: Trace, ended: Ended) -> list[str]:
    """What a reader of the figures might not expect of this run."""
    notes = []
    if ended.running:
        count = len(ended.running)
        notes.append(f"{count} process{'es' if count > 1 else ''} of the command outlived it: counted up to its end only")
    read = (one.times for series in trace.series.values() for one in (series.fast, series.slow))
    times = next((times for times in read if len(times) > 2), None)
    if times is not None:
        # Whoever goes on after a stop may hear of the command's end before it takes the next sample.
        inside = times.clip(ended.start_s, ended.end_s)
        paused_s = float(sum(step for step in inside[1:] - inside[:-1] if step > _PAUSED_S))
        if paused_s:
            notes.append(f"nothing was sampled for {paused_s:.1f} s of it: it was stopped, or the machine slept")
    return notes

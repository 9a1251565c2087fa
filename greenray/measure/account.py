"""What a command cost, part by part: plain data with the fields that `greenray measure --json` writes."""

from collections.abc import Mapping, Sequence
from typing import Any

from greenray.gpu.foreign import foreign_processes
from greenray.gpu.nvidia import nvml
from greenray.gpu.nvidia.sensor import GpuSensor
from greenray.measure.run import Ended
from greenray.power.grade import grade_cpu, grade_gpu
from greenray.power.reading import CpuReading, HostShare, facts_of, prepare_counter, read_gpu, read_wall
from greenray.power.trace import Trace
from greenray.power.window import cpu_evidence, gpu_evidence


def board_entry(
    sensor: GpuSensor, trace: Trace, ended: Ended, *, idle: tuple[float, float] | None, strangers: Sequence[int] | None
) -> dict[str, Any]:
    series, facts = trace.series[sensor.name], facts_of(sensor)
    counter = prepare_counter(series, facts, hz=trace.hz)
    reading = read_gpu(series, facts, start_s=ended.start_s, end_s=ended.end_s, hz=trace.hz, counter=counter)
    idle_w = None
    if idle is not None:
        idle_w = read_gpu(series, facts, start_s=idle[0], end_s=idle[1], hz=trace.hz, counter=counter).power_w
    # The command had not started or has ended: whoever is on the board, but for what it left behind, is somebody else.
    now = sensor.board.processes()
    foreign = foreign_processes(
        pids=None if now is None else sorted({*now, *(strangers or ())}),
        ours=ended.running,
        uses_gpu=False,
        memory_before_bytes=None,
        memory_level_bytes=None,
    )
    evidence = gpu_evidence(reading, power_source=sensor.power_source, counter_missing=sensor.counter_missing, foreign=foreign)
    grade, reasons = grade_gpu(evidence)
    energy_j = reading.energy.energy_j
    duration_s = ended.end_s - ended.start_s
    return {
        "index": sensor.board.index,
        "uuid": sensor.board.uuid,
        "name": sensor.board.name,
        "energy_j": energy_j,
        "source": reading.source,
        "error_j": reading.energy.error_j,
        "power_energy_j": reading.power.energy_j,
        "idle_w": idle_w,
        "active_energy_j": None if energy_j is None or idle_w is None else energy_j - idle_w * duration_s,
        "grade": grade,
        "reasons": reasons,
    }


def left_out(board: nvml.Board) -> dict[str, Any]:
    names = ("energy_j", "source", "error_j", "power_energy_j", "idle_w", "active_energy_j", "grade")
    return {"index": board.index, "uuid": board.uuid, "name": board.name, **dict.fromkeys(names), "reasons": [nvml.IN_MIG_MODE]}


def cpu_entry(cpu: CpuReading, host_share: HostShare, *, idle_measured: bool) -> dict[str, Any]:
    grade, reasons = grade_cpu(cpu_evidence(cpu, host_share))
    return {
        "energy_j": cpu.energy.energy_j,
        "host_energy_j": cpu.host.energy_j,
        "source": cpu.source,
        "error_j": cpu.energy.error_j,
        "idle_w": cpu.idle_w if idle_measured else None,
        "cpu_seconds": cpu.cell_s,
        "neighbours_busy": cpu.neighbours_busy,
        "grade": grade,
        "reasons": reasons,
    }


def dram_entry(cpu: CpuReading) -> dict[str, Any]:
    known = cpu.dram.energy_j is not None
    return {
        "energy_j": cpu.dram.energy_j,
        "source": "rapl" if known else None,
        "error_j": cpu.dram.error_j,
        "reason": cpu.dram.reason,
    }


def wall_entry(trace: Trace, ended: Ended) -> dict[str, Any]:
    wall = read_wall(trace, start_s=ended.start_s, end_s=ended.end_s)
    return {"energy_j": wall.energy_j, "error_j": wall.error_j, "reason": wall.reason}


def never_ran(part: Any) -> Any:
    """Nothing was done, so nothing has cost anything: the entry with unknown energies."""
    if isinstance(part, list):
        return [never_ran(entry) for entry in part]
    nothing = {name: None for name in part if name.endswith("_j") or name in ("source", "grade")}
    why = "the command did not run"
    reason: dict[str, Any] = {"reasons": [why]} if "reasons" in part else {"reason": why}
    return {**part, **nothing, **reason}


def total(parts: Mapping[str, Any]) -> dict[str, Any]:
    """The sum over boards, processors and, where it is metered, memory; unknown as soon as one of them is."""
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

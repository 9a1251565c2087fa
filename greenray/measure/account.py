"""What a command cost, part by part: plain data with the fields that `greenray measure --json` writes."""

from collections.abc import Mapping
from typing import Any

from greenray.gpu.base import Gpu
from greenray.power.cpu_reading import CpuReading
from greenray.power.estimate.energy import Energy
from greenray.power.gpu_reading import GpuReading
from greenray.power.grade import grade_cpu, grade_gpu


def gpu_entry(gpu: Gpu, reading: GpuReading, *, idle_w: float | None, foreign: int | None, duration_s: float) -> dict[str, Any]:
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
        "active_energy_j": None if energy_j is None or idle_w is None else energy_j - idle_w * duration_s,
        "grade": grade,
        "reasons": reasons,
    }


def cpu_entry(cpu: CpuReading) -> dict[str, Any]:
    grade, reasons = grade_cpu(cpu)
    return {
        "energy_j": cpu.energy.energy_j,
        "host_energy_j": cpu.host.energy_j,
        "source": cpu.source,
        "error_j": cpu.energy.error_j,
        "idle_w": None if cpu.host_share.idle is None else cpu.idle_w,
        "cpu_seconds": cpu.cell_s,
        "neighbours_busy": cpu.neighbours_busy,
        "grade": grade,
        "reasons": reasons,
    }


def plain_entry(energy: Energy) -> dict[str, Any]:
    """Of a part without a grade."""
    return {"energy_j": energy.energy_j, "error_j": energy.error_j, "reason": energy.reason}


def dram_entry(cpu: CpuReading) -> dict[str, Any]:
    return {**plain_entry(cpu.dram), "source": None if cpu.dram.energy_j is None else "rapl"}


def never_ran(part: Any) -> Any:
    """Nothing was done, so nothing has cost anything: the entry with unknown energies."""
    if isinstance(part, list):
        return [never_ran(entry) for entry in part]
    nothing = {name: None for name in part if name.endswith("_j") or name in ("source", "grade")}
    why = "the command did not run"
    reason: dict[str, Any] = {"reasons": [why]} if "reasons" in part else {"reason": why}
    return {**part, **nothing, **reason}


def total(parts: Mapping[str, Any]) -> dict[str, Any]:
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

"""One window of one worker: the readings of all its parts, and the row of the `windows` table that they make."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from greenray.power.cpu_reading import CpuReading
from greenray.power.estimate.counter import counter_energy
from greenray.power.estimate.energy import Energy, power_energy, unknown
from greenray.power.gpu_reading import GpuReading
from greenray.power.grade import contended, grade_cpu, grade_gpu
from greenray.power.trace import Trace
from greenray.power.wall.plug import WallCheck, check_wall, plug_energy

NO_WALL_METER = unknown("no wall meter")
_GPU_COLUMNS = ("utilization", "power_w", "power_max_w", "temperature_start_c", "temperature_end_c")
_CONTENTION_COLUMNS = ("neighbours_busy", "steal", "cpu_pressure", "contention")
_CLOCK_COLUMNS = ("sm_clock_mhz", "sm_clock_min_mhz", "sm_clock_max_mhz", "clock_change", "throttle_reasons")


def read_wall(trace: Trace, *, start_s: float, end_s: float) -> Energy:
    """Energy at the plug, by a counter where a wall sensor has one, else by its power; `NO_WALL_METER` without such a sensor."""
    meters = trace.of_part("wall")
    if not meters:
        return NO_WALL_METER
    meter = meters[0]
    if np.isfinite(meter.period_s):
        return plug_energy(meter, start_s, end_s)
    if "counter_j" in meter.fast.columns:
        return counter_energy(meter.fast, hz=trace.hz).between(start_s, end_s)
    return power_energy(meter.fast, start_s, end_s, hz=trace.hz)


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowReading:
    """Energy of one window, part by part; of the GPU None on a host without one.

    `device`, cuda or cpu, says which part is the cell's main one, whose grade is the window's; `energy_scope` are the parts that
    a total counts, joined by +; `gpu_idle_w` is the GPU's power in this attempt's idle window, where one is known; `foreign` are
    other processes on it, None when that cannot be told.
    """

    device: str
    duration_s: float
    energy_scope: str
    cpu: CpuReading
    gpu: GpuReading | None = None
    gpu_uuid: str | None = None
    gpu_idle_w: float | None = None
    foreign: int | None = None
    wall: Energy = NO_WALL_METER

    @property
    def total_energy_j(self) -> float | None:
        """Energy of the parts in scope; None when one of them is unknown."""
        known_j = [energy.energy_j for energy in self._in_scope().values() if energy.energy_j is not None]
        return sum(known_j) if len(known_j) == len(self._in_scope()) else None

    @property
    def modelled_energy_j(self) -> float | None:
        """The part of the total that a model made up."""
        if self.total_energy_j is None:
            return None
        return self.cpu.energy.energy_j if self.cpu.source == "modelled" and "cpu" in self._in_scope() else 0.0

    @property
    def clock_change(self) -> str | None:
        """Why the GPU's clock was not of one level; None when it was, or cannot be told."""
        return None if self.gpu is None else self.gpu.clock_change

    @property
    def contention(self) -> str | None:
        """Why others took enough of the host's processors to matter; None when they did not, or it cannot be told."""
        return self.cpu.contention

    def row(self) -> dict[str, Any]:
        """The columns of `windows` that tell energy and grade."""
        active_j = self._active()
        in_scope = [active_j[name] for name in active_j if name in self._in_scope()]
        check = self._wall_check()
        grade, reasons = self._grade(check)
        cpu, gpu = self.cpu, self.gpu or GpuReading(energy=Energy())
        return {
            "gpu_uuid": self.gpu_uuid,
            "gpu_energy_j": gpu.energy.energy_j,
            "gpu_energy_source": gpu.source,
            "gpu_energy_error_j": gpu.energy.error_j,
            "gpu_power_energy_j": gpu.power.energy_j,
            "gpu_counter_updates": gpu.energy.updates,
            **{f"gpu_{name}": getattr(gpu, name) for name in _GPU_COLUMNS},
            **{name: getattr(gpu, name) for name in _CLOCK_COLUMNS},
            "gpu_idle_w": self.gpu_idle_w,
            "gpu_active_energy_j": active_j.get("gpu"),
            "cpu_energy_j": cpu.energy.energy_j,
            "cpu_energy_source": cpu.source,
            "cpu_energy_error_j": cpu.energy.error_j,
            "cpu_idle_w": self._idle_w()["cpu"],
            "modelled_cores": cpu.host_share.counted.cores if cpu.source == "modelled" else None,
            "modelled_cores_by": cpu.host_share.counted.by if cpu.source == "modelled" else None,
            "cpu_active_energy_j": active_j["cpu"],
            "cpu_apportioned": cpu.host_share.workers > 1,
            "dram_energy_j": cpu.dram.energy_j,
            "host_cpu_energy_j": cpu.host.energy_j,
            "host_dram_energy_j": None if cpu.host_dram is None else cpu.host_dram.energy_j,
            "wall_energy_j": self.wall.energy_j,
            "wall_energy_error_j": self.wall.error_j,
            "wall_parts": check.parts,
            "wall_parts_energy_j": check.parts_j,
            "wall_check": check.holds,
            "total_energy_j": self.total_energy_j,
            "energy_scope": self.energy_scope,
            "modelled_energy_j": self.modelled_energy_j,
            "active_energy_j": None if None in in_scope else sum(joules for joules in in_scope if joules is not None),
            "foreign_processes": self.foreign,
            **{name: getattr(cpu, name) for name in _CONTENTION_COLUMNS},
            "cpu_seconds": cpu.cell_s,
            "grade": grade,
            "grade_reasons": reasons,
        }

    def _parts(self) -> dict[str, Energy]:
        parts = {"cpu": self.cpu.energy, "dram": self.cpu.dram}
        return parts if self.gpu is None else parts | {"gpu": self.gpu.energy}

    def _in_scope(self) -> dict[str, Energy]:
        parts = self._parts()
        return {name: parts[name] for name in self.energy_scope.split("+")}

    def _active(self) -> dict[str, float | None]:
        """What is left of each part's energy without its idle power, J; slightly below 0 where a part did nothing."""
        # A cell's part of the host's idle power is the even one of the sharing rule; the GPU is the cell's alone.
        sharing = {"gpu": 1, "cpu": self.cpu.host_share.workers, "dram": self.cpu.host_share.workers}
        idle_w = {name: watts and watts / sharing[name] for name, watts in self._idle_w().items()}
        left_j: dict[str, float | None] = {}
        for name, energy in self._parts().items():
            watts = idle_w[name]
            left_j[name] = None if energy.energy_j is None or watts is None else energy.energy_j - watts * self.duration_s
        return left_j

    def _idle_w(self) -> dict[str, float | None]:
        """Idle power of each part, all of its host; None where nobody has measured or modelled it."""
        idle = self.cpu.idle
        known = idle.source != "inferred"
        return {"gpu": self.gpu_idle_w, "cpu": idle.cpu_w if known else None, "dram": idle.dram_w if known else None}

    def _grade(self, check: WallCheck) -> tuple[str | None, list[str]]:
        """The main part's grade; its reasons, and what else is not as it should be."""
        grade, reasons = grade_cpu(self.cpu)
        if self.device == "cuda":
            grade, reasons = None, ["no board is measured on this host"]
            if self.gpu is not None:
                # Its host feeds the board, and is part of the total.
                grade, reasons = contended(*grade_gpu(self.gpu, foreign=self.foreign), self.cpu.contention)
        main = "gpu" if self.device == "cuda" else "cpu"
        missing = {name: energy for name, energy in self._in_scope().items() if energy.energy_j is None and name != main}
        reasons += [f"{name}: {energy.reason}" for name, energy in missing.items()]
        if "dram" in self._in_scope() and self._idle_w()["dram"] is None:
            reasons.append("dram: its idle power is unknown, so workers share it evenly and nothing is active")
        if self.wall != NO_WALL_METER:
            reasons += [reason for reason in (self.wall.reason and f"wall: {self.wall.reason}", check.reason) if reason]
        return grade, reasons

    def _wall_check(self) -> WallCheck:
        """The host's metered parts against the plug: everybody's processors and memory, and of the GPUs this worker's."""
        if self.wall == NO_WALL_METER:
            return WallCheck()
        if self.cpu.idle.source == "modelled":
            return WallCheck(reason="wall check: the host's processors are not metered")
        parts = {"gpu": self.gpu.energy} if self.gpu is not None else {}
        parts["cpu"] = self.cpu.host
        if self.cpu.host_dram is not None:
            parts["dram"] = self.cpu.host_dram
        return check_wall(self.wall, parts)

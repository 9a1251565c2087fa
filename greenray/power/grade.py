"""How far a figure can be trusted: A to D, with what was missed in words."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from greenray.config.settings import CpuModel
from greenray.gpu.nvidia.sensor import SLOWDOWNS

AGREEMENT_A, AGREEMENT_B = 0.05, 0.10  # counter against power integral
ENOUGH_UPDATES = 50
STEADY_C = 5.0

_SLOWED = {
    "hw_slowdown": "by its hardware",
    "hw_power_brake_slowdown": "by the power brake of its host",
    "hw_thermal_slowdown": "too hot for its hardware",
    "sw_thermal_slowdown": "too hot for its driver",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuEvidence:
    """What a board's grade rests on. `energy_reason` says why energy_j is None, `power_reason` why power_energy_j is."""

    energy_j: float | None
    source: str | None
    energy_reason: str | None = None
    power_energy_j: float | None = None
    power_source: str | None = None
    power_reason: str | None = None
    updates: int | None = None
    throttle_reasons: Sequence[str] | None = field(default_factory=tuple)
    foreign_processes: int | None = None
    temperature_start_c: float | None = None
    temperature_end_c: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuEvidence:
    """What a host's grade rests on.

    Attributes:
        idle_known: whether idle power was measured, not assumed.
        model: what a modelled energy assumes.
        no_meter: why the host's processor is not metered, in words.
    """

    energy_j: float | None
    source: str | None
    energy_reason: str | None = None
    workers: int = 1
    idle_known: bool = True
    neighbours_busy: float | None = None
    logical_cores: int = 1
    model: CpuModel | None = None
    no_meter: str | None = None


def grade_gpu(evidence: GpuEvidence) -> tuple[str | None, list[str]]:
    """Grade and reasons of a board's energy; (None, why) when it is unknown."""
    if evidence.energy_j is None:
        return None, [evidence.energy_reason or "the board's energy is unknown"]
    missed: list[str] = []
    worst_c = False
    if evidence.source != "counter":
        worst_c = True
        missed.append(f"{evidence.energy_reason or 'the board has no energy counter'}, so its power is integrated")
        if evidence.power_source == "average":
            missed.append("power is a 1 s average")
    elif evidence.power_source not in ("gpu", "module"):
        missed.append("no instant power to compare the counter with")
    elif evidence.power_energy_j is None:
        missed.append(f"no power integral to compare the counter with ({evidence.power_reason})")
    else:
        apart = abs(evidence.power_energy_j - evidence.energy_j) / max(evidence.energy_j, 1e-9)
        if apart > AGREEMENT_A:
            worst_c = apart > AGREEMENT_B
            missed.append(f"counter and power integral are {apart * 100:.0f} % apart")
        if evidence.power_source == "module":
            missed.append("instant power is that of the whole module")
    if evidence.source == "counter" and (evidence.updates or 0) < ENOUGH_UPDATES:
        missed.append(f"only {evidence.updates or 0} counter updates, {ENOUGH_UPDATES} are needed")
    missed += _surroundings(evidence)
    return ("C" if worst_c or len(missed) > 1 else "B" if missed else "A"), missed


def _surroundings(evidence: GpuEvidence) -> list[str]:
    missed = []
    if evidence.throttle_reasons is None:
        missed.append("clock slowdowns cannot be told")
    else:
        slowed = sorted(SLOWDOWNS.intersection(evidence.throttle_reasons))
        if slowed:
            missed.append(f"the board was slowed down: {', '.join(f'{_SLOWED[name]} ({name})' for name in slowed)}")
    if evidence.foreign_processes is None:
        missed.append("other processes on the board cannot be told")
    elif evidence.foreign_processes:
        missed.append(f"other processes on the board: {evidence.foreign_processes}")
    start_c, end_c = evidence.temperature_start_c, evidence.temperature_end_c
    if start_c is None or end_c is None:
        missed.append("temperature is unknown")
    elif abs(end_c - start_c) > STEADY_C:
        missed.append(f"temperature went from {start_c:.0f} to {end_c:.0f} C")
    return missed


def grade_cpu(evidence: CpuEvidence) -> tuple[str | None, list[str]]:
    """Grade and reasons of a cell's processor energy; (None, why) when it is unknown."""
    if evidence.energy_j is None:
        return None, [evidence.energy_reason or "the processor's energy is unknown"]
    if evidence.source == "modelled":
        why = "" if evidence.no_meter is None else f" ({evidence.no_meter})"
        assumed = "" if evidence.model is None else f"; {evidence.model.assumption}"
        return "D", [f"processor energy is modelled from CPU time{why}{assumed}"]
    missed = []
    if evidence.workers > 1:
        missed.append(f"apportioned between {evidence.workers} workers")
    if not evidence.idle_known:
        missed.append("idle power was assumed, not measured")
    busy, allowed = evidence.neighbours_busy, max(0.25, 0.05 * evidence.logical_cores)
    if busy is None:
        missed.append("neighbours' activity is unknown")
    elif busy > allowed:
        missed.append(f"neighbours kept {busy:.1f} processors busy")
    return ("C" if len(missed) > 1 else "B" if missed else "A"), missed

"""How far a figure can be trusted: A to D, with what was missed in words."""

from greenray.gpu.base import SLOWDOWNS
from greenray.power.contention import contention
from greenray.power.cpu_reading import CpuReading
from greenray.power.gpu_reading import GpuReading

_WORSE = {"A": "B", "B": "C"}
AGREEMENT_A, AGREEMENT_B = 0.05, 0.10  # counter against power integral
_COUNTED = {
    "host": "",
    "allotted": ", for the {:g} of {} cores that may be used from here",
    "boards": ", for {:g} of {} cores: the share of the host's GPUs that is seen from here",
}
ENOUGH_UPDATES = 50
STEADY_C = 5.0


def grade_gpu(gpu: GpuReading, *, foreign: int | None) -> tuple[str | None, list[str]]:
    """Grade and reasons of a GPU's energy; (None, why) when it is unknown. `foreign`: other processes on it, None if unknown."""
    energy_j, power_source = gpu.energy.energy_j, gpu.facts.power_source
    why = gpu.energy.reason or gpu.facts.counter_missing
    if energy_j is None:
        return None, [why or "the board's energy is unknown"]
    missed: list[str] = []
    worst_c = False
    if gpu.source != "counter":
        worst_c = True
        missed.append(f"{why or 'the board has no energy counter'}, so its power is integrated")
        if power_source == "average":
            missed.append("power is a 1 s average")
    elif power_source not in ("gpu", "module"):
        missed.append("no instant power to compare the counter with")
    elif gpu.power.energy_j is None:
        missed.append(f"no power integral to compare the counter with ({gpu.power.reason})")
    else:
        apart = abs(gpu.power.energy_j - energy_j) / max(energy_j, 1e-9)
        if apart > AGREEMENT_A:
            worst_c = apart > AGREEMENT_B
            missed.append(f"counter and power integral are {apart * 100:.0f} % apart")
        if power_source == "module":
            missed.append("instant power is that of the whole module")
    if gpu.source == "counter" and (gpu.energy.updates or 0) < ENOUGH_UPDATES:
        missed.append(f"only {gpu.energy.updates or 0} counter updates, {ENOUGH_UPDATES} are needed")
    if gpu.throttle_reasons is None:
        missed.append("clock slowdowns cannot be told")
    elif slowed := sorted(set(SLOWDOWNS).intersection(gpu.throttle_reasons)):
        missed.append(f"the board was slowed down: {', '.join(f'{SLOWDOWNS[name]} ({name})' for name in slowed)}")
    if foreign is None:
        missed.append("other processes on the board cannot be told")
    elif foreign:
        missed.append(f"other processes on the board: {foreign}")
    start_c, end_c = gpu.temperature_start_c, gpu.temperature_end_c
    if start_c is None or end_c is None:
        missed.append("temperature is unknown")
    elif abs(end_c - start_c) > STEADY_C:
        missed.append(f"temperature went from {start_c:.0f} to {end_c:.0f} C")
    return ("C" if worst_c or len(missed) > 1 else "B" if missed else "A"), missed


def grade_cpu(cpu: CpuReading) -> tuple[str | None, list[str]]:
    """Grade and reasons of a cell's processor energy; (None, why) when it is unknown."""
    share = cpu.host_share
    if cpu.energy.energy_j is None:
        return None, [cpu.energy.reason or "the processor's energy is unknown"]
    if cpu.source == "modelled":
        why = "" if share.no_meter is None else f" ({share.no_meter})"
        sees = "CPU time cannot tell a thread that works from one that spins while it waits"
        counted = _COUNTED[share.counted.by].format(share.counted.cores, share.logical_cores)
        said = f"processor energy is modelled from CPU time{why}; {share.model.assumption}{counted}; {sees}"
        return contended("D", [said], cpu.contention)
    missed = []
    if share.workers > 1:
        missed.append(f"apportioned between {share.workers} workers")
    if cpu.idle.source == "inferred":
        missed.append(f"idle power was not measured, and for what neighbours took {share.model.assumption}")
    if cpu.neighbours_busy is None:
        missed.append("neighbours' activity is unknown")
    not_idle = contention(neighbours_busy=cpu.idle.busy, logical_cores=share.logical_cores)
    if not_idle is not None:
        missed.append(f"{not_idle} while idle power was read, so it is too high, and with it what counts as used here")
    return contended("C" if not_idle or len(missed) > 1 else "B" if missed else "A", missed, cpu.contention)


def contended(grade: str | None, reasons: list[str], contention: str | None) -> tuple[str | None, list[str]]:
    """The same of a window in which others took enough of the processors to matter: one worse, C at worst, and why."""
    return (grade, reasons) if contention is None else (worse(grade), [*reasons, contention])


def worse(grade: str | None) -> str | None:
    return _WORSE.get(grade or "", grade)

"""Which saving is real: what the GPU's meter alone shows beside the whole scope, in sentences, by data alone."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

from greenray.analysis import applied
from greenray.analysis.arms import Arm
from greenray.analysis.devices import Side, SideBySide
from greenray.analysis.sentences import listed
from greenray.analysis.stats import Estimate
from greenray.analysis.wording import number

_NAMED = 3
_TIMES_FROM = 1.5
"""From this ratio on it is said how many times as much."""
_REAL = {
    "less": "that saving is real",
    "same": "no saving is shown there",
    "more": "the saving is the GPU's meter's alone",
}


def gpu_only_sentences(rows: Iterable[SideBySide]) -> list[str]:
    """Clear changes of the GPU's energy in arms on the CPU, with what the whole scope says; models alike are said together."""
    groups: dict[tuple[str, str, str, bool | None], list[SideBySide]] = defaultdict(list)
    for row in rows:
        if row.cpu is not None and (gpu := _way(row.cpu.gpu.energy)) in ("less", "more"):
            whole = _way(row.cpu.effect.energy)
            if whole is not None:
                groups[row.tactic, gpu, whole, row.cpu.gpu.idle].append(row)
    return [_gpu_only(tactic, members, gpu, whole, idle) for (tactic, gpu, whole, idle), members in groups.items()]


def _gpu_only(tactic: str, rows: Sequence[SideBySide], gpu: str, whole: str, idle: bool | None) -> str:
    sides = [row.cpu for row in rows if row.cpu is not None]
    power = ""
    if idle is not None:
        drew, idled = (_watts([getattr(side.gpu, name) for side in sides]) for name in ("power_w", "idle_w"))
        power = f" (the board drew {drew}, and {idled} when idle)"
    why = f" because an idle board idled for a {'shorter' if gpu == 'less' else 'longer'} time" if idle else ""
    verb = "falls" if gpu == "less" else "rises"
    size = _size(side.gpu.energy for side in sides)
    verdict = f": {_REAL[whole]}" if gpu == "less" else ""
    if verdict and whole == "less" and _modelled(sides):
        verdict = ": no meter says whether that saving is real"
    return (
        f"{tactic} on the CPU, {_on(rows)}: GPU energy {verb} by {size}{why}{power}; "
        f"over the whole scope ({_scopes(sides)}) it {_whole(sides, whole)}{verdict}."
    )


def across_sentences(rows: Iterable[SideBySide]) -> list[str]:
    """A tactic that has no arm on CUDA against the baseline there: no comparison of a tactic, and yet what may be published."""
    groups: dict[tuple[str, str, str], list[SideBySide]] = defaultdict(list)
    for row in (one for one in rows if one.cuda is None):
        gpu, whole = _way(row.across_gpu), _way(row.across)
        if gpu is not None and whole is not None:
            groups[row.tactic, gpu, whole].append(row)
    said = []
    for (tactic, gpu, whole), members in groups.items():
        seems, is_ = _ways(gpu, [row.across_gpu for row in members]), _ways(whole, [row.across for row in members])
        by = " as estimated from CPU time" if _modelled(row.cpu for row in members if row.cpu is not None) else ""
        said.append(
            f"{tactic} on the CPU against the baseline on CUDA, {_on(members)}: {seems} by the GPU's meter, "
            f"{'but' if gpu != whole else 'and'} {is_} over the whole scope{by}; the device changes with the tactic there, so "
            "it is no effect of the tactic."
        )
    return said


def missing_sentences(rows: Iterable[SideBySide], arms: Iterable[Arm]) -> list[str]:
    """Tactics that have an arm on one device only though the other was asked for, with what became of it there."""
    reasons: dict[tuple[str, str, str], dict[str, None]] = defaultdict(dict)
    for cell in (arm.cell for arm in arms if arm.cell["status"] in ("unsupported", "not_applied")):
        reasons[cell["tactic"], cell["device"], cell["model"]][str(cell["error"] or cell["status"]).rstrip(".")] = None
    there: set[tuple[str, str]] = set()
    found: dict[tuple[str, str], list[SideBySide]] = defaultdict(list)
    for row in rows:
        for device, side, other in (("cpu", row.cpu, row.cuda), ("cuda", row.cuda, row.cpu)):
            if side is not None:
                there.add((row.tactic, device))
            elif other is not None and (row.tactic, device, other.effect.subject.model) in reasons:
                found[row.tactic, device].append(row)
    said = []
    for (tactic, device), members in found.items():
        models = dict.fromkeys(side.effect.subject.model for row in members for side in row.sides)
        why = dict.fromkeys(reason for model in models for reason in reasons[tactic, device, model])
        where = f" {_names(members)}" if (tactic, device) in there else ""  # it may have one on other models
        said.append(f"{tactic} has no {'CPU' if device == 'cpu' else 'CUDA'} arm{where} ({'; '.join(list(why)[:2])}).")
    return said


def _way(estimate: Estimate | None) -> str | None:
    """less, same or more; None where nothing may be claimed."""
    if estimate is None or estimate.clear is None:
        return None
    return "same" if not estimate.clear else "less" if estimate.ratio < 1 else "more"


def _ways(way: str, estimates: Sequence[Estimate | None]) -> str:
    if way == "same":
        return "no clear difference"
    ratios = [estimate.ratio for estimate in estimates if estimate is not None]
    if min(ratios) >= _TIMES_FROM:
        return f"{_range(ratios, lambda ratio: f'{ratio:.1f}')} times the energy"
    return f"{_size(estimates)} {way}"


def _whole(sides: Sequence[Side], way: str) -> str:
    verbs = ("use", "make")
    uses, makes = (f"is estimated from CPU time to {verb}" if _modelled(sides) else f"{verb}s" for verb in verbs)
    return f"{makes if way == 'same' else uses} {_ways(way, [side.effect.energy for side in sides])}"


def _modelled(sides: Iterable[Side]) -> bool:
    return any(side.effect.modelled for side in sides)


def _size(estimates: Iterable[Estimate | None]) -> str:
    return f"{_range([abs(one.percent) for one in estimates if one is not None], lambda size: f'{size:.0f}')} %"


def _watts(powers: Sequence[float | None]) -> str:
    return f"{_range([power for power in powers if power is not None], lambda power: number(power, digits=2))} W"


def _range(values: Sequence[float], shown: Callable[[float], str]) -> str:
    return " to ".join(dict.fromkeys((shown(min(values)), shown(max(values)))))


def _scopes(sides: Sequence[Side]) -> str:
    return listed(sorted({side.effect.subject.scope for side in sides}))


def _on(rows: Sequence[SideBySide]) -> str:
    """On which models, and to which of them the tactic was hardly applied."""
    few = applied.hardly_on((row.label, row.sides[0].effect) for row in rows)
    return f"{_names(rows)}{f', {few}' if few else ''}"


def _names(rows: Sequence[SideBySide]) -> str:
    names = [row.label for row in rows]
    return f"on {listed(names if len(names) <= _NAMED + 1 else [*names[:_NAMED], f'{len(names) - _NAMED} more'])}"

"""Findings as sentences. One place, so that terminal, page and headline say the same.

A change is called clear where its interval leaves out "no difference", and nothing is claimed where there is no interval.
"""

from collections.abc import Iterable, Mapping, Sequence

from greenray.analysis import applied
from greenray.analysis.accuracy import AccuracyChange
from greenray.analysis.cost import BreakEven
from greenray.analysis.effects import ModelEffect
from greenray.analysis.stats import Estimate
from greenray.analysis.wording import (
    common,
    decimals,
    in_settings,
    plural,
    quality,
    round_count,
    shows,
    signed,
    span,
    verdict,
    windows_did,
)

_STATUSES = {
    "not_applied": "was not applied",
    "unsupported": "is unsupported",
    "oom": "ran out of memory",
    "timeout": "ran out of time",
}


def model_sentence(label: str, effect: ModelEffect, accuracy: AccuracyChange | None, pay_back: BreakEven) -> str:
    """One tactic on one model: energy, quality, pay-back."""
    energy = effect.energy
    if energy is None:
        clauses = [f"has no comparison of energy ({'; '.join(effect.flags) or 'no figures'})"]
    else:
        clauses = [f"{change(energy, effect.unit, modelled=effect.modelled)} ({figure(energy)}{_basis(effect, energy)})"]
    if accuracy is not None:
        clauses.append(_accuracy_clause(accuracy))
    if energy is not None and energy.clear is not None and effect.subject.phase == "inference":
        clauses.append(_pay_back_clause(energy, pay_back, effect.unit))
    few = applied.hardly(effect)
    return f"{label}: {effect.tactic}{f', {few},' if few else ''} {', '.join(clauses)}."


Member = tuple[str, ModelEffect, AccuracyChange | None]
"""Label of the model, what a tactic does to it, and to its quality."""


def clear_on_many(tactic: str, members: Sequence[Member]) -> str:
    """One tactic, once for many models on which it clearly does the same, largest saving first; each stands in the tables."""
    effects, energies = [e for _, e, _ in members], [e.energy for _, e, _ in members if e.energy is not None]
    uses = "is estimated from CPU time to use" if any(effect.modelled for effect in effects) else "uses"
    sizes = dict.fromkeys(f"{size:.{_finest(energies)}f}" for size in sorted(abs(energy.percent) for energy in energies))
    least, most = next(iter(sizes)), list(sizes)[-1]
    size = f"{least} to {most} %" if len(sizes) > 1 else f"{most} %"
    way = "less" if energies[0].ratio < 1 else "more"
    names = [label for label, _, _ in members]
    named = listed([*names[:3], f"{len(names) - 3} more"])
    rounds = sorted(effect.rounds for effect in effects)
    sure = f"intervals {_within(energies)}, {' to '.join(dict.fromkeys((str(rounds[0]), str(rounds[-1]))))} rounds"
    models = len({effect.subject[3:6] for effect in effects})  # a label may also name a batch size, a device, ...
    which = f"on {in_settings(len(members), models=models)} ({named}; {sure})"
    return f"{tactic} {uses} {size} {way} energy per {effects[0].unit} {which}{_costs(members, ', ')}{_few(members)}."


def not_clear(tactic: str, members: Sequence[Member]) -> str:
    """One tactic, once for all models on which its interval holds "no difference", or on which nothing can be compared."""
    effects, names = [effect for _, effect, _ in members], listed(label for label, _, _ in members)
    energies = [effect.energy for effect in effects if effect.energy is not None]
    if not energies:
        return f"{tactic}: no comparison of energy on {names} ({'; '.join(effects[0].flags) or 'no figures'})."
    kind = f"energy per {effects[0].unit}{', estimated from CPU time,' if any(e.modelled for e in effects) else ''}"
    within = f"interval{'s' if len(energies) > 1 else ''} {_within(energies)}"
    return f"{tactic}: no clear difference to {kind} on {names} ({_figures(energies)}, {within}){_costs(members)}{_few(members)}."


def no_interval(tactics: Mapping[str, Sequence[Member]]) -> str:
    """Tactics that say nothing on the same models for the same reason."""
    members = [member for of in tactics.values() for member in of]
    effects = [effect for _, effect, _ in members]
    spread = max((effect.spread for effect in effects if effect.spread is not None), default=None)
    why = next(effect.energy.basis for effect in effects if effect.energy is not None)
    windows = "".join(f"; {said}" for said in windows_did(spread, several=True))
    by = "estimated from CPU time" if any(effect.modelled for effect in effects) else "measured"
    figures = (
        f"{tactic} {_figures([e.energy for _, e, _ in of if e.energy is not None])}{_costs(of, ' (', ')')}{_few(of, ' (', ')')}"
        for tactic, of in tactics.items()
    )
    return (
        f"{listed(label for label, _, _ in members)}: {why}, no interval, so nothing is claimed{windows}. "
        f"Energy per {effects[0].unit} as {by}: {', '.join(figures)}."
    )


def _costs(members: Sequence[Member], before: str = "; ", after: str = "") -> str:
    """What is lost of shares, where it is more than a point: it counts though the energy tells nothing."""
    lost = [c for _, _, c in members if c is not None and c.measure.share and shows(c) and verdict(c) == "worse"]
    worst = max((abs(change.difference) for change in lost), default=0.0)
    names = common((change.measure.name for change in lost), "quality")
    return f"{before}costs {'up to ' if len(members) > 1 else ''}{worst:.1f} points of {names}{after}" if worst > 1 else ""


def _few(members: Sequence[Member], before: str = "; ", after: str = "") -> str:
    """On which of the models the tactic was hardly applied."""
    said = applied.hardly_on((label, effect) for label, effect, _ in members)
    return f"{before}{said}{after}" if said else ""


def without_result(tactic: str, status: str, reason: str, failed: int, rounds: int, *, models: Sequence[str]) -> str:
    """What happened, and in how many of its rounds where others went better."""
    often = f" in {failed} of {rounds} rounds" if failed < rounds else ""
    return f"{', '.join(models)}: {tactic} {_STATUSES.get(status, status)}{often} ({reason})."


def listed(names: Iterable[str]) -> str:
    """a, b and c."""
    *most, last = dict.fromkeys(names)
    return f"{', '.join(most)} and {last}" if most else last


def change(estimate: Estimate, unit: str, *, modelled: bool) -> str:
    """The verb phrase; an energy that a model made up is never called used or saved, and one without interval claims nothing."""
    uses, makes = (f"is estimated from CPU time to {verb}" if modelled else f"{verb}s" for verb in ("use", "make"))
    if estimate.clear is False:
        return f"{makes} no clear difference to energy per {unit}"
    if estimate.clear is None:
        uses = "was estimated from CPU time at" if modelled else "measured"
    if estimate.ratio >= 2:
        return f"{uses} {estimate.ratio:.1f} times the energy per {unit}"
    size = f"{abs(estimate.percent):.{decimals(estimate)}f} %"
    return f"{uses} {size} {'less' if estimate.ratio <= 1 else 'more'} energy per {unit}"


def percent(estimate: Estimate) -> str:
    """Its change without its interval."""
    return f"{signed(estimate.percent, decimals=decimals(estimate))} %"


def figure(estimate: Estimate) -> str:
    """The figure itself, where the sentence does not say it."""
    return f"{percent(estimate)}, " if estimate.clear is False else ""


def _finest(estimates: Iterable[Estimate]) -> int:
    return max(decimals(estimate) for estimate in estimates)


def _figures(estimates: Sequence[Estimate]) -> str:
    """Lowest to highest change."""
    ends = (min(e.percent for e in estimates), max(e.percent for e in estimates))
    return " to ".join(dict.fromkeys(signed(end, decimals=_finest(estimates)) for end in ends)) + " %"


def _within(estimates: Sequence[Estimate]) -> str:
    """What all of their intervals lie within."""
    ends = [end for estimate in estimates for end in (estimate.low, estimate.high) if end is not None]
    low, high = (signed((end - 1) * 100, decimals=_finest(estimates)) for end in (min(ends), max(ends)))
    return f"within {low} to {high} %"


def _basis(effect: ModelEffect, estimate: Estimate) -> str:
    half = estimate.half_width_points
    if half is None:
        return "; ".join([f"{estimate.basis}: no interval, nothing is claimed", *windows_did(effect.spread)])
    if estimate.percent - half <= -100:  # no ± can be read so: nothing uses less than nothing
        return f"{estimate.basis}, {span(estimate)} %"
    return f"{estimate.basis}, ±{half:.{decimals(estimate)}f}"


def _accuracy_clause(change: AccuracyChange) -> str:
    measure, size = change.measure, f"{abs(change.difference):.1f}"
    on = "" if change.samples is None else f"on {change.samples:,} {plural(change.unit)}"
    before, after = quality(measure, change.baseline), quality(measure, change.tactic)
    changed = shows(change)
    clause = f"leaves {measure.name} as it was"
    if changed and measure.share and measure.higher_is_better:
        clause = f"{'costs' if change.difference < 0 else 'gains'} {size} points of {measure.name}"
    elif changed:
        verb = "raises" if change.difference > 0 else "lowers"
        how = f"by {size} points" if measure.share else f"from {before} to {after}"
        clause = f"{verb} {measure.name} {how}, which is {verdict(change)}"
    if change.distinguishable is None:
        return f"{clause} ({on}{', ' if on else ''}not compared pairwise)"
    return f"{clause} ({'' if change.distinguishable or not changed else 'not distinguishable from none '}{on})"


def _pay_back_clause(energy: Estimate, pay_back: BreakEven, unit: str) -> str:
    if energy.clear is False:
        return "and has no saving to pay back with"
    if isinstance(pay_back, int):
        return f"pays back after {round_count(pay_back)} {plural(unit)}"
    return {"at once": "pays back at once", "never": "never pays back", "unknown": "pay-back unknown"}[pay_back]

"""The findings in short: the best tactic of each model, what is clear, and what is not, each said once."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from greenray.analysis import applied, sentences
from greenray.analysis.accuracy import AccuracyChange
from greenray.analysis.arms import Arm
from greenray.analysis.effects import NULL_CHECK
from greenray.analysis.findings import Finding, Key
from greenray.analysis.overall import OverallEffect
from greenray.analysis.wording import count, span
from greenray.errors import NOT_TRIED
from greenray.tasks.base import QualityMeasure

ACCURACY_LIMIT_POINTS = 1.0
"""A tactic that loses more of a share than this, by the samples evaluated, is no model's best."""

MANY_MODELS = 4
"""On more models than these a tactic's clear effects are one sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Best:
    """The tactic that clearly saves a model most energy within the limit; None where there is none, and `why`."""

    label: str
    finding: Finding | None
    why: str = ""


def within_limit(change: AccuracyChange | None) -> bool:
    """Whether what is lost in quality is known to be bearable: of a share a point at most, of any other number nothing."""
    if change is None:
        return False
    lost = -change.difference if change.measure.higher_is_better else change.difference
    return lost <= (ACCURACY_LIMIT_POINTS + 1e-9 if change.measure.share else 0)


def limit(measures: Iterable[QualityMeasure]) -> str:
    """The same limit in words, for these measures; empty without any."""
    of = list(measures)
    shares, others = (list(dict.fromkeys(m.name for m in of if m.share is share)) for share in (True, False))
    points = f"{ACCURACY_LIMIT_POINTS:g} point{'' if ACCURACY_LIMIT_POINTS == 1 else 's'}"
    said = [f"losing at most {points} of {' or '.join(shares)}"] if shares else []
    return ", ".join([*said, *([f"without a worse {' or '.join(others)}"] if others else [])])


def without_null_check(findings: Iterable[Finding]) -> list[Finding]:
    """The findings about tactics: the null check is none."""
    return [finding for finding in findings if finding.tactic != NULL_CHECK]


def best_by_model(findings: Iterable[Finding]) -> list[Best]:
    """A row for each model and phase, in the order of the findings."""
    groups: dict[tuple[str, str], list[Finding]] = defaultdict(list)
    for finding in without_null_check(findings):
        groups[finding.label, finding.effect.subject.phase].append(finding)
    return [_best(label, members) for (label, _), members in groups.items()]


def _best(label: str, findings: Sequence[Finding]) -> Best:
    known = [(f.effect.energy, f) for f in findings if f.effect.energy is not None]
    savings = [(energy.ratio, f) for energy, f in known if energy.clear and energy.ratio < 1]
    allowed = [(ratio, f) for ratio, f in savings if within_limit(f.accuracy)]
    if allowed:
        return Best(label=label, finding=min(allowed, key=lambda pair: pair[0])[1])
    if savings:
        unknown = any(f.accuracy is None for _, f in savings)
        return Best(label=label, finding=None, why="quality unknown" if unknown else "none within the limit")
    if any(energy.clear is not None for energy, _ in known):
        return Best(label=label, finding=None, why="none is clear")
    return Best(label=label, finding=None, why=f"not told: {known[0][0].basis}" if known else "unknown")


def clear(findings: Iterable[Finding]) -> list[str]:
    """Effects whose interval leaves out "no difference", largest savings first; a tactic that does the same to many models is
    said once."""
    groups: dict[tuple[object, ...], list[tuple[float, Finding]]] = defaultdict(list)
    for finding in without_null_check(findings):
        energy = finding.effect.energy
        if energy is not None and energy.clear:
            alike = (finding.tactic, finding.effect.unit, finding.effect.modelled, finding.effect.subject.phase, energy.ratio < 1)
            groups[alike].append((energy.ratio, finding))
    said: list[tuple[float, str]] = []
    for members in groups.values():
        members.sort(key=lambda pair: pair[0])
        if len(members) > MANY_MODELS:
            ratio, first = members[0]
            said.append((ratio, sentences.clear_on_many(first.tactic, _members(finding for _, finding in members))))
        else:
            said += [(ratio, finding.sentence) for ratio, finding in members]
    return [sentence for _, sentence in sorted(said, key=lambda pair: pair[0])]


def not_clear(findings: Iterable[Finding]) -> list[str]:
    """All others: one sentence for a tactic whose intervals hold "no difference", and one for tactics without an interval on the
    same models for the same reason."""
    groups: dict[tuple[object, ...], list[Finding]] = defaultdict(list)
    blank: dict[tuple[str, str], list[Finding]] = defaultdict(list)
    for finding in without_null_check(findings):
        effect, energy = finding.effect, finding.effect.energy
        if energy is None:
            groups[finding.tactic, effect.flags].append(finding)
        elif energy.clear is None:
            blank[energy.basis, finding.tactic].append(finding)
        elif not energy.clear:
            groups[finding.tactic, effect.unit, effect.modelled].append(finding)
    alike: dict[tuple[object, ...], dict[str, list[sentences.Member]]] = defaultdict(dict)
    for (basis, tactic), of in blank.items():
        alike[basis, tuple(one.label for one in of)][tactic] = _members(of)
    return [
        *(sentences.not_clear(of[0].tactic, _members(of)) for of in groups.values()),
        *(sentences.no_interval(of) for of in alike.values()),
    ]


def _members(findings: Iterable[Finding]) -> list[sentences.Member]:
    return [(finding.label, finding.effect, finding.accuracy) for finding in findings]


def without_result(cells: Sequence[Arm], names: Mapping[Key, str]) -> list[str]:
    """Why cells have no result, and in how many of their rounds; one sentence for all models that share a tactic, a status, a
    reason and these rounds."""
    repeated: dict[tuple[str, ...], list[Arm]] = defaultdict(list)
    for arm in cells:
        cell = arm.cell
        same = (cell["repeated_id"],) if cell["repeated_id"] else (names[arm.key], cell["tactic"], cell["phase"])
        repeated[cell["sweep"], *same].append(arm)
    groups: dict[tuple[str, str, str, int, int], dict[str, None]] = defaultdict(dict)
    for members in repeated.values():
        failed: dict[tuple[str, str], list[Arm]] = defaultdict(list)
        # A visit whose board was refused begins again elsewhere, with baselines of its own: of those no round is without.
        made_good = {(arm.cell["round"], arm.cell["bracket"]) for arm in members if arm.ok and arm.cell["bracket"]}
        for arm in members:
            if not arm.ok and (arm.cell["round"], arm.cell["bracket"]) not in made_good:
                reason = str(arm.cell["error"] or "no reason was written down").strip().rstrip(".")
                if reason.startswith(f"{NOT_TRIED} ("):
                    reason = reason.removeprefix(f"{NOT_TRIED} (").removesuffix(")")
                failed[arm.cell["status"], reason].append(arm)
        for what, arms in failed.items():
            groups[arms[0].cell["tactic"], *what, _rounds(arms), _rounds(members)][names[arms[0].key]] = None
    return [sentences.without_result(*what, models=list(models)) for what, models in groups.items()]


def _rounds(arms: Iterable[Arm]) -> int:
    return len({arm.cell["round"] for arm in arms})


def over_models(effects: Sequence[OverallEffect]) -> list[str]:
    """One for each tactic with an interval over models; one for all that have none for the same reason."""
    said, blank = [], defaultdict(list)
    for effect in effects:
        models = f"{count(effect.models, 'model')} of {count(effect.families, 'family')}{effect.context(effects)}"
        if effect.energy is not None and effect.energy.low is not None:
            what = sentences.change(effect.energy, effect.unit, modelled=effect.modelled)
            figure = sentences.figure(effect.energy)
            few = f"; {applied.MARK} to {count(effect.hardly, 'model')}" if effect.hardly else ""
            said.append(f"Over {models}: {effect.tactic} {what} ({figure}95 % interval {span(effect.energy)} %{few}).")
        else:
            why = effect.energy and f"no interval ({effect.energy.basis}), nothing is claimed"
            blank[models, why or "no comparison of energy", effect.unit, effect.modelled].append(effect)
    for (models, why, unit, modelled), members in blank.items():
        marks = {m.tactic: f" ({applied.MARK} to {m.hardly} of {m.models})" if m.hardly else "" for m in members}
        figures = ", ".join(
            (f"{m.tactic} {sentences.percent(m.energy)}" if m.energy else m.tactic) + marks[m.tactic] for m in members
        )
        by = f"; energy per {unit}{' by CPU time' if modelled else ''}" if any(m.energy for m in members) else ""
        said.append(f"On these models ({models}): {why}{by}: {figures}.")
    return said

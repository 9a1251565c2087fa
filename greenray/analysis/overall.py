"""What a tactic does to models as such: geometric means over family means, on the same hardware.

Near-duplicate checkpoints are not independent, so a family counts once. The interval is a t interval on the families' log ratios
with families - 1 degrees of freedom; it needs three families, and an interval of every model by itself. Nothing is added to it
for the intervals of the models: what they are unsure of is in the scatter of the families already. (Simulated with 3, 12 and 42
families, 3 and 5 rounds, normal, heavy-tailed and unequal noise: the plain interval holds the mean of the population of models
in 94-97 %; one that is never narrower than the models' own make it, in up to 100 %.)
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import NamedTuple

from greenray.analysis import applied, stats
from greenray.analysis.effects import NULL_CHECK, ModelEffect

MIN_FAMILIES = 3
MIN_FAMILIES_FOR_TEST = 8


class Group(NamedTuple):
    sweep: str
    phase: str
    task: str
    batch_size: int
    device: str
    hardware: str
    scope: str
    stage: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OverallEffect:
    """A tactic over the models of a group; `hardly` of them it was hardly applied to."""

    group: Group
    tactic: str
    unit: str
    models: int
    families: int
    energy: stats.Estimate | None
    time: stats.Estimate | None
    modelled: bool
    wilcoxon_p: float | None
    cliffs_delta: float | None
    hardly: int = 0

    def context(self, others: Iterable["OverallEffect"]) -> str:
        """What tells this group of models from the others, if there are others."""
        said = {"sweep": "sweep ", "batch_size": "batch ", "stage": "stage "}
        groups = {other.group for other in others}
        differing = [name for name in Group._fields if name != "task" and len({getattr(group, name) for group in groups}) > 1]
        return "".join(f", {said.get(name, '')}{found}" for name in differing if (found := getattr(self.group, name)))


def overall_effects(effects: Iterable[ModelEffect]) -> list[OverallEffect]:
    """Tactics over models, the null check left out; of a single model its own line says it all."""
    groups: dict[Group, dict[str, list[ModelEffect]]] = defaultdict(lambda: defaultdict(list))
    for effect in (one for one in effects if one.tactic != NULL_CHECK):
        group = Group(*(getattr(effect.subject, name) for name in Group._fields))
        groups[group][effect.tactic].append(effect)
    found: list[OverallEffect] = []
    for group, tactics in sorted(groups.items()):
        several = {tactic: members for tactic, members in sorted(tactics.items()) if len({m.subject for m in members}) > 1}
        tests = _tests(several)
        for tactic, members in several.items():
            energies = _by_family(members, "energy")
            wilcoxon_p, cliffs_delta = tests.get(tactic, (None, None))
            overall = OverallEffect(
                group=group,
                tactic=tactic,
                unit=members[0].unit,
                models=len({m.subject[3:6] for m in members}),
                families=len(energies),
                energy=_over_families(energies),
                time=_over_families(_by_family(members, "time")),
                modelled=any(m.modelled for m in members),
                wilcoxon_p=wilcoxon_p,
                cliffs_delta=cliffs_delta,
                hardly=len({m.subject[3:6] for m in members if applied.is_hardly(m)}),
            )
            found.append(overall)
    return found


def _by_family(members: Sequence[ModelEffect], ratio: str) -> list[list[stats.Estimate]]:
    families: dict[str, list[stats.Estimate]] = defaultdict(list)
    for member in members:
        if (found := getattr(member, ratio)) is not None:
            families[member.subject.model_family].append(found)
    return [families[family] for family in sorted(families)]


def _means(families: Sequence[Sequence[stats.Estimate]]) -> list[float]:
    return [fmean(math.log(found.ratio) for found in family) for family in families]


def _over_families(families: Sequence[Sequence[stats.Estimate]]) -> stats.Estimate | None:
    if not families:
        return None
    log_ratios = _means(families)
    blank = [found.basis for family in families for found in family if found.low is None]
    if blank:
        why = blank[0] if len(set(blank)) == 1 else "too few rounds on a quiet host"
        of = "each model" if len(blank) == sum(map(len, families)) else f"{len(blank)} of {sum(map(len, families))} models"
        return stats.estimate(fmean(log_ratios), None, basis=f"{why} of {of}")
    if len(families) < MIN_FAMILIES:
        return stats.estimate(fmean(log_ratios), None, basis=f"under {MIN_FAMILIES} families")
    half = stats.t_quantile(len(families) - 1) * stdev(log_ratios) / math.sqrt(len(families))
    return stats.estimate(fmean(log_ratios), half, basis=f"{len(families)} model families")


def _tests(tactics: dict[str, list[ModelEffect]]) -> dict[str, tuple[float, float]]:
    """Wilcoxon signed-rank p (Holm over the group's tactics) and Cliff's delta, from eight families that have an interval."""
    families = {tactic: _by_family(members, "energy") for tactic, members in tactics.items()}
    by_tactic = {tactic: _means(of) for tactic, of in families.items() if all(one.low for each in of for one in each)}
    tested = {tactic: stats.wilcoxon_p(ratios) for tactic, ratios in by_tactic.items() if len(ratios) >= MIN_FAMILIES_FOR_TEST}
    found = {}
    for tactic, p_value in zip(tested, stats.holm(list(tested.values())), strict=True):
        known = [m for m in tactics[tactic] if m.tactic_energy_j and m.baseline_energy_j]
        sides = ([getattr(m, name) for m in known] for name in ("tactic_energy_j", "baseline_energy_j"))
        found[tactic] = p_value, stats.cliffs_delta(*sides)
    return found

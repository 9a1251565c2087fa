"""What a tactic does to models as such: geometric means over family means, on the same hardware.

Near-duplicate checkpoints are not independent, so a family counts once. The interval is a t interval on log ratios with
families - 1 degrees of freedom, and never narrower than the families' own intervals make their mean: few families may agree by
chance (Roever, Knapp and Friede, "Hartung-Knapp-Sidik-Jonkman approach and its modification for random-effects meta-analysis with
few studies", 2015). Under three families there is none.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import NamedTuple

from greenray.analysis import stats
from greenray.analysis.effects import ModelEffect

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

    def context(self, others: Iterable["OverallEffect"]) -> str:
        """What tells this group of models from the others, if there are others."""
        said = {"sweep": "sweep ", "batch_size": "batch ", "stage": "stage "}
        groups = {other.group for other in others}
        differing = [name for name in Group._fields if name != "task" and len({getattr(group, name) for group in groups}) > 1]
        return "".join(f", {said.get(name, '')}{found}" for name in differing if (found := getattr(self.group, name)))


def overall_effects(effects: Iterable[ModelEffect]) -> list[OverallEffect]:
    """Tactics over models; groups with a single model are left out, their model's own line says it all."""
    groups: dict[Group, dict[str, list[ModelEffect]]] = defaultdict(lambda: defaultdict(list))
    for effect in effects:
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
    if len(families) < MIN_FAMILIES:
        return stats.estimate(fmean(log_ratios), None, basis="on these models")
    found = stats.t_estimate(log_ratios, basis=f"{len(families)} model families")
    own = _of_mean([_of_mean([estimate.log_half_width for estimate in family]) for family in families])
    if own is None or own <= (found.log_half_width or 0.0):
        return found
    return stats.estimate(fmean(log_ratios), own, basis=found.basis)


def _of_mean(half_widths: Sequence[float | None]) -> float | None:
    """Half-width of a mean of independent values; an unknown one counts as the others do, None when none is known."""
    known = [half for half in half_widths if half is not None]
    return math.sqrt(fmean(half * half for half in known) / len(half_widths)) if known else None


def _tests(tactics: dict[str, list[ModelEffect]]) -> dict[str, tuple[float, float]]:
    """Wilcoxon signed-rank p (Holm over the group's tactics) and Cliff's delta, from eight families on."""
    by_tactic = {tactic: _means(_by_family(members, "energy")) for tactic, members in tactics.items()}
    tested = {tactic: stats.wilcoxon_p(ratios) for tactic, ratios in by_tactic.items() if len(ratios) >= MIN_FAMILIES_FOR_TEST}
    found = {}
    for tactic, p_value in zip(tested, stats.holm(list(tested.values())), strict=True):
        known = [m for m in tactics[tactic] if m.tactic_energy_j and m.baseline_energy_j]
        sides = ([getattr(m, name) for m in known] for name in ("tactic_energy_j", "baseline_energy_j"))
        found[tactic] = p_value, stats.cliffs_delta(*sides)
    return found

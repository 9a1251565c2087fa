"""What a tactic does to models as such: means over family means of every measure, on the same hardware.

Near-duplicate checkpoints are not independent, so a family counts once. The interval is a t interval on the families' log ratios
(of shares: their differences) with families - 1 degrees of freedom; it needs three families, and of what differs from round to
round an interval of every model by itself. Nothing is added to it for the intervals of the models: what they are unsure of is in
the scatter of the families already. (Simulated with 3, 12 and 42 families, 3 and 5 rounds, normal, heavy-tailed and unequal
noise: the plain interval holds the mean of the population of models in 94-97 %; one that is never narrower than the models' own
make it, in up to 100 %.) What rests on a sample alone, as accuracy does, is never surer than the samples make it: on few of them
no family may show any change.

From eight families there is a Wilcoxon signed-rank test. Holm's adjustment is over one family of hypotheses for each group: all
tactics times all measures that are tested in it, since a reader looks through all of them for what is significant. Left out are
measures that are another one in other words (throughput, money, the relative change of accuracy), and exact figures that are the
same with and without the tactic on every model: they were never in doubt. Measures whose figures are the same, as those of the
processor are where nothing else is counted, are one hypothesis.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean, median, quantiles, stdev
from typing import NamedTuple

from greenray.analysis import applied, stats
from greenray.analysis.effects import NULL_CHECK
from greenray.analysis.findings import Finding
from greenray.analysis.measures import MEASURES, Change, Measure, changes

MIN_FAMILIES = 3
MIN_FAMILIES_FOR_TEST = 8
Model = tuple[str, str, str]
"""Its name, source and revision."""


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
class OverMeasure:
    """One measure of a tactic over models.

    Attributes:
        change: mean over family means, with its interval.
        models, families: that know it.
        median, quartiles: of the family means, as ratios or differences; quartiles from `MIN_FAMILIES` on.
        wilcoxon_p: that the median is no change, adjusted by Holm over `hypotheses`; None where there is no test.
        rank_biserial: matched pairs (-1 to 1): how much of the rank sum of the families' changes is increase, less decrease.
        cliffs_delta: of the families' figures with the tactic against those without, pairs forgotten: small where models differ
            more than the tactic changes them.
    """

    change: Change
    models: int
    families: int
    median: float | None = None
    quartiles: tuple[float, float] | None = None
    wilcoxon_p: float | None = None
    hypotheses: int = 0
    rank_biserial: float | None = None
    cliffs_delta: float | None = None
    values: tuple[float, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class OverallEffect:
    """A tactic over models; `measures` are all of `MEASURES` by name, and `hardly` of the models it was hardly applied to."""

    group: Group
    tactic: str
    unit: str
    models: int
    measures: Mapping[str, OverMeasure]
    modelled: bool
    hardly: int = 0

    @property
    def named(self) -> str:
        """The tactic as tables name it: marked where it was hardly applied."""
        return f"{self.tactic} ({applied.MARK} to {self.hardly} of {self.models})" if self.hardly else self.tactic

    @property
    def families(self) -> int:
        """Those whose energy is compared."""
        return self.measures["energy_j"].families

    @property
    def energy(self) -> stats.Estimate | None:
        return _estimate(self.measures["energy_j"].change)

    @property
    def time(self) -> stats.Estimate | None:
        return _estimate(self.measures["time_s"].change)

    def context(self, others: Iterable["OverallEffect"]) -> str:
        """What tells this group of models from the others, if there are others."""
        said = {"sweep": "sweep ", "batch_size": "batch ", "stage": "stage "}
        groups = {other.group for other in others}
        differing = [name for name in Group._fields if name != "task" and len({getattr(group, name) for group in groups}) > 1]
        return "".join(f", {said.get(name, '')}{found}" for name in differing if (found := getattr(self.group, name)))


def group_of(finding: Finding) -> Group:
    return Group(*(getattr(finding.effect.subject, name) for name in Group._fields))


def overall_effects(findings: Iterable[Finding]) -> list[OverallEffect]:
    """Tactics over models, the null check left out; of a single model its own line says it all."""
    groups: dict[Group, dict[str, list[Finding]]] = defaultdict(lambda: defaultdict(list))
    for finding in (one for one in findings if one.tactic != NULL_CHECK):
        groups[group_of(finding)][finding.tactic].append(finding)
    found: list[OverallEffect] = []
    for group, tactics in sorted(groups.items()):
        several = {tactic: members for tactic, members in sorted(tactics.items()) if len(set(map(_model, members))) > 1}
        measured = _adjusted({tactic: _measures(members) for tactic, members in several.items()})
        for tactic, members in several.items():
            overall = OverallEffect(
                group=group,
                tactic=tactic,
                unit=members[0].effect.unit,
                models=len(set(map(_model, members))),
                measures=measured[tactic],
                modelled=any(m.effect.modelled for m in members),
                hardly=len({_model(m) for m in members if applied.is_hardly(m.effect)}),
            )
            found.append(overall)
    return found


def _model(member: Finding) -> Model:
    subject = member.effect.subject
    return subject.model, subject.model_source, subject.model_revision


def _of_model(changes: Sequence[Change]) -> Change:
    """The change of a model that was compared on several data or with several settings: their mean, no surer than they are."""
    if len(changes) == 1:
        return changes[0]
    mean = fmean(change.mean for change in changes if change.mean is not None)
    halves = [(change.ends[1] - change.ends[0]) / 2 for change in changes if change.ends is not None]
    sure = len(halves) == len(changes)
    return replace(
        next((change for change in changes if change.ends is None), changes[0]),
        mean=mean,
        ends=(mean - fmean(halves), mean + fmean(halves)) if sure else None,
        baseline=stats.mean_known(change.baseline for change in changes),
        tactic=stats.mean_known(change.tactic for change in changes),
    )


def _estimate(change: Change) -> stats.Estimate | None:
    if change.mean is None or change.value is None:
        return None
    return stats.Estimate(ratio=change.value, low=change.low, high=change.high, basis=change.basis)


def _measures(members: Sequence[Finding]) -> dict[str, OverMeasure]:
    told = [(member, changes(member)) for member in members]
    return {measure.name: _over_families(measure, [(m, found[measure.name]) for m, found in told]) for measure in MEASURES}


def _over_families(measure: Measure, members: Sequence[tuple[Finding, Change]]) -> OverMeasure:
    models: dict[tuple[str, Model], list[Change]] = defaultdict(list)
    for member, change in members:
        if change.mean is not None:
            models[member.effect.subject.model_family, _model(member)].append(change)
    families: dict[str, list[Change]] = defaultdict(list)
    for (family, _), of in models.items():
        families[family].append(_of_model(of))
    if not families:
        reasons = list(dict.fromkeys(change.basis for _, change in members))
        return OverMeasure(change=Change(measure=measure, basis="; ".join(reasons)), models=0, families=0)
    ordered = [families[family] for family in sorted(families)]
    values = tuple(fmean(change.mean for change in of if change.mean is not None) for of in ordered)
    mean, basis = fmean(values), _no_interval(measure, ordered)
    change = Change(measure=measure, mean=mean, basis=basis)
    found = OverMeasure(change=change, models=len(models), families=len(values), values=values)
    if basis:
        return replace(found, median=change.shown(median(values)))
    half = stats.t_quantile(len(values) - 1) * stdev(values) / math.sqrt(len(values))
    half = half if measure.repeats else max(half, _sampled(ordered))
    low, _, high = quantiles(values, n=4, method="inclusive")
    return replace(
        found,
        change=replace(change, ends=(mean - half, mean + half), basis=f"{len(values)} model families"),
        median=change.shown(median(values)),
        quartiles=(change.shown(low), change.shown(high)),
        rank_biserial=stats.rank_biserial(values),
        cliffs_delta=_cliffs_delta(ordered),
    )


def _sampled(families: Sequence[Sequence[Change]]) -> float:
    """Half-width that the models' own intervals, of samples, give a mean over families; 0 for figures that have none."""
    halves = [[(one.ends[1] - one.ends[0]) / 2 for one in of if one.ends is not None] for of in families]
    squares = [sum(half**2 for half in of) / len(members) ** 2 for of, members in zip(halves, families, strict=True)]
    return math.sqrt(sum(squares)) / len(families)


def _no_interval(measure: Measure, families: Sequence[Sequence[Change]]) -> str:
    """Why there is no interval over these families; "" where there is one."""
    members = [change for of in families for change in of]
    blank = [change.basis for change in members if change.ends is None] if measure.repeats else []
    if blank:
        why = blank[0] if len(set(blank)) == 1 else "too few rounds on a quiet host"
        return f"{why} of {'each model' if len(blank) == len(members) else f'{len(blank)} of {len(members)} models'}"
    return f"under {MIN_FAMILIES} families" if len(families) < MIN_FAMILIES else ""


def _cliffs_delta(families: Sequence[Sequence[Change]]) -> float | None:
    sides = ([stats.mean_known(getattr(change, side) for change in of) for of in families] for side in ("tactic", "baseline"))
    tactic, baseline = ([value for value in side if value is not None] for side in sides)
    return stats.cliffs_delta(tactic, baseline) if tactic and baseline else None


def _adjusted(tactics: Mapping[str, dict[str, OverMeasure]]) -> dict[str, dict[str, OverMeasure]]:
    """With the p of every measure that is tested, adjusted over all of them."""
    tested = {
        (tactic, name): (tactic, tuple(round(value, 9) for value in found.values))
        for tactic, measures in tactics.items()
        for name, found in measures.items()
        if found.change.ends is not None and len(found.values) >= MIN_FAMILIES_FOR_TEST and _in_doubt(found)
    }
    hypotheses = list(dict.fromkeys(tested.values()))
    adjusted = dict(zip(hypotheses, stats.holm([stats.wilcoxon_p(values) for _, values in hypotheses]), strict=True))
    return {
        tactic: {
            name: replace(found, wilcoxon_p=adjusted[tested[tactic, name]], hypotheses=len(hypotheses))
            if (tactic, name) in tested
            else found
            for name, found in measures.items()
        }
        for tactic, measures in tactics.items()
    }


def _in_doubt(found: OverMeasure) -> bool:
    return found.change.measure.tested and any(found.values)


def over_families(measure: Measure, members: Iterable[Finding]) -> OverMeasure:
    """A measure that is none of `MEASURES` over the families of these models, without a test."""
    return _over_families(measure, [(member, measure.of(measure, member)) for member in members])

"""What a paper found of tactics beside what these data say: family by family, in the smallest batches, on each device."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from greenray.analysis import applied, precision, stats
from greenray.analysis.artefacts import Size
from greenray.analysis.devices import Side, SideBySide
from greenray.analysis.findings import Finding
from greenray.analysis.overall import MIN_FAMILIES
from greenray.analysis.papers import Claim, Paper, verdict
from greenray.analysis.stats import Estimate
from greenray.analysis.wording import count


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One tactic on one model, as claims look at it."""

    finding: Finding
    side: Side
    row: SideBySide
    size: Size | None
    local: Finding | None

    @property
    def family(self) -> str:
        return self.finding.effect.subject.model_family


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A claim held against data; `where` says on what they were measured, `families` how many stand behind the estimate."""

    claim: Claim
    where: str
    families: int
    ours: Estimate | None

    @property
    def verdict(self) -> str:
        return verdict(self.claim, self.ours)


def _power(case: Case) -> Estimate | None:
    """Energy of the board per sample over time per sample; what has no interval gives none."""
    energy, time = case.side.gpu.energy, case.finding.effect.time
    if energy is None or time is None:
        return None
    unsure = next((one for one in (energy, time) if one.low is None), None)
    return replace(unsure or energy, ratio=energy.ratio / time.ratio)


def _accuracy(case: Case) -> float | None:
    change = case.finding.accuracy
    return None if change is None or not change.baseline else change.tactic / change.baseline


def _naive(case: Case) -> float | None:
    change = None if case.size is None else case.size.naive_change
    return None if change is None else 1 + change


def _to_apply(case: Case) -> float | None:
    ours, theirs = case.finding.optimize_time_s, case.local and case.local.optimize_time_s
    return ours / theirs if ours and theirs else None


MEASURES: Mapping[str, Callable[[Case], Estimate | float | None]] = {
    "time": lambda case: case.finding.effect.time,
    "energy": lambda case: case.finding.effect.energy,
    "GPU energy": lambda case: case.side.gpu.energy,
    "GPU power": _power,
    "accuracy": _accuracy,
    "size, parameters() alone": _naive,
    "size, serialised": lambda case: None if case.size is None else 1 + case.size.change,
    "time to apply, against prune-local": _to_apply,
}
"""Tactic over baseline, by what a claim is about; an estimate where it scatters from round to round."""
_ACROSS: Mapping[str, Callable[[Case], Estimate | None]] = {
    "energy": lambda case: case.row.across,
    "GPU energy": lambda case: case.row.across_gpu,
}
"""The same of the tactic on the CPU over the baseline on CUDA."""


def hold(paper: Paper, findings: Sequence[Finding], rows: Iterable[SideBySide], sizes: Iterable[Size]) -> list[Held]:
    """Each claim of the paper in each place where its tactic ran on `MIN_FAMILIES` model families or more."""
    groups = _groups(findings, list(rows), list(sizes))
    held = []
    for claim in paper.claims:
        for (tactic, where), cases in groups.items():
            if tactic != claim.tactic:
                continue
            held.append(_held(claim, where, cases, MEASURES[claim.measure]))
            # What has an arm on CUDA is held against its baseline there.
            if claim.measure in _ACROSS and all(case.row.cuda is None for case in cases):
                across = _held(claim, f"{where}, against the baseline on CUDA", cases, _ACROSS[claim.measure])
                held += [across] if across.families >= MIN_FAMILIES else []
    return held


def _groups(findings: Sequence[Finding], rows: Sequence[SideBySide], sizes: Sequence[Size]) -> dict[tuple[str, str], list[Case]]:
    """Cases by tactic and place, of the smallest batches there: the paper's images came one by one."""
    of_effect = {id(side.effect): (row, side) for row in rows for side in row.sides}
    of_size = {(size.label, size.tactic): size for size in sizes}
    local = {finding.effect.subject: finding for finding in findings if finding.tactic == "prune-local"}
    places: dict[tuple[str, str], dict[tuple[str, int], list[Case]]] = defaultdict(lambda: defaultdict(list))
    for finding in findings:
        effect, subject = finding.effect, finding.effect.subject
        if subject.phase == "inference" and id(effect) in of_effect:
            row, side = of_effect[id(effect)]
            size = of_size.get((subject.model, finding.tactic))
            case = Case(finding=finding, side=side, row=row, size=size, local=local.get(subject))
            places[finding.tactic, subject.sweep][f"{subject.hardware} ({subject.device})", subject.batch_size].append(case)
    found: dict[tuple[str, str], list[Case]] = {}
    for (tactic, sweep), of in places.items():
        for hardware in dict.fromkeys(hardware for hardware, _ in of):
            batch = min(size for other, size in of if other == hardware)
            cases = of[hardware, batch]
            if len({case.family for case in cases}) >= MIN_FAMILIES:
                several = f", sweep {sweep}" if len({name for _, name in places}) > 1 else ""
                found[tactic, f"{hardware}, batch {batch}{several}"] = cases
    return found


def _held(claim: Claim, where: str, cases: Sequence[Case], measure: Callable[[Case], Estimate | float | None]) -> Held:
    """Over family means, as elsewhere: near-duplicates count once, and no interval comes of models that have none."""
    families: dict[str, list[float]] = defaultdict(list)
    blank = []
    for case in cases:
        found = measure(case)
        if isinstance(found, Estimate):
            blank += [found.basis] if found.low is None else []
            found = found.ratio
        if found:
            families[case.family].append(math.log(found))
    ours = None
    if families:
        mean, half = precision.interval([fmean(ratios) for ratios in families.values()])
        basis = f"under {MIN_FAMILIES} families" if half is None else f"{len(families)} model families"
        if blank:
            half, basis = None, f"no interval of {count(len(blank), 'model')} ({blank[0]})"
        ours = stats.estimate(mean, half, basis=basis)
    if claim.measure == "energy" and any(case.finding.effect.modelled for case in cases):
        where += ", estimated from CPU time"
    if few := sum(applied.is_hardly(case.finding.effect) for case in cases):
        where += f", {applied.MARK} to {count(few, 'model')}"
    return Held(claim=claim, where=where, families=len(families), ours=ours)

"""What a paper found of tactics beside what these data say: over families, in the smallest batches, on each device."""

import math
from collections.abc import Iterable, Mapping, Sequence

from greenray.analysis import applied
from greenray.analysis.devices import SideBySide
from greenray.analysis.findings import Finding
from greenray.analysis.measures import MEASURES, Change, Measure
from greenray.analysis.overall import MIN_FAMILIES, OverallEffect, OverMeasure, group_of, over_families
from greenray.analysis.papers.claim import Claim, Held, circumstances
from greenray.analysis.stats import Estimate
from greenray.analysis.wording import count

BESIDE = "prune-local"
"""What the time to apply a tactic is compared with."""
TO_APPLY = "time_to_apply_s"
LABELS = {measure.name: measure.label for measure in MEASURES} | {TO_APPLY: f"time to apply, against {BESIDE}"}


def hold(
    claims: Iterable[Claim], overall: Sequence[OverallEffect], findings: Sequence[Finding], rows: Iterable[SideBySide]
) -> list[Held]:
    """Each claim in each place where its tactic ran on `MIN_FAMILIES` model families or more."""
    across, to_apply = _across(rows), _to_apply(findings)
    held = []
    for claim in claims:
        for effect in _places(claim.subject, overall):
            members = [one for one in findings if one.tactic == claim.subject and group_of(one) == effect.group]
            if len({one.effect.subject.model_family for one in members}) < MIN_FAMILIES:
                continue
            where = _where(effect, overall)
            found = over_families(to_apply, members) if claim.measure == TO_APPLY else effect.measures[claim.measure]
            held.append(_held(claim, where, effect, found))
            # What has no arm on CUDA is held against the baseline there too.
            if claim.measure in across:
                other = over_families(across[claim.measure], members)
                if other.families < MIN_FAMILIES:
                    continue
                held.append(_held(claim, f"{where}, against the baseline on CUDA", effect, other))
    return held


def _places(tactic: str, overall: Iterable[OverallEffect]) -> list[OverallEffect]:
    """The tactic on each device of each sweep, in the smallest batches there: the paper's images came one by one."""
    smallest: dict[tuple[str, ...], OverallEffect] = {}
    for effect in overall:
        group = effect.group
        if effect.tactic == tactic and group.phase == "inference":
            place = (group.sweep, group.device, group.hardware, group.scope, group.stage)
            best = smallest.setdefault(place, effect)
            smallest[place] = min(best, effect, key=lambda one: one.group.batch_size)
    return list(smallest.values())


def _where(effect: OverallEffect, overall: Sequence[OverallEffect]) -> str:
    group = effect.group
    told = f"{group.hardware} ({group.device}), batch {group.batch_size}"
    for name, before in (("sweep", "sweep "), ("stage", "stage "), ("scope", "counting ")):
        if len({getattr(other.group, name) for other in overall}) > 1 and (value := getattr(group, name)):
            told += f", {before}{value}"
    return told


def _held(claim: Claim, where: str, effect: OverallEffect, found: OverMeasure) -> Held:
    if claim.measure == "energy_j":
        where += circumstances(modelled=float(effect.modelled))
    if effect.hardly:
        where += f", {applied.MARK} to {count(effect.hardly, 'model')}"
    change = found.change
    return Held(
        claim=claim,
        where=where,
        families=found.families,
        value=change.value,
        low=change.low,
        high=change.high,
        basis=change.basis,
    )


def _across(rows: Iterable[SideBySide]) -> Mapping[str, Measure]:
    """The tactic on the CPU over the baseline on CUDA, by the measure that it is of, for what has no arm on CUDA."""
    alone = {id(row.cpu.effect): row for row in rows if row.cpu is not None and row.cuda is None}

    def of(measure: Measure, finding: Finding) -> Change:
        row = alone.get(id(finding.effect))
        known = None if row is None else row.across if measure.name == "energy_j" else row.across_gpu
        return _change(measure, known)

    return {name: Measure(name=name, label=LABELS[name], unit="", of=of) for name in ("energy_j", "gpu_energy_j")}


def _change(measure: Measure, found: Estimate | None) -> Change:
    if found is None:
        return Change(measure=measure, basis="not measured")
    half = found.log_half_width
    mean = math.log(found.ratio)
    return Change(measure=measure, basis=found.basis, mean=mean, ends=None if half is None else (mean - half, mean + half))


def _to_apply(findings: Iterable[Finding]) -> Measure:
    """Against what `BESIDE` took on the same model."""
    beside = {finding.effect.subject: finding.optimize_time_s for finding in findings if finding.tactic == BESIDE}

    def of(measure: Measure, finding: Finding) -> Change:
        ours, theirs = finding.optimize_time_s, beside.get(finding.effect.subject)
        known = math.log(ours / theirs) if ours and theirs else None
        return Change(measure=measure, basis="means over rounds" if known else "not known of both on a quiet host", mean=known)

    return Measure(name=TO_APPLY, label=LABELS[TO_APPLY], unit="", of=of, repeats=False)

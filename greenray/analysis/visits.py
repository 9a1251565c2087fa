"""What a tactic does to a model within a visit.

A visit is one uninterrupted pass over a block on one device, with a baseline at each end. Everything is compared inside a visit
only, whole energy scope against the same scope. Its two baselines give the reference (their arithmetic mean) and, by their
disagreement, the visit's drift.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import NamedTuple

from greenray.analysis.arms import Arm, Measured

DRIFT_LIMIT = 0.03
IDLE_SHARE, IDLE_W = 0.05, 2.0
"""Idle power that differs by more than both between the cells of a visit has drifted. Under a twentieth it is what an idle window
calls steady; under 2 W it is what the power sensors of boards resolve, which at 15 W would be more than a twentieth."""
VERSIONS = ("torch_version", "transformers_version", "driver_version", "greenray_version")
RATIOS = {
    "energy": "energy_j",
    "active": "active_j",
    "time": "time_s",
    "latency_p50": "latency_p50_s",
    "latency_p95": "latency_p95_s",
}
"""What is compared, and where an arm has it."""
_OF_A_BATCH = ("latency_p50", "latency_p95")
CUT_SHORT = "the visit was cut short: one baseline only, drift unknown"


class Subject(NamedTuple):
    """What an effect is about: the same model on the same hardware in the same stage, counted in the same scope."""

    sweep: str
    phase: str
    task: str
    model: str
    model_source: str
    model_revision: str
    model_family: str
    dataset: str
    batch_size: int
    device: str
    hardware: str
    scope: str
    hyperparameters: str
    stage: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VisitEffect:
    """One tactic against its baselines within one visit.

    Attributes:
        visit: block and number of the visit; `round`: the repetition of the block that it is.
        arm: the tactic's settled attempt; `baselines`: the brackets that can be compared with it, opening first; `reference`:
            those whose mean it is compared with, the ones on a quiet host if there is one.
        contended: whether others took enough of the host to matter, from the tactic or from its reference.
        energy ... latency_p95: log ratios; None where an arm has no figure, and latencies where batches are of different size.
            `active` is energy above idle power. A visit gives a ratio and no interval: what its windows do says nothing of the
            next visit.
        drift: disagreement of the two baselines' energy as a log ratio (>= 0); None when there is no closing bracket.
        idle_spread_w: what the board's idle power differs by between the cells of the visit; None where under two know it.
        flags: what a reader must know about this comparison.
    """

    subject: Subject
    visit: tuple[str, int]
    round: int
    arm: Arm
    baselines: tuple[Arm, ...]
    reference: tuple[Arm, ...]
    contended: bool
    energy: float | None
    active: float | None
    time: float | None
    latency_p50: float | None
    latency_p95: float | None
    drift: float | None
    idle_spread_w: float | None
    idle_drifted: bool
    flags: tuple[str, ...]


class Visit(NamedTuple):
    """What is ok of one visit in one stage: its brackets, its tactics, and all of its arms."""

    key: tuple[str, int]
    opening: Arm | None
    closing: Arm | None
    tactics: list[Arm]
    members: list[Arm]


def visits(arms: Iterable[Arm]) -> list[Visit]:
    """Arms by visit and stage; cells of no visit are left out."""
    groups: dict[tuple[str, str, int, str], list[Arm]] = defaultdict(list)
    for arm in (part for whole in arms for part in whole.parts):
        if arm.ok and arm.cell["visit"] is not None:
            groups[arm.cell["sweep"], arm.cell["block_id"], arm.cell["visit"], arm.stage].append(arm)
    found = []
    for (_, block_id, number, _), members in groups.items():
        opening, closing = (next((arm for arm in members if arm.cell["bracket"] == end), None) for end in ("open", "close"))
        tactics = [arm for arm in members if arm.cell["bracket"] is None and arm.cell["tactic"] != "baseline"]
        found.append(Visit((block_id, number), opening, closing, tactics, members))
    return found


def visit_effects(arms: Iterable[Arm]) -> list[VisitEffect]:
    """Every tactic that is ok, against the brackets of its own visit; a visit without an opening baseline has no effects."""
    effects = []
    for visit in visits(arms):
        if visit.opening is not None:
            idle = sorted(arm.idle_w for arm in visit.members if arm.idle_w is not None)
            effects += [_visit_effect(arm, visit.opening, visit.closing, visit.key, idle) for arm in visit.tactics]
    return effects


def closing_over_opening(visit: Visit) -> float | None:
    """Log ratio of the energy of two equal arms; None unless both ran on a quiet host and can be compared."""
    if visit.opening is None or visit.closing is None or visit.opening.contended or visit.closing.contended:
        return None
    return _log_ratio(visit.closing.energy_j, [visit.opening.energy_j]) if _comparable(visit.closing, visit.opening, []) else None


def _visit_effect(arm: Arm, opening: Arm, closing: Arm | None, visit: tuple[str, int], idle: Sequence[float]) -> VisitEffect:
    flags: list[str] = []
    baselines = tuple(b for b in (opening, closing) if b is not None and _comparable(arm, b, flags))
    reference = tuple(b for b in baselines if not b.contended) or baselines
    same_batch = all(_batch(b) == _batch(arm) for b in baselines)
    if not same_batch:
        flags.append(f"batches of {_batch(arm)} against {_batch(opening)}: compared per sample, and not by latency")
    if (share := arm.cell["training_share"]) is not None and share < 1:
        flags.append(
            f"learnt from {share * 100:.0f} % of the samples that it was asked to: compared by what the whole training used"
        )
    energies = [b.energy_j for b in baselines]
    if closing is None:
        flags.append(CUT_SHORT)
    elif any(energies) and not (len(energies) == 2 and all(energies)):
        flags.append("only one of the visit's baselines can be used: drift unknown")
    drift = _disagreement(energies)
    if len(reference) < len(baselines):
        flags.append("one baseline ran while the host was busy: compared with the other alone")
    elif drift is not None and drifted(drift):
        flags.append(f"the visit's baselines disagree by {math.expm1(drift) * 100:.1f} %")
    if baselines and (arm.energy_j is None or not any(b.energy_j for b in reference)):
        blank = [a for a in (arm, *reference) if a.energy_j is None]
        reasons = dict.fromkeys(reason for a in blank for reason in (*a.missing_reasons, *a.rejected))
        flags.append("energy unknown: " + ("; ".join(reasons) or "no window has a total"))
    elif arm.windows_without_energy or any(b.windows_without_energy for b in baselines):
        flags.append("some windows have no total energy and were left out")
    spread_w = idle[-1] - idle[0] if len(idle) > 1 else None
    idle_drifted = spread_w is not None and spread_w > max(IDLE_W, IDLE_SHARE * idle[0])
    if idle_drifted:
        flags.append(f"the board's idle power lies between {idle[0]:.0f} and {idle[-1]:.0f} W in the visit's cells")
    return VisitEffect(
        subject=subject_of(arm),
        visit=visit,
        round=arm.cell["round"] or 1,
        arm=arm,
        baselines=baselines,
        reference=reference,
        contended=arm.contended or any(b.contended for b in reference),
        **{
            name: _log_ratio(
                getattr(arm, column), [getattr(b, column) for b in reference if same_batch or name not in _OF_A_BATCH]
            )
            for name, column in RATIOS.items()
        },
        drift=drift,
        idle_spread_w=spread_w,
        idle_drifted=idle_drifted,
        flags=tuple(flags),
    )


def drifted(drift: float | None) -> bool:
    """Whether a visit's baselines disagree by more than `DRIFT_LIMIT`; unknown drift is flagged as such, not here."""
    return drift is not None and math.expm1(drift) > DRIFT_LIMIT


def _comparable(arm: Arm, baseline: Arm, flags: list[str]) -> bool:
    """Same scope, same device; other software versions are compared, and said."""
    ours, theirs, why = arm.cell, baseline.cell, ""
    if arm.scope is None or arm.scope != baseline.scope:
        scopes = [scope or "different parts" for scope in (arm.scope, baseline.scope)]
        why = f"energy counts {scopes[0]} here and {scopes[1]} in the baseline"
    elif any(ours[name] != theirs[name] for name in ("host", "gpu_uuid", "device")):
        why = "the baseline ran on another device"
    elif ours["num_threads"] != theirs["num_threads"]:
        why = "the baseline ran on another number of threads"
    if why:
        flags.append(f"not compared: {why}")
        return False
    versions = [name for name in VERSIONS if ours[name] != theirs[name]]
    flags += [f"{name.removesuffix('_version')} differs: {ours[name]} against {theirs[name]}" for name in versions]
    return True


def _batch(arm: Arm) -> int:
    """Samples in a batch when it was measured; rows from before a tactic could choose have the block's only."""
    return int(arm.cell["measured_batch_size"] or arm.cell["batch_size"] or 0)


def _log_ratio(arm: Measured | None, baselines: Sequence[Measured | None]) -> float | None:
    """Arm over the arithmetic mean of the baselines."""
    known = [b.mean for b in baselines if b is not None]
    return math.log(arm.mean / fmean(known)) if arm is not None and known else None


def _disagreement(baselines: Sequence[Measured | None]) -> float | None:
    """Of two baselines, as a log ratio (>= 0)."""
    means = [baseline.mean for baseline in baselines if baseline is not None]
    return abs(math.log(means[1] / means[0])) if len(means) == 2 else None


def subject_of(arm: Arm) -> Subject:
    cell = arm.cell
    return Subject(
        **{name: cell[name] or "" for name in ("sweep", "phase", "task", "model", "model_source", "model_revision", "dataset")},
        model_family=cell["model_family"] or cell["model"] or "",
        batch_size=cell["batch_size"] or 0,
        device=cell["device"] or "",
        hardware=arm.hardware,
        scope=arm.scope or "unknown",
        hyperparameters=cell["hyperparameters"] or "",
        stage=arm.stage,
    )

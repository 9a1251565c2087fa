"""What a tactic does to a model, over its visits.

Uncertainty, by what there is:
  three or more visits   t interval over the visits' log ratios: covers whatever varies from visit to visit
  fewer                  window noise of both arms and the drift, in quadrature ("within one visit"), blind to what varies between
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from greenray.analysis import stats
from greenray.analysis.arms import Arm, mostly_modelled
from greenray.analysis.visits import RATIOS, VERSIONS, LogRatio, Subject, VisitEffect

MIN_VISITS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEffect:
    """One tactic on one model. `*_j` and `*_s` are per sample, means over visits; drift is the worst visit's log ratio."""

    subject: Subject
    tactic: str
    visits: tuple[VisitEffect, ...]
    energy: stats.Estimate | None
    active: stats.Estimate | None
    time: stats.Estimate | None
    latency_p50: stats.Estimate | None
    latency_p95: stats.Estimate | None
    baseline_energy_j: float | None
    tactic_energy_j: float | None
    baseline_active_j: float | None
    tactic_active_j: float | None
    baseline_time_s: float | None
    tactic_time_s: float | None
    modelled_share: float | None
    drift: float | None
    flags: tuple[str, ...]

    @property
    def modelled(self) -> bool:
        return mostly_modelled(self.modelled_share)

    @property
    def arms(self) -> list[Arm]:
        """Every arm that was compared, the tactic's before the baselines of its visit."""
        return [arm for visit in self.visits for arm in (visit.arm, *visit.baselines)]

    @property
    def unit(self) -> str:
        """What a sample is, by the task."""
        return next((arm.cell["unit"] for arm in self.arms if arm.cell["unit"]), "sample")


def model_effects(effects: Iterable[VisitEffect]) -> list[ModelEffect]:
    """Visits of the same subject and tactic together, in order."""
    groups: dict[tuple[Subject, str], list[VisitEffect]] = defaultdict(list)
    for effect in effects:
        groups[effect.subject, effect.arm.cell["tactic"]].append(effect)
    return [_model_effect(groups[key]) for key in sorted(groups)]


def _model_effect(visits: Sequence[VisitEffect]) -> ModelEffect:
    found: dict[str, Any] = {name: over_visits([getattr(v, name) for v in visits]) for name in RATIOS}
    for name in ("energy", "active", "time"):
        column = RATIOS[name]
        # Both sides of a cost come from the same visits: those in which the two arms were compared.
        compared = [v for v in visits if getattr(v, name) is not None]
        found[f"baseline_{column}"] = stats.mean_known(_mean(v.baselines, column) for v in compared)
        found[f"tactic_{column}"] = stats.mean_known(_mean([v.arm], column) for v in compared)
    versions = {name.removesuffix("_version"): sorted({str(v.arm.cell[name]) for v in visits}) for name in VERSIONS}
    # Visits on the same hardware are taken together whatever the software; that it differed is said.
    mixed = [f"visits ran with different versions of {n}: {', '.join(v)}" for n, v in versions.items() if len(v) > 1]
    return ModelEffect(
        subject=visits[0].subject,
        tactic=visits[0].arm.cell["tactic"],
        visits=tuple(visits),
        **found,
        modelled_share=stats.mean_known(a.modelled_share for v in visits if v.energy for a in (v.arm, *v.baselines)),
        drift=max((v.drift for v in visits if v.drift is not None), default=None),
        flags=tuple(dict.fromkeys([*(flag for v in visits for flag in v.flags), *mixed])),
    )


def _mean(arms: Sequence[Arm], column: str) -> float | None:
    return stats.mean_known(measured and measured.mean for measured in (getattr(arm, column) for arm in arms))


def over_visits(ratios: Sequence[LogRatio | None]) -> stats.Estimate | None:
    known = [ratio for ratio in ratios if ratio is not None]
    if not known:
        return None
    values = [ratio.value for ratio in known]
    if len(known) >= MIN_VISITS:
        return stats.t_estimate(values, basis=f"{len(known)} visits")
    # Two visits: no shrinking by their number, since what they share (drift of one device) does not average out.
    half = stats.quadrature([ratio.half_width for ratio in known])
    half = None if half is None else stats.quadrature([half / math.sqrt(len(known)), (max(values) - min(values)) / 2])
    basis = "within one visit" if len(known) == 1 else f"within {len(known)} visits"
    return stats.estimate(fmean(values), half, basis=basis)

"""What a tactic does to a model: ratios within a visit, then over visits.

A visit is one uninterrupted pass over a block on one device, with a baseline at each end. Everything is compared inside a visit
only, whole energy scope against the same scope. Its two baselines give the reference (their arithmetic mean) and, by their
disagreement, the visit's drift.

Uncertainty, by what there is:
  three or more visits   t interval over the visits' log ratios: covers whatever varies from visit to visit
  fewer                  window noise of both arms and the drift, in quadrature ("within one visit"), blind to what varies between
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from greenray.analysis import stats
from greenray.analysis.arms import Arm, Measured

DRIFT_LIMIT = 0.03
IDLE_SHARE, IDLE_W = 0.05, 2.0
"""Idle power that differs by more than both between the cells of a visit has drifted. Under a twentieth it is what an idle window
calls steady; under 2 W it is what the power sensors of boards resolve, which at 15 W would be more than a twentieth."""
MIN_VISITS = 3
VERSIONS = ("torch_version", "transformers_version", "driver_version", "greenray_version")


class Subject(NamedTuple):
    """What an effect is about: the same model on the same hardware, counted in the same scope. Sorts and hashes."""

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


class LogRatio(NamedTuple):
    """A log ratio with the 95 % half-width that one visit can justify; None when a part of it is unknown."""

    value: float
    half_width: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class VisitEffect:
    """One tactic against its baselines within one visit.

    Attributes:
        subject, tactic: what was compared.
        visit: block and number of the visit.
        arm: the tactic's settled attempt; `baselines`: the brackets used, opening first.
        energy, time, latency_p50, latency_p95: log ratios; None where an arm has no figure. `active` is energy above idle power.
        drift: disagreement of the two baselines' energy as a log ratio (>= 0); None when there is no closing bracket.
        idle_spread_w: what the board's idle power differs by between the cells of the visit; None where under two know it.
        idle_drifted: whether that is more than `IDLE_SHARE` and `IDLE_W` allow.
        flags: what a reader must know about this comparison.
    """

    subject: Subject
    tactic: str
    visit: tuple[str, int]
    arm: Arm
    baselines: tuple[Arm, ...]
    energy: LogRatio | None
    active: LogRatio | None
    time: LogRatio | None
    latency_p50: LogRatio | None
    latency_p95: LogRatio | None
    drift: float | None
    idle_spread_w: float | None
    idle_drifted: bool
    flags: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEffect:
    """One tactic on one model, over its visits. `*_j` and `*_s` are per sample, means over visits."""

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
        """Whether a model made up over half of the energy, so that a saving must not be called measured."""
        return self.modelled_share is not None and self.modelled_share > 0.5


def visit_effects(arms: Iterable[Arm]) -> list[VisitEffect]:
    """Every tactic that is ok, against the brackets of its own visit; a visit without an opening baseline has no effects."""
    visits: dict[tuple[str, str, int], list[Arm]] = defaultdict(list)
    for arm in arms:
        if arm.ok and arm.cell["visit"] is not None:
            visits[arm.cell["sweep"], arm.cell["block_id"], arm.cell["visit"]].append(arm)
    effects = []
    for (_, block_id, visit), members in visits.items():
        opening = next((arm for arm in members if arm.cell["bracket"] == "open"), None)
        closing = next((arm for arm in members if arm.cell["bracket"] == "close"), None)
        if opening is not None:
            tactics = [arm for arm in members if arm.cell["bracket"] is None and arm.cell["tactic"] != "baseline"]
            idle = _idle_powers(members)
            effects += [_visit_effect(arm, opening, closing, (block_id, visit), idle) for arm in tactics]
    return effects


def model_effects(effects: Iterable[VisitEffect]) -> list[ModelEffect]:
    """Visits of the same subject and tactic together, in order of subject."""
    groups: dict[tuple[Subject, str], list[VisitEffect]] = defaultdict(list)
    for effect in effects:
        groups[effect.subject, effect.tactic].append(effect)
    return [_model_effect(groups[key]) for key in sorted(groups)]


def _visit_effect(
    arm: Arm, opening: Arm, closing: Arm | None, visit: tuple[str, int], idle: tuple[float, float] | None
) -> VisitEffect:
    flags: list[str] = []
    baselines = tuple(b for b in (opening, closing) if b is not None and _comparable(arm, b, flags))
    energies = [b.energy_j for b in baselines]
    if closing is None:
        flags.append("the visit was cut short: one baseline only, drift unknown")
    elif any(energies) and not (len(energies) == 2 and all(energies)):
        flags.append("only one of the visit's baselines can be used: drift unknown")
    drift = None
    if len(energies) == 2 and energies[0] is not None and energies[1] is not None:
        drift = abs(math.log(energies[1].mean / energies[0].mean))
        if drifted(drift):
            flags.append(f"the visit's baselines disagree by {math.expm1(drift):.1%}".replace("%", " %"))
    if baselines and (arm.energy_j is None or not any(energies)):
        blank = [a for a in (arm, *baselines) if a.energy_j is None]
        reasons = dict.fromkeys(reason for a in blank for reason in (*a.missing_reasons, *a.rejected))
        flags.append("energy unknown: " + ("; ".join(reasons) or "no window has a total"))
    elif arm.windows_without_energy or any(b.windows_without_energy for b in baselines):
        flags.append("some windows have no total energy and were left out")
    idle_drifted = idle is not None and idle[1] - idle[0] > max(IDLE_W, IDLE_SHARE * idle[0])
    if idle is not None and idle_drifted:
        flags.append(f"the board's idle power lies between {idle[0]:.0f} and {idle[1]:.0f} W in the visit's cells")
    return VisitEffect(
        subject=_subject(arm),
        tactic=arm.cell["tactic"],
        visit=visit,
        arm=arm,
        baselines=baselines,
        energy=_log_ratio(arm.energy_j, energies),
        active=_log_ratio(arm.active_j, [b.active_j for b in baselines]),
        time=_log_ratio(arm.time_s, [b.time_s for b in baselines]),
        latency_p50=_log_ratio(arm.latency_p50_s, [b.latency_p50_s for b in baselines]),
        latency_p95=_log_ratio(arm.latency_p95_s, [b.latency_p95_s for b in baselines]),
        drift=drift,
        idle_spread_w=None if idle is None else idle[1] - idle[0],
        idle_drifted=idle_drifted,
        flags=tuple(flags),
    )


def drifted(drift: float | None) -> bool:
    """Whether a visit's baselines disagree by more than `DRIFT_LIMIT`; unknown drift is flagged as such, not here."""
    return drift is not None and math.expm1(drift) > DRIFT_LIMIT


def _idle_powers(members: Sequence[Arm]) -> tuple[float, float] | None:
    """Lowest and highest idle power of the board over the cells of a visit, W; None where under two know it."""
    known = [arm.idle_w for arm in members if arm.idle_w is not None]
    return (min(known), max(known)) if len(known) > 1 else None


def _comparable(arm: Arm, baseline: Arm, flags: list[str]) -> bool:
    """Same scope, same device; other software versions are compared, and said."""
    if arm.scope is None or arm.scope != baseline.scope:
        scopes = [scope or "different parts" for scope in (arm.scope, baseline.scope)]
        flags.append(f"not compared: energy counts {scopes[0]} here and {scopes[1]} in the baseline")
        return False
    if any(arm.cell[name] != baseline.cell[name] for name in ("host", "gpu_uuid", "device")):
        flags.append("not compared: the baseline ran on another device")
        return False
    if arm.cell["num_threads"] != baseline.cell["num_threads"]:
        flags.append("not compared: the baseline ran on another number of threads")
        return False
    versions = [name for name in VERSIONS if arm.cell[name] != baseline.cell[name]]
    flags += [f"{name.removesuffix('_version')} differs: {arm.cell[name]} against {baseline.cell[name]}" for name in versions]
    return True


def _log_ratio(arm: Measured | None, baselines: Sequence[Measured | None]) -> LogRatio | None:
    """Arm over the arithmetic mean of the baselines, with window noise of both and the drift in quadrature.

    With one baseline the drift is unknown, and with it the interval: a visit cut short must not look surer than a whole one.
    """
    known = [b for b in baselines if b is not None]
    if arm is None or not known:
        return None
    reference = stats.mean([b.mean for b in known])
    noise = stats.quadrature([_half_width(b) for b in known])
    drift = abs(math.log(known[1].mean / known[0].mean)) if len(known) == 2 else None
    half = stats.quadrature([_half_width(arm), None if noise is None else noise / len(known), drift])
    return LogRatio(math.log(arm.mean / reference), half)


def _half_width(measured: Measured) -> float | None:
    """95 % half-width of a mean over windows, relative, which to first order is that of its logarithm."""
    return None if measured.relative_error is None else stats.t_quantile(measured.windows - 1) * measured.relative_error


def _model_effect(visits: Sequence[VisitEffect]) -> ModelEffect:
    # Both sides of a cost come from the same visits: those in which the two arms were compared.
    compared = [v for v in visits if v.energy is not None]
    above_idle = [v for v in visits if v.active is not None]
    timed = [v for v in visits if v.time is not None]
    shares = [a.modelled_share for v in compared for a in (v.arm, *v.baselines) if a.modelled_share is not None]
    drifts = [v.drift for v in visits if v.drift is not None]
    return ModelEffect(
        subject=visits[0].subject,
        tactic=visits[0].tactic,
        visits=tuple(visits),
        energy=_over_visits([v.energy for v in visits]),
        active=_over_visits([v.active for v in visits]),
        time=_over_visits([v.time for v in visits]),
        latency_p50=_over_visits([v.latency_p50 for v in visits]),
        latency_p95=_over_visits([v.latency_p95 for v in visits]),
        baseline_energy_j=_mean_of(compared, lambda v: _reference([b.energy_j for b in v.baselines])),
        tactic_energy_j=_mean_of(compared, lambda v: v.arm.energy_j.mean if v.arm.energy_j else None),
        baseline_active_j=_mean_of(above_idle, lambda v: _reference([b.active_j for b in v.baselines])),
        tactic_active_j=_mean_of(above_idle, lambda v: v.arm.active_j.mean if v.arm.active_j else None),
        baseline_time_s=_mean_of(timed, lambda v: _reference([b.time_s for b in v.baselines])),
        tactic_time_s=_mean_of(timed, lambda v: v.arm.time_s.mean if v.arm.time_s else None),
        modelled_share=stats.mean(shares) if shares else None,
        drift=max(drifts, default=None),
        flags=tuple(dict.fromkeys([*(flag for v in visits for flag in v.flags), *_mixed_versions(visits)])),
    )


def _mixed_versions(visits: Sequence[VisitEffect]) -> Iterator[str]:
    """Visits on the same hardware are taken together whatever the software; that it differed is said."""
    for name in VERSIONS:
        found = sorted({str(v.arm.cell[name]) for v in visits})
        if len(found) > 1:
            yield f"visits ran with different versions of {name.removesuffix('_version')}: {', '.join(found)}"


def _over_visits(ratios: Sequence[LogRatio | None]) -> stats.Estimate | None:
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
    return stats.estimate(stats.mean(values), half, basis=basis, count=len(known))


def _subject(arm: Arm) -> Subject:
    cell = arm.cell
    return Subject(
        sweep=cell["sweep"],
        phase=cell["phase"] or "",
        task=cell["task"] or "",
        model=cell["model"] or "",
        model_source=cell["model_source"] or "",
        model_revision=cell["model_revision"] or "",
        model_family=cell["model_family"] or cell["model"] or "",
        dataset=cell["dataset"] or "",
        batch_size=cell["batch_size"] or 0,
        device=cell["device"] or "",
        hardware=arm.hardware,
        scope=arm.scope or "unknown",
        hyperparameters=cell["hyperparameters"] or "",
    )


def _reference(baselines: Sequence[Measured | None]) -> float | None:
    known = [b.mean for b in baselines if b is not None]
    return stats.mean(known) if known else None


def _mean_of(visits: Sequence[VisitEffect], value: Callable[[VisitEffect], float | None]) -> float | None:
    known = [found for found in map(value, visits) if found is not None]
    return stats.mean(known) if known else None

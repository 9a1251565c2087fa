"""What a tactic does to a model, over its rounds.

An interval comes from three or more rounds on a quiet host, by the scatter of their log ratios (see `precision`), and from
nothing else: what varies from process to process and from minute to minute is not seen within one visit. With fewer there is the
ratio alone, and what the windows did can be said in words.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, NamedTuple

from greenray.analysis import precision, stats
from greenray.analysis.arms import Arm, mostly_modelled
from greenray.analysis.declared import Declared, Experiment
from greenray.analysis.precision import MIN_ROUNDS
from greenray.analysis.visits import RATIOS, VERSIONS, Subject, VisitEffect

NULL_CHECK = "null-check"
"""The baseline under another name: compared like a tactic, and never praised as one."""
Step = Callable[[VisitEffect], float | None]
"""What one visit says of a change: a log ratio, or a difference."""


class Repeated(NamedTuple):
    """A mean over rounds with the half-width of its 95 % interval, both on the scale of the steps; and what it rests on."""

    mean: float
    half_width: float | None
    basis: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEffect:
    """One tactic on one model.

    Attributes:
        visits: a visit for each round, in order; `used` those that its figures are from: on a quiet host, or all if none was.
        `*_j`, `*_s`: per sample, means over the visits used.
        spread: largest coefficient of variation among the windows of an arm used; None where none has two windows.
        drift: that of the worst visit used, as a log ratio; without visits of which a busy host spoiled one baseline.
        first: rounds of the first stage, where their variance said how many more there are, else None.
        target: the half-width of the ratio that was asked for; None where nothing was.
    """

    subject: Subject
    tactic: str
    visits: tuple[VisitEffect, ...]
    used: tuple[VisitEffect, ...]
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
    spread: float | None
    drift: float | None
    first: int | None
    target: float | None
    flags: tuple[str, ...]

    @property
    def modelled(self) -> bool:
        return mostly_modelled(self.modelled_share)

    @property
    def arms(self) -> list[Arm]:
        """Every arm that its figures are from, the tactic's before the baselines of its visit."""
        return [arm for visit in self.used for arm in (visit.arm, *visit.reference)]

    @property
    def unit(self) -> str:
        """What a sample is, by the task."""
        return next((arm.cell["unit"] for arm in self.arms if arm.cell["unit"]), "sample")

    @property
    def learnt_less(self) -> bool:
        """Whether it is a training that learnt from fewer samples: its time is of the whole, and tells no throughput."""
        return any((visit.arm.cell["training_share"] or 1.0) < 1 for visit in self.visits)

    @property
    def rounds(self) -> int:
        """Rounds on a quiet host whose energy is known: those behind the interval."""
        return sum(visit.energy is not None and not visit.contended for visit in self.visits)

    @property
    def precise(self) -> bool | None:
        """Whether the interval is as narrow as was asked for; None without an interval, or where nothing was asked for."""
        half = None if self.energy is None else self.energy.log_half_width
        return None if half is None or self.target is None else half <= math.log1p(self.target) * (1 + 1e-9)

    @property
    def rounds_needed(self) -> int | None:
        """So many rounds would make the interval as narrow, going by these; None when over `precision.MOST_ROUNDS`."""
        values = [visit.energy for visit in self.used if visit.energy is not None]
        return None if self.target is None else precision.rounds_needed(values, target=self.target, first=self.first)


def model_effects(effects: Iterable[VisitEffect], declared: Mapping[Experiment, Declared] | None = None) -> list[ModelEffect]:
    """Rounds of the same subject and tactic together, in order."""
    groups: dict[tuple[Subject, str], list[VisitEffect]] = defaultdict(list)
    for effect in effects:
        groups[effect.subject, effect.arm.cell["tactic"]].append(effect)
    return [_model_effect(sorted(groups[key], key=lambda v: (v.round, v.visit[1])), declared or {}) for key in sorted(groups)]


def _model_effect(visits: Sequence[VisitEffect], declared: Mapping[Experiment, Declared]) -> ModelEffect:
    cell = visits[0].arm.cell
    plan = declared.get((cell["sweep"], cell["experiment"]), Declared())
    found: dict[str, Any] = {name: over_rounds(visits, name, first=plan.first) for name in RATIOS}
    for name in ("energy", "active", "time"):
        column, compared = RATIOS[name], of_quiet_host(visits, name)
        # Both sides of a cost come from the same visits: those in which the two arms were compared.
        found[f"baseline_{column}"] = stats.mean_known(_mean(v.reference, column) for v in compared)
        found[f"tactic_{column}"] = stats.mean_known(_mean([v.arm], column) for v in compared)
    used = of_quiet_host(visits, "energy") or of_quiet_host(visits, "time") or list(visits)
    lost = [visit for visit in visits if visit.energy is None]
    flagged = visits if len(lost) == len(visits) else used
    arms = [arm for visit in used for arm in (visit.arm, *visit.reference)]
    spreads = (measured.spread for arm in arms if (measured := arm.energy_j or arm.time_s) and measured.spread is not None)
    # Rounds on the same hardware are taken together whatever the software and the threads; that they differed is said.
    kinds = {f"versions of {name.removesuffix('_version')}": name for name in VERSIONS} | {"numbers of threads": "num_threads"}
    found_in = {kind: {str(v.arm.cell[name]) for v in visits} for kind, name in kinds.items()}
    # Shorter first, so that 2 threads come before 10.
    told = {kind: ", ".join(sorted(values, key=lambda v: (len(v), v))) for kind, values in found_in.items() if len(values) > 1}
    said = [f"rounds ran with different {kind}: {values}" for kind, values in told.items()]
    if 0 < len(lost) < len(visits):
        why = "; ".join(dict.fromkeys(flag for visit in lost for flag in visit.flags)) or "no figures"
        said.append(f"{len(lost)} of {len(visits)} rounds {'has' if len(lost) == 1 else 'have'} no comparison of energy ({why})")
    busy = sum(visit.contended for visit in visits)
    if busy and len(visits) - busy >= MIN_ROUNDS:  # else it is why there is no interval, and said there
        said.append(f"host busy in {busy} of {len(visits)} rounds: not used")
    return ModelEffect(
        subject=visits[0].subject,
        tactic=cell["tactic"],
        visits=tuple(visits),
        used=tuple(used),
        **found,
        modelled_share=stats.mean_known(a.modelled_share for v in used if v.energy is not None for a in (v.arm, *v.reference)),
        spread=max(spreads, default=None),
        drift=max((v.drift for v in used if v.drift is not None and len(v.reference) == len(v.baselines)), default=None),
        first=plan.first,
        target=plan.target,
        flags=tuple(dict.fromkeys([*(flag for v in flagged for flag in v.flags), *said])),
    )


def _mean(arms: Sequence[Arm], column: str) -> float | None:
    return stats.mean_known(measured and measured.mean for measured in (getattr(arm, column) for arm in arms))


def of_quiet_host(visits: Iterable[VisitEffect], ratio: str) -> list[VisitEffect]:
    """Those that know this ratio and were let alone; all that know it, if none was."""
    return let_alone(visits, attrgetter(ratio))


def let_alone(visits: Iterable[VisitEffect], step: Step) -> list[VisitEffect]:
    """The same of any change that a visit may know."""
    known = [visit for visit in visits if step(visit) is not None]
    return [visit for visit in known if not visit.contended] or known


def over_rounds(visits: Sequence[VisitEffect], ratio: str, *, first: int | None = None) -> stats.Estimate | None:
    """A ratio over rounds, None where no visit knows it; with `first` rounds in a first stage, see `precision.interval`."""
    return estimated(visits, attrgetter(ratio), first=first)


def estimated(visits: Sequence[VisitEffect], step: Step, *, first: int | None = None) -> stats.Estimate | None:
    """The same of any log ratio that a visit may know."""
    found = repeated(visits, step, first=first)
    return None if found is None else stats.estimate(found.mean, found.half_width, basis=found.basis)


def repeated(visits: Sequence[VisitEffect], step: Step, *, first: int | None = None) -> Repeated | None:
    """The mean over rounds of what `step` gives of each, with its interval; None where no visit knows it."""
    known = [visit for visit in visits if step(visit) is not None]
    if not known:
        return None
    used = let_alone(known, step)
    busy = sum(visit.contended for visit in known)
    mean, half = precision.interval([value for visit in used if (value := step(visit)) is not None], first=first)
    basis = "one round" if len(known) == 1 else f"{len(known)} rounds"
    if busy and len(known) - busy < MIN_ROUNDS:
        half, basis = None, f"host busy in {busy} of {len(known)} rounds" if len(known) > 1 else "host busy in its one round"
    elif busy:
        basis = f"{len(used)} rounds"
    return Repeated(mean, half, basis)

"""How many rounds a sweep still wants, where their number is left to the measurements (`rounds: {min, max}`).

Stein's procedure: the first `min` rounds on a quiet host say by their variance how many there must be in all; what later rounds
give is never looked at, so the intervals keep their coverage, and the answer depends on nothing but the store.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from greenray.analysis import arms, precision
from greenray.analysis.arms import Arm
from greenray.analysis.effects import of_quiet_host
from greenray.analysis.frames import Frames
from greenray.analysis.visits import Subject, VisitEffect, visit_effects
from greenray.config.matrix import Asked
from greenray.store.base import Store


def wanted_rounds(store: Store, *, sweep: str, bounds: Mapping[str, Asked], target: float) -> dict[str, int]:
    """Rounds wanted in all of each tactic with bounds, both by `repeated_id`; `target` is the half-width of the ratio that is to
    be reached (0.02 = 2 %).

    A tactic that is precise enough wants as many rounds as it has, and so does one without a result and one whose host is never
    quiet. Raises StoreError where it is no store.
    """
    return wanted_of((arm for arm in arms.load(Frames(store)) if arm.cell["sweep"] == sweep), bounds=bounds, target=target)


def wanted_of(cells: Iterable[Arm], *, bounds: Mapping[str, Asked], target: float) -> dict[str, int]:
    """The same of cells of one sweep that were read already."""
    members = list(cells)
    measured: dict[str, set[int]] = defaultdict(set)
    for arm in members:
        if arm.cell["repeated_id"] in bounds and arm.cell["visit"] is not None and arm.cell["bracket"] is None:
            measured[arm.cell["repeated_id"]].add(arm.cell["round"])
    effects: dict[str, dict[Subject, list[VisitEffect]]] = defaultdict(lambda: defaultdict(list))
    for effect in visit_effects(members):
        effects[effect.arm.cell["repeated_id"]][effect.subject].append(effect)
    return {one: _total(len(rounds), effects[one].values(), bounds[one], target) for one, rounds in measured.items()}


def _total(rounds: int, subjects: Iterable[Sequence[VisitEffect]], bounds: Asked, target: float) -> int:
    """Of a tactic with so many rounds: the most that one of its stages wants. On hardware of several kinds the kind with the most
    rounds speaks for a stage, since rounds of different kinds are never taken together."""
    stages: dict[str, Sequence[VisitEffect]] = {}
    for visits in subjects:
        stage = visits[0].subject.stage
        stages[stage] = max((stages.get(stage, ()), visits), key=len)
    wanted = [_of_stage(rounds, visits, bounds.least, target) for visits in stages.values()]
    return max(rounds, min(bounds.most, max(wanted, default=rounds)))


def _of_stage(rounds: int, visits: Sequence[VisitEffect], least: int, target: float) -> int:
    ordered = sorted(visits, key=lambda visit: (visit.round, visit.visit[1]))
    ratio = "energy" if any(visit.energy is not None for visit in ordered) else "time"
    quiet = [getattr(visit, ratio) for visit in of_quiet_host(ordered, ratio) if not visit.contended]
    first = max(least, precision.MIN_ROUNDS)
    if len(quiet) < first:
        # A short disturbance is made up for; a host that was busy for twice the first stage will go on so.
        hopeless = not quiet or (rounds >= 2 * first and 2 * len(quiet) < rounds)
        return rounds if hopeless else rounds + first - len(quiet)
    return rounds + max(0, precision.stein_rounds(quiet[:first], target=target) - len(quiet))

"""How many rounds a sweep still wants, where their number is left to the measurements (`rounds: {min, max}`).

Stein's procedure: the first `min` rounds on a quiet host say by their variance how many there must be in all; what later rounds
give is never looked at, so the intervals keep their coverage, and the answer depends on nothing but the store.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from greenray.analysis import arms, precision
from greenray.analysis.arms import Arm
from greenray.analysis.effects import of_quiet_host
from greenray.analysis.frames import Frames
from greenray.analysis.visits import Subject, VisitEffect, visit_effects
from greenray.config.spec import Rounds
from greenray.store.base import Store

SERIES = ("experiment", "phase", "task", "model", "model_source", "model_revision", "dataset", "batch_size", "device")
"""Columns of `cells` that the rounds of a block share, beside the hyperparameters and the tactic."""

Series = tuple[Any, ...]


def wanted_rounds(store: Store, *, sweep: str, bounds: Mapping[str, Rounds], target: float) -> dict[str, int]:
    """Rounds wanted in all of each tactic of these experiments, by the id of any settled cell of it, of whatever round.

    `bounds` are by experiment, `target` is the half-width of the ratio to be reached (0.02 = 2 %). A tactic that is precise
    enough wants as many rounds as it has, and so does one without a result and one whose host is never quiet. Raises StoreError
    where it is no store.
    """
    return wanted_of([arm for arm in arms.load(Frames(store)) if arm.cell["sweep"] == sweep], bounds=bounds, target=target)


def wanted_of(sweep: Iterable[Arm], *, bounds: Mapping[str, Rounds], target: float) -> dict[str, int]:
    """The same of the settled cells of one sweep."""
    cells = [arm for arm in sweep if arm.cell["experiment"] in bounds]
    tactics = [arm for arm in cells if arm.cell["visit"] is not None and arm.cell["tactic"] != "baseline"]
    measured: dict[Series, set[int]] = defaultdict(set)
    for arm in tactics:
        measured[_series(arm.cell)].add(arm.cell["round"])
    effects: dict[Series, dict[Subject, list[VisitEffect]]] = defaultdict(lambda: defaultdict(list))
    for effect in visit_effects(cells):
        effects[_series(effect.arm.cell)][effect.subject].append(effect)
    totals = {
        series: _total(len(rounds), effects[series].values(), bounds[series[0]], target) for series, rounds in measured.items()
    }
    return {arm.cell["cell_id"]: totals[_series(arm.cell)] for arm in tactics}


def _series(cell: Mapping[str, Any]) -> Series:
    return tuple(cell[name] for name in (*SERIES, "hyperparameters", "tactic"))


def _total(rounds: int, subjects: Iterable[Sequence[VisitEffect]], bounds: Rounds, target: float) -> int:
    """Of a tactic with so many rounds: the most that one of its stages wants. On hardware of several kinds the kind with the most
    rounds speaks for a stage, since rounds of different kinds are never taken together."""
    stages: dict[str, Sequence[VisitEffect]] = {}
    for visits in subjects:
        stage = visits[0].subject.stage
        stages[stage] = max((stages.get(stage, ()), visits), key=len)
    wanted = [_of_stage(rounds, visits, bounds, target) for visits in stages.values()]
    return max(rounds, min(bounds.max, max(wanted, default=rounds)))


def _of_stage(rounds: int, visits: Sequence[VisitEffect], bounds: Rounds, target: float) -> int:
    ordered = sorted(visits, key=lambda visit: (visit.round, visit.visit[1]))
    ratio = "energy" if any(visit.energy is not None for visit in ordered) else "time"
    quiet = [getattr(visit, ratio) for visit in of_quiet_host(ordered, ratio) if not visit.contended]
    first = max(bounds.min, precision.MIN_ROUNDS)
    if len(quiet) < first:
        return rounds if 2 * len(quiet) < rounds else rounds + first - len(quiet)
    return rounds + max(0, precision.stein_rounds(quiet[:first], target=target) - len(quiet))

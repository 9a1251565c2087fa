"""The same tactic on the CPU and on CUDA, over the whole energy scope and by the GPU's meter alone.

A worker with a board counts it in cpu cells too, so what a reader of nvidia-smi would have seen there can be told: an idle board,
for as long as the cell ran. Arms of one device are compared within their visits; arms of two devices share no visit, and are
compared round by round.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from statistics import fmean

from greenray.analysis import applied, effects, stats
from greenray.analysis.arms import Arm
from greenray.analysis.effects import NULL_CHECK, ModelEffect
from greenray.analysis.findings import label_cells
from greenray.analysis.measures import Value, compared, mean_of
from greenray.analysis.stats import Estimate
from greenray.analysis.visits import Subject, VisitEffect, subject_of

IDLE_SHARE, IDLE_W = 0.1, 2.0
"""A board that draws at most so much more than when idle (the larger of both) is called idle."""

_GPU, _WHOLE = mean_of("gpu_energy_j"), mean_of("energy_j")


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuOnly:
    """An effect as the GPU's meter alone shows it, with the board's mean power in the tactic's windows and when idle."""

    energy: Estimate | None
    power_w: float | None
    idle_w: float | None

    @property
    def idle(self) -> bool | None:
        """Whether the board did nothing but wait."""
        if self.power_w is None or self.idle_w is None:
            return None
        return self.power_w <= self.idle_w + max(IDLE_W, IDLE_SHARE * self.idle_w)


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """A tactic on one device."""

    effect: ModelEffect
    gpu: GpuOnly


@dataclass(frozen=True, slots=True, kw_only=True)
class SideBySide:
    """A tactic on one model, wherever it ran.

    Attributes:
        label: the model, and what tells it from the others, devices aside.
        across, across_gpu: the tactic on the CPU against the baseline on CUDA, over the whole scope (None where the two count
            different parts) and by the GPU alone.
    """

    label: str
    tactic: str
    cpu: Side | None
    cuda: Side | None
    across: Estimate | None
    across_gpu: Estimate | None

    @property
    def sides(self) -> list[Side]:
        return [side for side in (self.cpu, self.cuda) if side is not None]

    @property
    def hardly(self) -> bool:
        return any(applied.is_hardly(side.effect) for side in self.sides)


def side_by_side(arms: Sequence[Arm], of_models: Iterable[ModelEffect]) -> list[SideBySide]:
    """A row for each model and tactic, in the order of the effects; the null check is none.

    Where a device is hardware of several kinds, a row for each pair.
    """
    labels = label_cells([_anywhere(arm) for arm in arms])
    groups: dict[tuple[Subject, str], list[ModelEffect]] = defaultdict(list)
    for effect in (one for one in of_models if one.tactic != NULL_CHECK):
        groups[_wherever(effect.subject), effect.tactic].append(effect)
    baselines: dict[Subject, dict[str, list[Arm]]] = defaultdict(lambda: defaultdict(list))
    for arm in (part for whole in arms for part in whole.parts):
        if arm.ok and arm.cell["device"] == "cuda" and arm.cell["tactic"] == "baseline":
            baselines[_wherever(subject_of(arm))][arm.hardware].append(arm)
    found = []
    for (subject, tactic), members in groups.items():
        label, by_board = labels[members[0].visits[0].arm.key], baselines[subject]
        on: dict[str, list[ModelEffect | None]] = {
            device: [one for one in members if one.subject.device == device] or [None] for device in ("cpu", "cuda")
        }
        for cpu, cuda in product(on["cpu"], on["cuda"]):
            where = ", ".join(one.subject.hardware for one in (cpu, cuda) if one is not None)
            board = cuda.subject.hardware if cuda is not None else next(iter(by_board), "") if len(by_board) == 1 else ""
            references = by_board.get(board, [])
            found.append(
                SideBySide(
                    label=f"{label} ({where})" if len(on["cpu"]) * len(on["cuda"]) > 1 else label,
                    tactic=tactic,
                    cpu=None if cpu is None else Side(effect=cpu, gpu=gpu_only(cpu)),
                    cuda=None if cuda is None else Side(effect=cuda, gpu=gpu_only(cuda)),
                    across=None if cpu is None else _across(cpu, references, _WHOLE, scope=True),
                    across_gpu=None if cpu is None else _across(cpu, references, _GPU),
                )
            )
    return found


def _wherever(subject: Subject) -> Subject:
    return subject._replace(device="", hardware="", scope="")


def gpu_only(effect: ModelEffect) -> GpuOnly:
    """The board's part of an effect, from the visits that its energy is from."""
    tactics = [visit.arm for visit in effect.used]
    return GpuOnly(
        energy=effects.estimated(effect.used, partial(compared, value=_GPU), first=effect.first),
        power_w=stats.mean_known(map(mean_of("gpu_power_w"), tactics)),
        idle_w=stats.mean_known(arm.idle_w for arm in tactics),
    )


def _across(effect: ModelEffect, references: Sequence[Arm], energy_j: Value, *, scope: bool = False) -> Estimate | None:
    """Tactic over the mean of the baselines of its round; with `scope` only where both count the same parts."""
    by_round: dict[int, list[float]] = defaultdict(list)
    for arm in references:
        joules = energy_j(arm)
        if joules and not arm.contended and (not scope or arm.scope == effect.subject.scope):
            by_round[arm.cell["round"] or 1].append(joules)

    def step(visit: VisitEffect) -> float | None:
        ours, theirs = energy_j(visit.arm), by_round.get(visit.round)
        return math.log(ours / fmean(theirs)) if ours and theirs else None

    return effects.estimated(effect.used, step, first=effect.first)


def _anywhere(arm: Arm) -> Arm:
    """An arm whose device is no part of its label."""
    return replace(arm, cell=arm.cell | {"device": None}, stages=tuple(_anywhere(stage) for stage in arm.stages))

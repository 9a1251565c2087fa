"""From arms to points: each model once, with what is known of it before it runs and the energy that it then took.

Points are compared within a group: the same hardware, device, data, batch size, stage and kind of work. Within one, rounds and
brackets of a model are one point, their geometric mean. Trained in several ways (learning rates, numbers of epochs), a model
stands for those that most models were trained in: the fewer the epochs, the more of them is the first.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import NamedTuple

from greenray.analysis.arms import Arm, Row, json_of
from greenray.analysis.wording import number, setting

COLUMNS = {
    "parameters": "parameters",
    "MACs": "macs_per_sample",
    "activations": "activations_per_sample",
    "bytes moved": "bytes_moved_per_sample",
}
"""Descriptors by the columns of `cells` that hold them."""
PER_PARAMETER = "MACs per parameter"
TIME = "time per sample"
_COSTS = ("precision", "gradient_accumulation", "augmentation", "optimizer")


class Group(NamedTuple):
    """What models must have in common to be compared; `settings` are those of training that change what an epoch costs."""

    phase: str
    task: str
    device: str
    hardware: str
    scope: str
    dataset: str
    batch_size: int
    stage: str
    settings: str

    def __str__(self) -> str:
        stage = f", stage {self.stage}" if self.stage else ""
        told = f"{self.phase} on {self.dataset}, batch {self.batch_size}{stage}, {self.device}: {self.hardware}"
        return told + (f" ({self.settings})" if self.settings else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One model of a group.

    Attributes:
        logs: natural logarithms of its descriptors, of those that are known.
        log_energy, log_time: of joules and seconds per sample; None for what was not measured.
        modelled: whether a model made up most of the energy, so that it is processor time in another unit; `busy` whether
            others took enough of the host to matter, in every arm of it.
    """

    model: str
    family: str
    logs: Mapping[str, float]
    log_energy: float | None
    log_time: float | None = None
    modelled: bool = False
    busy: bool = False


def descriptor_logs(known: Mapping[str, float | None]) -> dict[str, float]:
    """Logarithms of descriptors by their names in `COLUMNS`, those that are positive, and of MACs per parameter."""
    logs = {name: math.log(value) for name in COLUMNS if (value := known.get(name))}
    if "MACs" in logs and "parameters" in logs:
        logs[PER_PARAMETER] = logs["MACs"] - logs["parameters"]
    return logs


def groups(arms: Iterable[Arm]) -> dict[Group, list[Point]]:
    """Baselines with known energy; of a model that has quiet ones, the quiet ones.

    Groups of most models come first; of equals those of the batch size that was trained with longest, then of larger ones.
    """
    found: dict[Group, dict[str, list[Arm]]] = defaultdict(lambda: defaultdict(list))
    trained: Counter[int] = Counter()
    for arm in (part for whole in arms for part in whole.parts):
        if arm.ok and arm.cell["tactic"] == "baseline" and arm.energy_j:
            group = group_of(arm)
            found[group][arm.cell["model"] or ""].append(arm)
            trained[group.batch_size] += _epochs(arm.cell["hyperparameters"])
    points = {group: [_point(model, arms) for model, arms in sorted(_alike(of).items())] for group, of in found.items()}

    def place(group: Group) -> tuple[object, ...]:
        return -len(points[group]), -trained[group.batch_size], -group.batch_size, group

    return {group: points[group] for group in sorted(points, key=place)}


def _alike(models: Mapping[str, Sequence[Arm]]) -> dict[str, list[Arm]]:
    """Of each model the arms with the hyperparameters that most models have, of equals those of most epochs.

    All of a model that has none with them.
    """
    times = Counter(hyper for arms in models.values() for hyper in {arm.cell["hyperparameters"] or "" for arm in arms})
    usual = min(times, key=lambda hyper: (-times[hyper], -_epochs(hyper), hyper))
    of_usual = {model: [arm for arm in arms if (arm.cell["hyperparameters"] or "") == usual] for model, arms in models.items()}
    return {model: of_usual[model] or list(arms) for model, arms in models.items()}


def _epochs(hyperparameters: str | None) -> int:
    epochs = json_of({"hyperparameters": hyperparameters}, "hyperparameters").get("epochs")
    return epochs if isinstance(epochs, int) else 0


def complete(points: Iterable[Point]) -> list[Point]:
    """Those that know every descriptor that over half of them know: a form needs its features of all models alike."""
    everyone = list(points)
    times = Counter(name for point in everyone for name in point.logs)
    usual = {name for name, known in times.items() if 2 * known > len(everyone)}
    return [point for point in everyone if usual and usual <= set(point.logs)]


def group_of(arm: Arm) -> Group:
    cell = arm.cell
    hyper = json_of(cell, "hyperparameters")
    told = (setting(name, hyper[name]) for name in _COSTS if hyper.get(name))
    return Group(
        **{name: cell[name] or "" for name in ("phase", "task", "device", "dataset")},
        hardware=arm.hardware,
        scope=str(arm.scope or "unknown"),
        batch_size=int(cell["batch_size"] or 0),
        stage=arm.stage,
        settings=", ".join(told),
    )


def _point(model: str, arms: list[Arm]) -> Point:
    used = [arm for arm in arms if not arm.contended] or arms
    row: Row = used[0].cell
    energies, times = ([math.log(m.mean) for m in of if m] for of in ([a.energy_j for a in used], [a.time_s for a in used]))
    return Point(
        model=model,
        family=row["model_family"] or model,
        logs=descriptor_logs({name: row[column] for name, column in COLUMNS.items()}),
        log_energy=fmean(energies),
        log_time=fmean(times) if times else None,
        modelled=any(arm.modelled for arm in used),
        busy=any(arm.contended for arm in used),
    )


def outside(new: Point, measured: Iterable[Point]) -> list[str]:
    """How far a model lies beyond the measured ones, descriptor by descriptor, in words; empty where it lies among them."""
    others = [point.logs for point in measured]
    said = []
    for name, value in new.logs.items():
        known = [logs[name] for logs in others if name in logs]
        if known and value > max(known) + 1e-9:
            said.append(f"{name}: {number(math.exp(value - max(known)))} times the most that was measured")
        elif known and value < min(known) - 1e-9:
            said.append(f"{name}: {number(math.exp(value - min(known)))} times the least that was measured")
    return said

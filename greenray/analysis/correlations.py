"""Which measurements and descriptors of models go together, with models as the units.

Windows, epochs and rounds of a model are no units: they repeat it. A family of near-duplicate checkpoints counts once, by the
mean of its models, as everywhere. Correlations are of baselines on the same hardware, in the same scope and batch size; of
training with the same settings; those on a quiet host, where a model has any. Quantities over several orders of magnitude are
correlated by their logarithms.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean
from typing import Any

from greenray.analysis.arms import Arm
from greenray.analysis.association import METHODS, MIN_UNITS, Correlation, Method, adjusted, correlation
from greenray.analysis.training import TrainingRun

Key = tuple[Any, ...]
TRAINING_ENERGY, ENERGY = "training_energy_j", "energy_j"
DESCRIPTORS = (
    "parameters",
    "macs_per_sample",
    "macs_per_parameter",
    "activations_per_sample",
    "bytes_moved_per_sample",
    "size_bytes",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """Something known of a model: of an arm of it in `phase`; by its logarithm, unless it is `plain`."""

    name: str
    label: str
    value: Callable[[Arm], float | None]
    phase: str = "inference"
    plain: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two quantities, by name, and how they go together by each method."""

    x: Quantity
    y: Quantity
    found: Mapping[Method, Correlation]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pooled:
    """What rows of epochs taken for independent would have claimed of MACs and training energy, beside what models say."""

    rows: int
    claimed: Correlation
    models: Correlation


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """All pairs of what is known of the models of one group.

    Attributes:
        hardware, device, scope, batch_size, stage: what the baselines have in common.
        training: settings that the training runs have in common, "" without any; `training_batch` their batch size.
        units: families, which count once; `models` those in them.
        modelled, busy: share (0-1) of arms whose energy a model mostly made up, and of those beside which others took enough
            of the host to matter.
        values: of each quantity, by name: what is known of each family, on the scale that is correlated.
    """

    hardware: str
    device: str
    scope: str
    batch_size: int
    stage: str
    training: str
    training_batch: int | None
    models: int
    modelled: float
    busy: float
    units: tuple[str, ...]
    quantities: tuple[Quantity, ...]
    values: Mapping[str, Mapping[str, float]]
    pairs: tuple[Pair, ...]
    pooled: Pooled | None

    def pair(self, x: str, y: str) -> Pair | None:
        return next((pair for pair in self.pairs if {pair.x.name, pair.y.name} == {x, y}), None)


def _mean(column: str) -> Callable[[Arm], float | None]:
    return lambda arm: None if (measured := getattr(arm, column)) is None else measured.mean


def _cell(column: str) -> Callable[[Arm], float | None]:
    return lambda arm: arm.cell.get(column)


def _macs_per_parameter(arm: Arm) -> float | None:
    macs, parameters = arm.cell["macs_per_sample"], arm.cell["parameters"]
    return macs / parameters if macs and parameters else None


QUANTITIES = (
    Quantity(name=ENERGY, label="energy", value=_mean("energy_j")),
    Quantity(name="time_s", label="time", value=_mean("time_s")),
    Quantity(name="gpu_power_w", label="GPU power", value=_mean("gpu_power_w")),
    Quantity(name="cpu_power_w", label="CPU power", value=_mean("cpu_power_w")),
    Quantity(name="dram_power_w", label="DRAM power", value=_mean("dram_power_w")),
    Quantity(name="gpu_utilization", label="GPU utilisation", value=_mean("gpu_utilization"), plain=True),
    Quantity(name="peak_gpu_memory_bytes", label="GPU memory", value=_cell("peak_gpu_memory_bytes")),
    Quantity(name="accuracy", label="accuracy", value=_cell("accuracy"), plain=True),
    Quantity(name=TRAINING_ENERGY, label="training energy", value=_mean("energy_j"), phase="training"),
    Quantity(name="training_time_s", label="training time", value=_mean("time_s"), phase="training"),
    Quantity(name="training_accuracy", label="trained accuracy", value=_cell("accuracy"), phase="training", plain=True),
    Quantity(name="parameters", label="parameters", value=_cell("parameters"), phase=""),
    Quantity(name="macs_per_sample", label="MACs", value=_cell("macs_per_sample"), phase=""),
    Quantity(name="macs_per_parameter", label="MACs / parameter", value=_macs_per_parameter, phase=""),
    Quantity(name="activations_per_sample", label="activations", value=_cell("activations_per_sample"), phase=""),
    Quantity(name="bytes_moved_per_sample", label="bytes moved", value=_cell("bytes_moved_per_sample"), phase=""),
    Quantity(name="size_bytes", label="size", value=_cell("size_bytes"), phase=""),
)
"""Energy and time are per sample. Descriptors have no phase: of inference, or of training where a model was only trained."""


def matrices(arms: Iterable[Arm], training: Iterable[TrainingRun] = ()) -> list[Matrix]:
    """One for each kind of hardware, device, scope, batch size and stage with `MIN_UNITS` families or more, in order."""
    inference, trained = defaultdict[Key, list[Arm]](list), defaultdict[Key, list[TrainingRun]](list)
    for arm in (part for whole in arms for part in whole.parts):
        if arm.ok and arm.cell["tactic"] == "baseline" and arm.cell["phase"] == "inference" and arm.energy_j is not None:
            inference[arm.hardware, arm.cell["device"], str(arm.scope), arm.cell["batch_size"] or 0, arm.stage].append(arm)
    for run in training:
        if run.arm.cell["tactic"] == "baseline":
            cell = run.arm.cell
            key = (run.arm.hardware, cell["device"], str(run.arm.scope), cell["batch_size"] or 0, cell["hyperparameters"] or "")
            trained[key].append(run)
    places = dict.fromkeys(key[:3] for key in [*inference, *trained])
    found = []
    for place in places:
        # Of the settings that models were trained with, those that most were; of equals those of most epochs.
        ours = [trained[key] for key in sorted(trained) if key[:3] == place]
        runs = max(ours, key=lambda of: (len({run.arm.cell["model"] for run in of}), sum(run.epochs for run in of)), default=[])
        groups = [key for key in inference if key[:3] == place] or [(*place, 0, "")]
        found += [_matrix(key, inference.get(key, []), runs) for key in groups]
    return sorted((one for one in found if one.pairs), key=_order)


def _order(matrix: Matrix) -> tuple[Any, ...]:
    """Most models first; of equals the batch size of training, then larger ones."""
    other = matrix.batch_size != matrix.training_batch
    return -matrix.models, matrix.hardware, matrix.device, other, -matrix.batch_size, matrix.stage


def _matrix(key: Key, arms: Sequence[Arm], runs: Sequence[TrainingRun]) -> Matrix:
    members = {"inference": _quiet(arms), "training": _quiet([run.arm for run in runs])}
    everything = [arm for of in members.values() for arm in of]
    served = {arm.cell["model"] for arm in members["inference"]}
    # Of a model that was also served: bytes moved are of a batch, and that of training may be another.
    members[""] = [*members["inference"], *(arm for arm in members["training"] if arm.cell["model"] not in served)]
    known = {quantity.name: _by_family(quantity, members[quantity.phase]) for quantity in QUANTITIES}
    values = {name: of for name, of in known.items() if len(of) >= MIN_UNITS}
    quantities = tuple(quantity for quantity in QUANTITIES if quantity.name in values)
    chosen = list(combinations(quantities, 2))
    found: dict[Method, list[Correlation]] = {
        method: adjusted([_correlated(values[x.name], values[y.name], method) for x, y in chosen]) for method in METHODS
    }
    pairs = tuple(Pair(x=x, y=y, found={m: found[m][place] for m in METHODS}) for place, (x, y) in enumerate(chosen))
    hardware, device, scope, batch_size, stage = key
    return Matrix(
        hardware=hardware,
        device=device,
        scope=scope,
        batch_size=batch_size,
        stage=stage,
        training=runs[0].settings if runs else "",
        training_batch=runs[0].arm.cell["batch_size"] if runs else None,
        models=len({arm.cell["model"] for arm in everything}),
        modelled=fmean(arm.modelled for arm in everything),
        busy=fmean(arm.contended for arm in everything),
        units=tuple(sorted({arm.cell["model_family"] or arm.cell["model"] for arm in everything})),
        quantities=quantities,
        values=values,
        pairs=pairs,
        pooled=_pooled(runs, pairs),
    )


def _quiet(arms: Sequence[Arm]) -> list[Arm]:
    """Of each model those on a quiet host, or all where none was."""
    spared = {arm.cell["model"] for arm in arms if not arm.contended}
    return [arm for arm in arms if not arm.contended or arm.cell["model"] not in spared]


def _by_family(quantity: Quantity, arms: Iterable[Arm]) -> dict[str, float]:
    """Mean over the models of each family, of the mean over the arms of each model."""
    families: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for arm in arms:
        value = quantity.value(arm)
        if value is not None and math.isfinite(value) and (quantity.plain or value > 0):
            model = arm.cell["model"] or ""
            families[arm.cell["model_family"] or model][model].append(value if quantity.plain else math.log(value))
    return {family: fmean(fmean(each) for each in models.values()) for family, models in sorted(families.items())}


def _correlated(x: Mapping[str, float], y: Mapping[str, float], method: Method) -> Correlation:
    both = [unit for unit in x if unit in y]
    return correlation([x[unit] for unit in both], [y[unit] for unit in both], method=method)


def _pooled(runs: Sequence[TrainingRun], pairs: Sequence[Pair]) -> Pooled | None:
    """A row for each epoch, as the paper had, alike for those of one window; nothing unless there are more than models."""
    rows = [
        (math.log(run.arm.cell["macs_per_sample"]), math.log(joules / held))
        for run in runs
        for joules, held in zip(run.windows_j, run.held, strict=True)
        if joules and run.arm.cell["macs_per_sample"]
        for _ in range(held)
    ]
    models = next((p.found["Pearson"] for p in pairs if {p.x.name, p.y.name} == {"macs_per_sample", TRAINING_ENERGY}), None)
    if models is None or models.r is None or len(rows) <= models.n:
        return None
    claimed = correlation([x for x, _ in rows], [y for _, y in rows], method="Pearson")
    return None if claimed.r is None else Pooled(rows=len(rows), claimed=claimed, models=models)

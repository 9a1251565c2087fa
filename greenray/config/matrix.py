"""From a config to cells: what is to be measured, and the identity of each point.

A cell's id is a versioned hash over what the cell *declares*: renaming an experiment, measuring longer or moving to
another host leaves it as it was, so a finished sweep can be extended. `tests/config/test_matrix.py` pins ids down.
"""

import functools
import hashlib
import json
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from greenray.config.settings import Frozen, is_path, resolve_path
from greenray.config.spec import DatasetSpec, Experiment, ModelSpec, SweepConfig, TacticStep
from greenray.errors import ConfigError

BASELINE = (TacticStep(name="baseline"),)


class ModelRef(Frozen):
    """Which model a cell runs.

    Attributes:
        source: hub, folder, config (fresh weights by architecture and preset) or checkpoint (of a training cell).
        id: hub id, path as written, `architecture-preset`, or the id of the training cell.
        label: what reports call it.
        path: absolute folder for `folder` models; not part of the identity.
    """

    source: Literal["hub", "folder", "config", "checkpoint"]
    id: str
    label: str
    revision: str | None = None
    architecture: str | None = None
    preset: str | None = None
    path: str | None = None

    def identity(self) -> dict[str, Any]:
        if self.source == "config":
            return {"architecture": self.architecture, "preset": self.preset}
        if self.source == "checkpoint":
            return {"from": self.id}
        return {"id": self.id, "revision": self.revision}


class DatasetRef(Frozen):
    """Which data a cell reads; `path` is the absolute form of a local `id` and not part of the identity."""

    id: str
    split: str | None = None
    samples: int | None = None
    revision: str | None = None
    path: str | None = None

    def identity(self) -> dict[str, Any]:
        return self.model_dump(exclude={"path"})


class Hyperparameters(Frozen):
    """What training is told."""

    epochs: int
    learning_rate: float
    schedule: str
    optimizer: str
    weight_decay: float


class Cell(Frozen):
    """One point of the matrix. `bracket` and `visit` are set for the two baselines around a visit."""

    cell_id: str
    block_id: str
    experiment: str
    phase: Literal["training", "inference"]
    task: str
    model: ModelRef
    dataset: DatasetRef
    batch_size: int
    hyperparameters: Hyperparameters | None
    device: Literal["cuda", "cpu"]
    tactic: tuple[TacticStep, ...]
    round: int
    seed: int
    bracket: Literal["open", "close"] | None = None
    visit: int | None = None

    @property
    def is_baseline(self) -> bool:
        return self.tactic == BASELINE

    @functools.cached_property
    def tactic_slug(self) -> str:
        return tactic_slug(self.tactic)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Cells to be compared with each other.

    Attributes:
        cells: the declared cells, without brackets. In a bracketed block the baseline is not among them: it is the brackets.
        bracketed: whether visits to the block open and close with a baseline.
        needs: id of the training cell whose checkpoint the block uses, or None.
    """

    block_id: str
    cells: tuple[Cell, ...]
    bracketed: bool
    needs: str | None

    @property
    def device(self) -> str:
        return self.cells[0].device

    def bracket(self, kind: Literal["open", "close"], *, visit: int) -> Cell:
        """The opening or closing baseline of one visit, with the visit in its id."""
        first = self.cells[0]
        fields = {**_fields(first), "tactic": BASELINE, "bracket": kind, "visit": visit}
        return _cell(fields)

    def shuffled(self, cells: Iterable[Cell], *, visit: int) -> list[Cell]:
        """Cells in the seeded random order of one visit."""
        ordered = sorted(cells, key=lambda cell: cell.cell_id)
        random.Random(f"{ordered[0].seed}/{self.block_id}/{visit}" if ordered else 0).shuffle(ordered)
        return ordered


def expand(config: SweepConfig, *, auto_device: str) -> list[Block]:
    """All blocks of a sweep, in the order of the file; `auto` devices become `auto_device`, duplicates are dropped.

    Raises:
        ConfigError: an experiment uses checkpoints of another that trains on none of its datasets, or under tactics.
    """
    cells: dict[str, Cell] = {}
    by_experiment: dict[str, list[Cell]] = {}
    for experiment in config.experiments:
        own = list(_expand_experiment(experiment, config=config, auto_device=auto_device, earlier=by_experiment))
        by_experiment[experiment.name] = own
        for cell in own:
            cells.setdefault(cell.cell_id, cell)
    by_block: dict[str, list[Cell]] = {}
    for cell in cells.values():
        by_block.setdefault(cell.block_id, []).append(cell)
    blocks = []
    for block_id, members in by_block.items():
        tactics = [cell for cell in members if not cell.is_baseline]
        first = members[0]
        needs = first.model.id if first.model.source == "checkpoint" else None
        blocks.append(Block(block_id=block_id, cells=tuple(tactics or members), bracketed=bool(tactics), needs=needs))
    return blocks


def tactic_slug(chain: Iterable[TacticStep]) -> str:
    """The chain as a path segment of `a-z 0-9 - + . _`; parameters at their default are left out."""
    return "+".join(_step_slug(step) for step in chain)


def _step_slug(step: TacticStep) -> str:
    from greenray.tactics.registry import tactic_class  # not at the top: config imports the registry first

    defaults = tactic_class(step.name).Params().model_dump(mode="json")
    parts = [f"{key}-{_text(value)}" for key, value in step.params.items() if value != defaults.get(key)]
    return "_".join([step.name, *parts])


def _text(value: Any) -> str:
    text = json.dumps(value) if not isinstance(value, str) else value
    return "".join(char if char.isascii() and (char.isalnum() or char in "-.") else "-" for char in text.lower())


Trained = Mapping[str, list["Cell"]]
"""The cells of earlier experiments, by the experiment's name."""


def _expand_experiment(experiment: Experiment, *, config: SweepConfig, auto_device: str, earlier: Trained) -> Iterable[Cell]:
    devices = list(dict.fromkeys(auto_device if device == "auto" else device for device in experiment.devices))
    for spec in experiment.models:
        datasets = spec.datasets if spec.datasets is not None else experiment.datasets
        for model, dataset_spec in _models(spec, datasets, experiment=experiment, config=config, earlier=earlier):
            dataset = _dataset(dataset_spec, experiment=experiment, config=config)
            for hyper in _hyperparameters(experiment):
                for batch_size in experiment.batch_sizes:
                    for device in devices:
                        for round_ in range(1, experiment.rounds + 1):
                            for chain in experiment.tactics:
                                yield _cell(
                                    {
                                        "experiment": experiment.name,
                                        "phase": experiment.phase,
                                        "task": experiment.task,
                                        "model": model,
                                        "dataset": dataset,
                                        "batch_size": batch_size,
                                        "hyperparameters": hyper,
                                        "device": device,
                                        "tactic": chain,
                                        "round": round_,
                                        "seed": config.seed,
                                    }
                                )


def _models(
    spec: ModelSpec,
    datasets: tuple[DatasetSpec, ...],
    *,
    experiment: Experiment,
    config: SweepConfig,
    earlier: Trained,
) -> Iterable[tuple[ModelRef, DatasetSpec]]:
    """Every (model, dataset) pair of one entry; a checkpoint is served on the datasets it was trained on."""
    if spec.from_experiment is not None:
        trained = earlier[spec.from_experiment]
        if not all(cell.is_baseline for cell in trained):
            raise ConfigError(
                f"experiment {experiment.name}: from: {spec.from_experiment} trains under tactics; "
                "take checkpoints from an experiment that trains the baseline alone."
            )
        labels = [cell.model.label for cell in trained]
        found = False
        for cell in trained:
            unique = labels.count(cell.model.label) == 1
            label = cell.model.label if unique else f"{cell.model.label}#{cell.cell_id.removeprefix('c1-')[:6]}"
            model = ModelRef(source="checkpoint", id=cell.cell_id, label=label)
            for dataset in datasets:
                if dataset.id == cell.dataset.id:
                    found = True
                    yield model, dataset
        if not found:
            raise ConfigError(
                f"experiment {experiment.name}: from: {spec.from_experiment} was trained on none of its datasets "
                f"({', '.join(d.id for d in datasets)})."
            )
        return
    if spec.architecture is not None:
        label = f"{spec.architecture}-{spec.preset}"
        model = ModelRef(source="config", id=label, label=label, architecture=spec.architecture, preset=spec.preset)
    elif spec.id is not None and is_path(spec.id):
        path = resolve_path(spec.id, folder=config.folder)
        model = ModelRef(source="folder", id=spec.id, label=spec.id, path=path, revision=spec.revision)
    else:
        model = ModelRef(source="hub", id=spec.id or "", label=spec.id or "", revision=spec.revision)
    for dataset in datasets:
        yield model, dataset


def _dataset(spec: DatasetSpec, *, experiment: Experiment, config: SweepConfig) -> DatasetRef:
    return DatasetRef(
        id=spec.id,
        split=spec.split or experiment.split,
        samples=spec.samples or experiment.samples,
        revision=spec.revision,
        path=resolve_path(spec.id, folder=config.folder) if is_path(spec.id) else None,
    )


def _hyperparameters(experiment: Experiment) -> Iterable[Hyperparameters | None]:
    if experiment.phase == "inference":
        yield None
        return
    for rate in experiment.learning_rates:
        for optimizer in experiment.optimizers:
            yield Hyperparameters(
                epochs=experiment.epochs or 0,
                learning_rate=rate,
                schedule=experiment.schedule,
                optimizer=optimizer,
                weight_decay=experiment.weight_decay,
            )


def _fields(cell: Cell) -> dict[str, Any]:
    return {name: getattr(cell, name) for name in Cell.model_fields if name not in ("cell_id", "block_id")}


def _cell(fields: dict[str, Any]) -> Cell:
    hyper = fields["hyperparameters"]
    point = {
        "phase": fields["phase"],
        "task": fields["task"],
        "model": fields["model"].identity(),
        "dataset": fields["dataset"].identity(),
        "batch_size": fields["batch_size"],
        "hyperparameters": hyper.model_dump() if hyper else None,
        "device": fields["device"],
        "round": fields["round"],
        "seed": fields["seed"],
    }
    identity = {**point, "tactic": [step.model_dump() for step in fields["tactic"]]}
    if fields.get("bracket"):
        identity |= {"bracket": fields["bracket"], "visit": fields["visit"]}
    return Cell(cell_id=f"c1-{_digest(identity)}", block_id=f"b1-{_digest(point)}", **fields)


def _digest(identity: dict[str, Any]) -> str:
    canonical = json.dumps(identity, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]

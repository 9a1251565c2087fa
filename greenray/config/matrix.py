"""From a config to the cells and blocks that are to be measured."""

from collections.abc import Iterable, Mapping
from itertools import chain, product
from typing import NamedTuple

from greenray.config.cell import Block, Cell, make_cell
from greenray.config.chains import NULL_CHECK, chains_on
from greenray.config.refs import DatasetRef, Hyperparameters, ModelRef
from greenray.config.settings import is_path, resolve_path
from greenray.config.spec import DatasetSpec, Experiment, ModelSpec, SweepConfig
from greenray.errors import ConfigError

Trained = Mapping[str, list[Cell]]
"""The cells of earlier experiments, by the experiment's name."""


class Asked(NamedTuple):
    """Rounds of a cell: so many at least, and at most so many as its ratio needs."""

    least: int
    most: int


def expand(config: SweepConfig, *, auto_device: str) -> list[Block]:
    """All blocks of a sweep, in the order of the file; `auto` devices become `auto_device`, duplicates are dropped.

    Of rounds between bounds there are as many as there may be: how many are wanted is seen when the first are measured.

    Raises ConfigError if an experiment uses checkpoints of another that trains on none of its datasets, or under tactics.
    """
    by_block: dict[str, dict[str, Cell]] = {}
    for cell in chain.from_iterable(_by_experiment(config, auto_device=auto_device).values()):
        by_block.setdefault(cell.block_id, {}).setdefault(cell.cell_id, cell)
    blocks = []
    for block_id, cells in by_block.items():
        members = tuple(cells.values())
        tactics = tuple(cell for cell in members if not cell.is_baseline)
        model = members[0].model
        needs = model.id if model.source == "checkpoint" else None
        blocks.append(Block(block_id=block_id, cells=tactics or members, bracketed=bool(tactics), needs=needs))
    return blocks


def rounds_asked(config: SweepConfig, *, auto_device: str) -> dict[str, Asked]:
    """How often each cell is to be repeated, by `repeated_id`; of experiments that declare the same, whoever asks for most."""
    found: dict[str, Asked] = {}
    for name, cells in _by_experiment(config, auto_device=auto_device).items():
        (rounds,) = (experiment.rounds for experiment in config.experiments if experiment.name == name)
        asked = Asked(rounds, rounds) if isinstance(rounds, int) else Asked(rounds.min, rounds.max)
        for repeated_id in {cell.repeated_id for cell in cells}:
            found[repeated_id] = Asked(*map(max, asked, found.get(repeated_id, asked)))
    return found


def _by_experiment(config: SweepConfig, *, auto_device: str) -> dict[str, list[Cell]]:
    found: dict[str, list[Cell]] = {}
    for experiment in config.experiments:
        found[experiment.name] = list(_expand_experiment(experiment, config=config, auto_device=auto_device, earlier=found))
    return found


def _expand_experiment(experiment: Experiment, *, config: SweepConfig, auto_device: str, earlier: Trained) -> Iterable[Cell]:
    devices = list(dict.fromkeys(auto_device if device == "auto" else device for device in experiment.devices))
    most = experiment.rounds if isinstance(experiment.rounds, int) else experiment.rounds.max
    hypers, rounds = list(_hyperparameters(experiment)), range(1, most + 1)
    null_check = experiment.null_check or (config.null_check and experiment.compares)
    chains = {device: [*chains_on(device, experiment.tactics), *[NULL_CHECK] * null_check] for device in devices}
    for spec in experiment.models:
        for model, named in _models(spec, experiment=experiment, config=config, earlier=earlier):
            dataset = _dataset(named, experiment=experiment, config=config)
            for hyper, batch_size, device, round_ in product(hypers, experiment.batch_sizes, devices, rounds):
                for tactic in chains[device]:
                    yield make_cell(
                        experiment=experiment.name,
                        phase=experiment.phase,
                        task=experiment.task,
                        model=model,
                        dataset=dataset,
                        batch_size=batch_size,
                        hyperparameters=hyper,
                        device=device,
                        tactic=tactic,
                        round=round_,
                        seed=config.seed,
                    )


def _models(
    spec: ModelSpec, *, experiment: Experiment, config: SweepConfig, earlier: Trained
) -> Iterable[tuple[ModelRef, DatasetSpec]]:
    """Every (model, dataset) pair of one entry; a checkpoint is served on the datasets it was trained on."""
    datasets = spec.datasets if spec.datasets is not None else experiment.datasets
    if spec.from_experiment is not None:
        return _trained_models(earlier[spec.from_experiment], datasets, place=f"{experiment.name}: from: {spec.from_experiment}")
    if spec.architecture is not None:
        label = f"{spec.architecture}-{spec.preset}"
        model = ModelRef(source="config", id=label, label=label, architecture=spec.architecture, preset=spec.preset)
    else:
        name = spec.id or ""
        path = resolve_path(name, folder=config.folder) if is_path(name) else None
        model = ModelRef(source="folder" if path else "hub", id=name, label=name, path=path, revision=spec.revision)
    return product([model], datasets)


def _trained_models(
    trained: list[Cell], datasets: tuple[DatasetSpec, ...], *, place: str
) -> Iterable[tuple[ModelRef, DatasetSpec]]:
    if not all(cell.is_baseline for cell in trained):
        raise ConfigError(
            f"experiment {place} trains under tactics; take checkpoints from an experiment that trains the baseline alone."
        )
    labels = [cell.model.label for cell in trained]
    found = []
    for cell, dataset in product(trained, datasets):
        if dataset.id == cell.dataset.id:
            unique = labels.count(cell.model.label) == 1
            label = cell.model.label if unique else f"{cell.model.label}#{cell.cell_id.removeprefix('c1-')[:6]}"
            found.append((ModelRef(source="checkpoint", id=cell.cell_id, label=label), dataset))
    if not found:
        raise ConfigError(f"experiment {place} was trained on none of its datasets ({', '.join(d.id for d in datasets)}).")
    return found


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
    for rate, optimizer in product(experiment.learning_rates, experiment.optimizers):
        yield Hyperparameters(
            epochs=experiment.epochs or 0,
            learning_rate=rate,
            schedule=experiment.schedule,
            optimizer=optimizer,
            weight_decay=experiment.weight_decay,
            precision=experiment.precision,
            gradient_accumulation=experiment.gradient_accumulation,
            augmentation=experiment.augmentation,
            evaluate_each_epoch=experiment.evaluate_each_epoch,
        )

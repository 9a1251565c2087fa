"""From a config to the cells and blocks that are to be measured."""

from collections.abc import Iterable, Mapping

from greenray.config.cell import Block, Cell, make_cell
from greenray.config.refs import DatasetRef, Hyperparameters, ModelRef
from greenray.config.settings import is_path, resolve_path
from greenray.config.spec import DatasetSpec, Experiment, ModelSpec, SweepConfig
from greenray.errors import ConfigError


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
                                yield make_cell(
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

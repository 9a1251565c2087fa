"""A sweep once through everything, as short as it goes: does each model load, each tactic apply, each row come out?

What takes days is better tried for some minutes first. Nothing that a rehearsal measures is a result, so it has a name of its own
and its rows never meet those of the sweep.
"""

from typing import Any

from greenray.config.spec import NAME_LENGTH, DatasetSpec, Experiment, SweepConfig

SUFFIX = "-rehearsal"
_SAMPLES, _EPOCHS = 16, 2
_SHORTEST: dict[str, Any] = {
    "window_s": 0.1,
    "idle_s": 0.1,
    "warmup_max_s": 0.2,
    "quiet_wait_s": 0.0,
    "min_windows": 1,
    "max_windows": 1,
    "min_counter_updates": 1,
}


def rehearsal(config: SweepConfig) -> SweepConfig:
    """The same models, data, tactics and devices: one round, the smallest batch, few samples, few epochs, shortest windows."""
    name = config.name[: NAME_LENGTH - len(SUFFIX)] + SUFFIX
    experiments = tuple(map(_once, config.experiments))
    measure = config.measure.model_copy(update=_SHORTEST)
    return config.model_copy(update={"name": name, "experiments": experiments, "measure": measure, "rehearsal": True})


def _once(experiment: Experiment) -> Experiment:
    short: dict[str, Any] = {
        "rounds": 1,
        "batch_sizes": (min(experiment.batch_sizes),),
        "datasets": tuple(map(_few, experiment.datasets)),
        "samples": min(experiment.samples or _SAMPLES, _SAMPLES),
        "models": tuple(
            model if model.datasets is None else model.model_copy(update={"datasets": tuple(map(_few, model.datasets))})
            for model in experiment.models
        ),
    }
    if experiment.epochs is not None:
        short |= {"epochs": min(experiment.epochs, _EPOCHS), "learning_rates": experiment.learning_rates[:1]}
    return experiment.model_copy(update=short)


def _few(dataset: DatasetSpec) -> DatasetSpec:
    return dataset.model_copy(update={"samples": min(dataset.samples or _SAMPLES, _SAMPLES)})

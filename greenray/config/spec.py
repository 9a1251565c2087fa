"""A sweep as frozen, validated data: the part of a config that is the matrix.

Validating it touches neither network nor GPU nor disk. Whether models and datasets exist is checked by the driver, before the
first cell.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)

from greenray.config.chains import BASELINE, DEFAULT, Chain
from greenray.config.refs import Augmentation, Precision
from greenray.config.settings import Frozen, Host, Limits, Measure, Positive, Trust, is_path
from greenray.tactics.registry import tactic_class
from greenray.tasks.registry import DEFAULT as DEFAULT_TASK
from greenray.tasks.registry import TASKS, task_class

NAME_LENGTH = 64
NAME_PATTERN = rf"[a-z][a-z0-9._-]{{0,{NAME_LENGTH - 1}}}"
DEFAULT_ROUNDS = 5


_OF_TRAINING = {
    *("epochs", "learning_rates", "schedule", "optimizers", "weight_decay", "precision", "gradient_accumulation"),
    *("augmentation", "evaluate_each_epoch"),
}


def _listed(value: Any) -> Any:
    return [value] if value == DEFAULT[0].name else value


class DatasetSpec(Frozen):
    """A dataset: one that the task knows by name, a hub id, or a local folder or file (its path starts with `.`, `/` or `~`)."""

    id: Annotated[str, Field(min_length=1)]
    split: str | None = None
    samples: Annotated[int, Field(gt=0)] | None = None
    revision: str | None = None


def _named(value: Any) -> Any:
    return {"id": value} if isinstance(value, str) else value


class ModelSpec(Frozen):
    """A model: hub id or folder (`id`), fresh weights (`architecture` and `preset`), or checkpoints of an experiment (`from`)."""

    id: Annotated[str, Field(min_length=1)] | None = None
    revision: str | None = None
    architecture: str | None = None
    preset: str | None = None
    from_experiment: str | None = Field(default=None, alias="from")
    datasets: tuple[Annotated[DatasetSpec, BeforeValidator(_named)], ...] | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if sum(kind is not None for kind in (self.id, self.architecture, self.from_experiment)) != 1:
            raise ValueError("a model has exactly one of id, architecture or from")
        if self.architecture is None and self.preset is not None:
            raise ValueError("preset belongs to architecture")
        if self.revision is not None and self.id is None:
            raise ValueError("revision belongs to a hub id")
        return self


def _known_dataset(dataset: DatasetSpec, info: ValidationInfo) -> DatasetSpec:
    """Asks the task of the experiment; a task that is wrong has its own message."""
    if "task" in info.data and not is_path(dataset.id) and "/" not in dataset.id:
        known = task_class(info.data["task"]).datasets
        if dataset.id not in known:
            write = ", ".join([*known, "a hub id (owner/name)", "or a path that starts with ./ or /"])
            raise ValueError(f"unknown dataset {dataset.id!r}; write {write}")
    return dataset


def _known_model(model: ModelSpec, info: ValidationInfo) -> ModelSpec:
    for dataset in model.datasets or ():
        _known_dataset(dataset, info)
    if "task" in info.data and model.architecture is not None:
        known = task_class(info.data["task"]).presets
        presets = [preset for architecture, preset in known if architecture == model.architecture]
        if not presets:
            names = ", ".join(dict.fromkeys(architecture for architecture, _ in known)) or "none"
            raise ValueError(f"unknown architecture {model.architecture!r}; known are {names}")
        if model.preset not in presets:
            raise ValueError(f"preset is {model.preset!r}; {model.architecture} needs one of {', '.join(presets)}")
    return model


class Rounds(Frozen):
    """As many rounds of a block as its ratios need to come within `target_ci`: `min` of all, `max` at most."""

    min: Annotated[int, Field(ge=3, le=10_000)]  # an interval needs three
    max: Annotated[int, Field(ge=3, le=10_000)]

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min ({self.min}) is more than max ({self.max})")
        return self


def _default_rounds(experiment: Mapping[str, Any]) -> int:
    """Repeated is what is compared; with nothing beside the baseline there is nothing to be sure of."""
    compared = experiment.get("null_check") or any(chain != BASELINE for chain in experiment.get("tactics", ()))
    return DEFAULT_ROUNDS if compared else 1


class Experiment(Frozen):
    """The product of its axes. `null_check` adds the baseline under another name: its effect is 0, and must come out so."""

    name: Annotated[str, Field(pattern=f"^{NAME_PATTERN}$")]
    phase: Literal["training", "inference"]
    task: str = DEFAULT_TASK
    models: Annotated[
        tuple[Annotated[ModelSpec, BeforeValidator(_named), AfterValidator(_known_model)], ...], Field(min_length=1)
    ]
    datasets: tuple[Annotated[DatasetSpec, BeforeValidator(_named), AfterValidator(_known_dataset)], ...] = ()
    split: str | None = None
    samples: Annotated[int, Field(gt=0)] | None = None
    tactics: Annotated[tuple[Chain, ...], Field(min_length=1), BeforeValidator(_listed)] = (BASELINE,)
    batch_sizes: Annotated[tuple[Annotated[int, Field(gt=0, le=1_000_000)], ...], Field(min_length=1)] = (32,)
    devices: Annotated[tuple[Literal["auto", "cuda", "cpu"], ...], Field(min_length=1)] = ("auto",)
    null_check: bool = False
    # Tags in brackets, which no sentence shows: an error names what was meant, a number or bounds.
    rounds: Annotated[
        Annotated[int, Field(ge=1, le=10_000), Tag("(number)")] | Annotated[Rounds, Tag("(bounds)")],
        Discriminator(lambda given: "(bounds)" if isinstance(given, Mapping | Rounds) else "(number)"),
    ] = Field(default_factory=_default_rounds)
    epochs: Annotated[int, Field(ge=1, le=100_000)] | None = None
    learning_rates: Annotated[tuple[Positive, ...], Field(min_length=1)] = (0.001,)
    schedule: Literal["one-cycle", "cosine", "constant"] = "one-cycle"
    optimizers: Annotated[tuple[Literal["adamw", "adam", "sgd"], ...], Field(min_length=1)] = ("adamw",)
    weight_decay: Annotated[float, Field(ge=0, le=10)] = 0.01
    precision: Precision = "fp32"
    gradient_accumulation: Annotated[int, Field(ge=1, le=10_000)] = 1
    augmentation: tuple[Augmentation, ...] = ()
    evaluate_each_epoch: bool = False

    @field_validator("task")
    @classmethod
    def _known_task(cls, value: str) -> str:
        if value not in TASKS:
            raise ValueError(f"unknown task {value!r}; known are {', '.join(TASKS)}")
        return value

    @field_validator("augmentation")
    @classmethod
    def _each_once(cls, value: tuple[Augmentation, ...]) -> tuple[Augmentation, ...]:
        if twice := next((name for name in value if value.count(name) > 1), None):
            raise ValueError(f"{twice} is there {value.count(twice)} times; name each augmentation once")
        return value

    @property
    def compares(self) -> bool:
        """Whether there is a tactic beside the baseline."""
        return any(chain != BASELINE for chain in self.tactics)

    @model_validator(mode="after")
    def _phase_fits(self) -> Self:
        if self.phase == "training" and self.epochs is None:
            raise ValueError("a training experiment needs epochs")
        extra = self.model_fields_set & _OF_TRAINING
        if self.phase == "inference" and extra:
            raise ValueError(f"{', '.join(sorted(extra))} belongs to training experiments only")
        possible = task_class(self.task).augmentations
        if impossible := [name for name in self.augmentation if name not in possible]:
            instead = f"it can do {', '.join(possible)}" if possible else "leave augmentation out"
            raise ValueError(f"{self.task} cannot augment its samples by {', '.join(impossible)}: {instead}")
        if isinstance(self.rounds, Rounds) and not (self.compares or self.null_check):
            raise ValueError("rounds between min and max are for comparing tactics; give a number")
        if not self.datasets and any(m.datasets is None for m in self.models):
            example = next(iter(task_class(self.task).datasets), "owner/name")
            raise ValueError(f"name the datasets, for example datasets: [{example}]")
        return self


class SweepConfig(Frozen):
    """One config file, validated. Relative paths start at `folder`; `null_check` is that of every experiment that compares.

    `allow_hardware_changes` lets tactics change settings of boards (a power limit), which other programs on them notice too.
    `refusals`: what becomes of models and data that cannot be had. `stop`: nothing is measured before that is mended. `record`:
    their cells fail with the reason as their rows, and the others run; they are tried again when the sweep is run again.
    `rehearsal` is set by `rehearsal.rehearsal`, never by a file.
    """

    name: Annotated[str, Field(pattern=f"^{NAME_PATTERN}$")]
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    experiments: Annotated[tuple[Experiment, ...], Field(min_length=1)]
    measure: Measure = Measure()
    limits: Limits = Limits()
    host: Host = Host()
    trust: Trust = Trust()
    null_check: bool = False
    allow_hardware_changes: bool = False
    refusals: Literal["stop", "record"] = "stop"
    rehearsal: bool = False
    folder: str = "."

    @model_validator(mode="after")
    def _references(self) -> Self:
        seen: dict[str, Experiment] = {}
        for experiment in self.experiments:
            if experiment.name in seen:
                raise ValueError(f"two experiments are named {experiment.name!r}")
            for model in experiment.models:
                source = model.from_experiment
                if source is not None and (source not in seen or seen[source].phase != "training"):
                    raise ValueError(f"experiment {experiment.name}: from: {source} names no earlier training experiment")
            seen[experiment.name] = experiment
        return self

    @model_validator(mode="after")
    def _hardware_changes_allowed(self) -> Self:
        for experiment in () if self.allow_hardware_changes else self.experiments:
            for step in (step for chain in experiment.tactics if chain != DEFAULT for step in chain):
                if tactic_class(step.name).changes_hardware:
                    raise ValueError(
                        f"experiment {experiment.name}: {step.name} changes a setting of the board; "
                        "allow it with allow_hardware_changes: true at the top of the config, or leave the tactic out"
                    )
        return self

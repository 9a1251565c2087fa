"""A sweep as frozen, validated data.

`load` reads YAML and validates it without touching network, GPU or the disk beyond the file itself. Whether models and
datasets exist is checked by the driver, before the first cell.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_serializer,
    field_validator,
    model_validator,
)

from greenray.errors import ConfigError
from greenray.tactics.registry import TACTICS, tactic_class

NAME_PATTERN = r"[a-z][a-z0-9._-]{0,63}"
ARCHITECTURES = ("vit", "resnet", "convnext", "mobilenet_v2", "swin", "efficientnet")
PRESETS = ("tiny", "small")
TASKS = ("image-classification",)
FIVE_TACTICS = ("baseline", "dynamic-quantization", "compile", "prune-local", "prune-global")

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]


class Frozen(BaseModel):
    """Base of everything in a config: immutable, and strict about unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, protected_namespaces=())


class Measure(Frozen):
    """How long and how often to measure; lengths in seconds."""

    window_s: Seconds = 5.0
    min_windows: Annotated[int, Field(ge=2, le=1000)] = 3
    max_windows: Annotated[int, Field(ge=2, le=1000)] = 10
    min_counter_updates: Annotated[int, Field(ge=1, le=10_000)] = 50
    target_ci: Annotated[float, Field(gt=0, lt=1)] = 0.02
    idle_s: Seconds = 5.0
    warmup_max_s: Seconds = 60.0
    sampling_hz: Annotated[float, Field(ge=1, le=1000)] = 50.0

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_windows > self.max_windows:
            raise ValueError(f"min_windows ({self.min_windows}) is more than max_windows ({self.max_windows})")
        return self


class Limits(Frozen):
    """What a cell may take before it is ended. `cell_memory_bytes` lowers the bound of 80 % of the host's memory / workers."""

    cell_timeout_s: Seconds = 1800.0
    cell_memory_bytes: Annotated[int, Field(gt=0)] | None = None
    max_attempts: Annotated[int, Field(ge=1, le=100)] = 2


class CpuModel(Frozen):
    """Power of a logical core where no meter exists, in watts; an assumption, kept in the manifest."""

    idle_w_per_core: Annotated[float, Field(ge=0, le=1000)] = 1.5
    active_w_per_core: Annotated[float, Field(ge=0, le=1000)] = 6.0


class WallMeter(Frozen):
    """A power meter outside the host, such as a plug meter. `{host}` in url, command or csv stands for the host's name.

    Attributes:
        url: asked every `period_s`; answers JSON.
        command: prints a line a reading, and goes on or ends (then it is run again, `period_s` after its last start). A text
            is run by the shell, a list as it is.
        csv: a file that another program appends to.
        value: where the reading is: a dotted path into JSON, a column of the CSV by name or by index from 0, a field of a
            command's line by index; left out if the whole answer or line is the number.
        time: where its time stamp is, likewise: seconds or milliseconds since 1970, or ISO 8601 text (the host's local time if
            it names no zone). Without one, a reading is of the moment halfway through the asking.
        unit: of the reading: power in W, or an energy counter in J, Wh or kWh.
        clock_offset_s: how much later than the truth the times come out, by a clock that is ahead or by a meter that takes
            its time; taken off them.
        period_s: how often the meter is asked, and how often a new reading is expected.
    """

    url: str | None = Field(default=None, repr=False)
    command: Annotated[str, Field(min_length=1)] | Annotated[tuple[str, ...], Field(min_length=1)] | None = Field(
        default=None, repr=False
    )
    csv: Annotated[str, Field(min_length=1)] | None = None
    value: str | int | None = None
    time: str | int | None = None
    unit: Literal["W", "J", "Wh", "kWh"] = "W"
    clock_offset_s: Annotated[float, Field(ge=-86_400, le=86_400, allow_inf_nan=False)] = 0.0
    period_s: Annotated[float, Field(ge=0.05, le=3600, allow_inf_nan=False)] = 1.0

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if sum(source is not None for source in (self.url, self.command, self.csv)) != 1:
            raise ValueError("a wall meter has exactly one of url, command or csv")
        # The address may hold a password, so no message quotes it.
        if self.url is not None and not _is_http(self.url.replace("{host}", "host")):
            raise ValueError("url is no address of the form http://host/path")
        if self.csv is not None and self.value is None:
            raise ValueError("csv needs value, the column of the reading")
        return self

    def starting_at(self, folder: str) -> "WallMeter":
        """The same with an absolute path of the file, if it has one."""
        return self if self.csv is None else self.model_copy(update={"csv": resolve_path(self.csv, folder=folder)})

    @field_serializer("url", "command", when_used="json")
    def _without_credentials(self, value: str | tuple[str, ...] | None) -> Any:
        return without_credentials(value) if isinstance(value, str) else value and [without_credentials(v) for v in value]


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return (
            parts.scheme in ("http", "https")
            and bool(parts.hostname)
            and parts.port != 0
            and not re.search(r"[\s\x00-\x1f]", url)
        )
    except ValueError:
        return False


def without_credentials(text: str) -> str:
    """The text with user, password and query of every address in it replaced by `***`."""
    text = re.sub(r"(\w+://)[^\s'\"]*@", r"\1***@", text)  # too much rather than too little: a password may hold anything
    return re.sub(r"(\w+://[^\s?#'\"]*\?)[^\s#'\"]*", r"\1***", text)


class Host(Frozen):
    """How hosts are shared, and what measures them beside their own meters.

    `exclusive_hosts`: `auto`: cpu cells run alone on their host; `True`: every cell does; `False`: none does.
    """

    exclusive_hosts: bool | Literal["auto"] = "auto"
    cpu_model: CpuModel = CpuModel()
    wall_meter: WallMeter | None = None


class Trust(Frozen):
    """Models that may do more than load safetensors, by name."""

    remote_code: tuple[str, ...] = ()
    pickle: tuple[str, ...] = ()


class TacticStep(Frozen):
    """One tactic with every parameter filled in."""

    name: str
    params: dict[str, Any] = Field(default_factory=dict)


def _parse_step(value: Any) -> TacticStep:
    if isinstance(value, TacticStep):
        return value
    if isinstance(value, str):
        name, given = value, {}
    elif isinstance(value, Mapping) and set(value) == {"name", "params"}:
        name, given = value["name"], value["params"]
    elif isinstance(value, Mapping) and len(value) == 1:
        name, given = next(iter(value.items()))
    else:
        raise ValueError(f"{value!r} is no tactic; write a name, {{name: {{parameter: value}}}} or a list of those for a chain")
    if name not in TACTICS:
        raise ValueError(f"unknown tactic {name!r}; known are {', '.join(TACTICS)}")
    if not isinstance(given, Mapping | None):
        raise ValueError(f"the parameters of {name} are {given!r}; write {{{name}: {{parameter: value}}}}")
    params_model = tactic_class(name).Params
    try:
        params = params_model.model_validate(dict(given or {}))
    except ValidationError as error:
        first = error.errors()[0]
        known = ", ".join(params_model.model_fields) or "none"
        place = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"tactic {name}, parameter {place}: {first['msg']} (its parameters: {known})") from None
    return TacticStep(name=name, params=params.model_dump(mode="json"))


def _parse_chain(value: Any) -> tuple[TacticStep, ...]:
    steps = [_parse_step(item) for item in (value if isinstance(value, list | tuple) else [value])]
    # `baseline` changes nothing, so it adds nothing to a chain.
    return tuple(s for s in steps if s.name != "baseline") or (TacticStep(name="baseline"),)


Chain = Annotated[tuple[TacticStep, ...], BeforeValidator(_parse_chain)]


class DatasetSpec(Frozen):
    """A dataset: `digits`, a hub id, or a local image folder or Parquet file (a path that starts with `.`, `/` or `~`)."""

    id: Annotated[str, Field(min_length=1)]
    split: str | None = None
    samples: Annotated[int, Field(gt=0)] | None = None
    revision: str | None = None

    @field_validator("id")
    @classmethod
    def _known(cls, value: str) -> str:
        if not is_path(value) and "/" not in value and value != "digits":
            raise ValueError(
                f"unknown dataset {value!r}; write digits, a hub id such as ethz/food101, or a path that starts with ./ or /"
            )
        return value


class ModelSpec(Frozen):
    """A model: hub id or folder (`id`), fresh weights (`architecture` and `preset`), or checkpoints of an experiment (`from`)."""

    id: Annotated[str, Field(min_length=1)] | None = None
    revision: str | None = None
    architecture: str | None = None
    preset: str | None = None
    from_experiment: str | None = Field(default=None, alias="from")
    datasets: tuple[Annotated[DatasetSpec, BeforeValidator(lambda v: {"id": v} if isinstance(v, str) else v)], ...] | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        kinds = [self.id is not None, self.architecture is not None, self.from_experiment is not None]
        if sum(kinds) != 1:
            raise ValueError("a model has exactly one of id, architecture or from")
        if self.architecture is not None and self.architecture not in ARCHITECTURES:
            raise ValueError(f"unknown architecture {self.architecture!r}; known are {', '.join(ARCHITECTURES)}")
        if self.architecture is not None and self.preset not in PRESETS:
            raise ValueError(f"preset is {self.preset!r}; an architecture needs one of {', '.join(PRESETS)}")
        if self.architecture is None and self.preset is not None:
            raise ValueError("preset belongs to architecture")
        if self.revision is not None and self.id is None:
            raise ValueError("revision belongs to a hub id")
        return self


def _named(value: Any) -> Any:
    return {"id": value} if isinstance(value, str) else value


class Experiment(Frozen):
    """The product of its axes."""

    name: Annotated[str, Field(pattern=f"^{NAME_PATTERN}$")]
    phase: Literal["training", "inference"]
    task: Literal["image-classification"] = "image-classification"
    models: Annotated[tuple[Annotated[ModelSpec, BeforeValidator(_named)], ...], Field(min_length=1)]
    datasets: tuple[Annotated[DatasetSpec, BeforeValidator(_named)], ...] = ()
    split: str | None = None
    samples: Annotated[int, Field(gt=0)] | None = None
    tactics: Annotated[tuple[Chain, ...], Field(min_length=1)] = ((TacticStep(name="baseline"),),)
    batch_sizes: Annotated[tuple[Annotated[int, Field(gt=0, le=1_000_000)], ...], Field(min_length=1)] = (32,)
    devices: Annotated[tuple[Literal["auto", "cuda", "cpu"], ...], Field(min_length=1)] = ("auto",)
    rounds: Annotated[int, Field(ge=1, le=10_000)] = 1
    epochs: Annotated[int, Field(ge=1, le=100_000)] | None = None
    learning_rates: Annotated[tuple[Positive, ...], Field(min_length=1)] = (0.001,)
    schedule: Literal["one-cycle", "cosine", "constant"] = "one-cycle"
    optimizers: Annotated[tuple[Literal["adamw", "adam", "sgd"], ...], Field(min_length=1)] = ("adamw",)
    weight_decay: Annotated[float, Field(ge=0, le=10)] = 0.01

    @model_validator(mode="after")
    def _phase_fits(self) -> Self:
        if self.phase == "training" and self.epochs is None:
            raise ValueError("a training experiment needs epochs")
        if self.phase == "inference":
            extra = self.model_fields_set & {"epochs", "learning_rates", "schedule", "optimizers", "weight_decay"}
            if extra:
                raise ValueError(f"{', '.join(sorted(extra))} belongs to training experiments only")
        if not self.datasets and any(m.datasets is None for m in self.models):
            raise ValueError("name the datasets, for example datasets: [digits]")
        return self


class SweepConfig(Frozen):
    """One config file, validated. `folder` is where its relative paths start."""

    name: Annotated[str, Field(pattern=f"^{NAME_PATTERN}$")]
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    experiments: Annotated[tuple[Experiment, ...], Field(min_length=1)]
    measure: Measure = Measure()
    limits: Limits = Limits()
    host: Host = Host()
    trust: Trust = Trust()
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


def is_path(name: str) -> bool:
    """Whether a model or dataset is a local path: those start with `.`, `/` or `~`; all else is a hub id."""
    return name.startswith((".", "/", "~"))


def resolve_path(name: str, *, folder: str) -> str:
    """The absolute form of a local path; relative ones start at `folder`."""
    return str((Path(folder) / Path(name).expanduser()).resolve())


def load(path: Path) -> SweepConfig:
    """Read and validate a config file.

    Raises:
        ConfigError: missing, unreadable or wrong; the sentence names the place, the value and what would be right.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: there is no such file; give the path of a config, for example configs/quickstart.yaml."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"{path}: cannot be read: {reason}.") from None
    try:
        data = yaml.safe_load(text)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise ConfigError(f"{where}: not valid YAML: {getattr(error, 'problem', None) or 'cannot be parsed'}.") from None
    if not isinstance(data, Mapping):
        raise ConfigError(f"{path}: a config is a mapping with name and experiments.")
    if "folder" in data:
        raise ConfigError(f"{path}: folder: unknown key.")
    try:
        return SweepConfig.model_validate({**data, "folder": str(path.resolve().parent)})
    except ValidationError as error:
        raise ConfigError(_sentence(error, path=path, node=node)) from None


def build(data: Mapping[str, Any]) -> SweepConfig:
    """A config from Python data (the command line without a file); raises ConfigError like `load`."""
    try:
        return SweepConfig.model_validate(dict(data))
    except ValidationError as error:
        raise ConfigError(_sentence(error, path=None, node=None)) from None


def _sentence(error: ValidationError, *, path: Path | None, node: yaml.Node | None) -> str:
    """The first problem as one sentence: file:line, place, value, what would be right."""
    problems = error.errors()
    first = problems[0]
    loc = [part for part in first["loc"] if not (isinstance(part, str) and re.search(r"[\[(]", part))]
    place = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in loc).lstrip(".") or "config"
    line = _line(node, loc)
    where = f"{path}:{line}: " if path and line else f"{path}: " if path else ""
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        message = "unknown key"
    elif first["type"] == "missing":
        message = "is required"
    elif not isinstance(first.get("input"), Mapping | Sequence) or isinstance(first.get("input"), str):
        shown = repr(first.get("input"))
        message = f"{shown} is not right: {message}" if shown not in message else message
    more = f" ({len(problems) - 1} more problem{'s' if len(problems) > 2 else ''})" if len(problems) > 1 else ""
    return f"{where}{place}: {message}{more}."


def _line(node: yaml.Node | None, loc: Sequence[int | str]) -> int | None:
    """The line of the deepest node on the way to `loc`, from 1."""
    if node is None:
        return None
    line = node.start_mark.line + 1
    for part in loc:
        child: yaml.Node | None = None
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == part:
                    line, child = key.start_mark.line + 1, value
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            child = node.value[part]
            line = child.start_mark.line + 1
        if child is None:
            break
        node = child
    return line

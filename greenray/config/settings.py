"""How a sweep measures and what it allows: the part of a config that is not the matrix, as frozen, validated data."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_serializer, model_validator

from greenray.errors import ConfigError

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]


class Frozen(BaseModel):
    """Base of everything in a config: immutable, and strict about unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, protected_namespaces=())


class Measure(Frozen):
    """How long and how often to measure; lengths in seconds.

    Attributes:
        window_s: least length of a steady window.
        min_windows, max_windows: usable steady windows that a process gives lie between them. Precision comes from rounds, each
            of fresh processes: windows of one process only tell how well that process was read.
        min_counter_updates: updates of a board's energy counter that a steady window holds at least.
        target_ci: wished half-width of the 95 % interval of the ratio tactic / baseline, as a share: rounds are added for it.
        idle_s: length of the idle window of a host with a board.
        threads: intra-op threads of every cell alike, on the host's side of a GPU cell too. `auto` is the cores that may be used
            less one, divided among the host's workers, at least 1, and for a GPU cell of those of its board's NUMA node: the
            recorder and the system need a core, and OpenMP's threads wait for the slowest, so that with all cores taken one busy
            program beside the cell makes windows differ threefold.
        quiet_wait_s: how long a worker waits at most, before a cell that has its host to itself, for others to let go of the
            processors; a wait that runs out halves the next. 0: no waiting.
        in_flight: batches on a GPU that are begun and not done. 1: each is copied, computed and waited for before the next.
            2: the next is copied and sent while the present one is computed; its latency is the time from issue to done.
    """

    window_s: Seconds = 5.0
    min_windows: Annotated[int, Field(ge=1, le=1000)] = 1
    max_windows: Annotated[int, Field(ge=1, le=1000)] = 4
    min_counter_updates: Annotated[int, Field(ge=1, le=10_000)] = 50
    target_ci: Annotated[float, Field(gt=0, lt=1)] = 0.02
    idle_s: Seconds = 5.0
    warmup_max_s: Seconds = 60.0
    sampling_hz: Annotated[float, Field(ge=1, le=1000)] = 50.0
    threads: Literal["auto"] | Annotated[int, Field(ge=1, le=1024)] = "auto"
    quiet_wait_s: Annotated[float, Field(ge=0, le=60, allow_inf_nan=False)] = 20.0
    in_flight: Literal[1, 2] = 1

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_windows > self.max_windows:
            raise ValueError(f"min_windows ({self.min_windows}) is more than max_windows ({self.max_windows})")
        return self

    def threads_of(self, *, usable_cores: int, workers_sharing: int) -> int:
        """Intra-op threads of a cell on a host with so many cores, shared by so many workers."""
        return max(1, (usable_cores - 1) // workers_sharing) if self.threads == "auto" else self.threads


class Limits(Frozen):
    """What a cell may take before it is ended. `cell_memory_bytes` lowers the bound of 80 % of the host's memory / workers."""

    cell_timeout_s: Seconds = 1800.0
    cell_memory_bytes: Annotated[int, Field(gt=0)] | None = None
    max_attempts: Annotated[int, Field(ge=1, le=100)] = 2


class CpuModel(Frozen):
    """Power of a logical core where no meter exists, in watts; an assumption, kept in the manifest."""

    idle_w_per_core: Annotated[float, Field(ge=0, le=1000)] = 1.5
    active_w_per_core: Annotated[float, Field(ge=0, le=1000)] = 6.0

    @property
    def assumption(self) -> str:
        """What is assumed, as a clause."""
        return f"{self.idle_w_per_core:g} W idle and {self.active_w_per_core:g} W active a core were assumed"


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
            # After a password with / ? or # in it: its beginning would be taken for the host, and named to everybody.
            and (parts.username is not None or "@" not in url)
        )
    except ValueError:
        return False


def without_credentials(text: str) -> str:
    """The text with user, password and query of every address in it replaced by `***`."""
    # Too much rather than too little: a password may hold anything, and a program may complain of a path without its host.
    text = re.sub(r"(\w+://)[^\s'\"]*@", r"\1***@", text)
    return re.sub(r"(/[^\s?#'\"]*\?)[^\s#'\"]*", r"\1***", text)


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


def is_path(name: str) -> bool:
    """Whether a model or dataset is a local path: those start with `.`, `/` or `~`; all else is a hub id."""
    return name.startswith((".", "/", "~"))


def resolve_path(name: str, *, folder: str) -> str:
    """The absolute form of a local path; relative ones start at `folder`. Raises ConfigError where nothing can have it."""
    try:
        return str((Path(folder) / Path(name).expanduser()).resolve())
    except (OSError, RuntimeError, ValueError) as error:  # no such user, links in a circle, a character that paths cannot hold
        raise ConfigError(f"{name!r} cannot be a path ({str(error).rstrip('.')}).") from None

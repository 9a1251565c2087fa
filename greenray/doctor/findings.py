"""What an examination finds: facts about boards, meters and host, and the problems that follow from them."""

from dataclasses import dataclass, field

from greenray.power.host import HostInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something that spoils or prevents measurements.

    Attributes:
        part: what it spoils: `GPU 0`, GPU, CPU or host.
        what, mend: what is wrong, and how to mend it; one sentence each.
        commands: what to run, mount or set, to be copied as it is.
    """

    part: str
    what: str
    mend: str
    commands: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuReport:
    """One board.

    Attributes:
        counter_missing: why the energy counter cannot be read, None when it can.
        counter_period_s, counter_jitter_s: measured; None when it did not move.
        instant_power: scope of the instant power, gpu or module; None where the board does not tell it.
        clocks_limited_by: clock event reasons just now, None when the board does not tell.
        processes: pids in the driver's own namespace, None when the board does not tell.
        source: what its energy would come from: counter, power or None.
        best_grade: the best grade that this allows; `reasons` say why no better.
    """

    index: int
    uuid: str
    name: str
    driver_version: str
    power_limit_w: float | None
    default_power_limit_w: float | None
    counter: bool
    counter_missing: str | None
    counter_period_s: float | None
    counter_jitter_s: float | None
    instant_power: str | None
    mig: bool
    persistence: bool | None
    clocks_limited_by: list[str] | None
    processes: list[int] | None
    memory_used_bytes: int | None
    source: str | None
    best_grade: str | None
    reasons: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What was found out about the host apart from its meters; `container` as `greenray.power.host.container` tells it."""

    host: HostInfo
    container: str | None = None
    sees_all_processes: bool = True
    boards_on_bus: int = 0
    nvml_problem: str | None = None
    silent_boards: int = 0
    busy_cores: float | None = None
    clock_limit_mhz: tuple[float, float] | None = None
    niceness: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PartReport:
    """What a part's energy would come from, None if from nowhere; the best grade that this allows, and why no better."""

    source: str | None
    best_grade: str | None
    reasons: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class RaplReport:
    """The powercap tree: domains that will be read, and why the processor cannot be measured by it, if so."""

    root: str
    domains: list[str]
    problem: str | None

"""What an examination finds out about a host apart from its GPUs (`greenray.gpu.base` has those)."""

from dataclasses import dataclass

from greenray.power.host import HostInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What stands around the meters; `container` as `greenray.power.host.container` tells it."""

    host: HostInfo
    container: str | None = None
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

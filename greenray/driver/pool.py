"""What the loop knows of workers, without a word of Ray: `ray_pool.py` has the real ones, the loop's tests have others."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from greenray.power.sharing import IdlePower
from greenray.worker.assignment import Assignment, AttemptResult, Live, WorkerInfo


@dataclass(slots=True, eq=False, kw_only=True)
class WorkerSlot:
    """A worker that can be given cells; one that dies never comes back, another takes its place.

    `idle_since_s` is the monotonic time of its last end of a visit, or of its start.
    """

    worker_id: str
    info: WorkerInfo
    idle_since_s: float
    live: Live = field(default_factory=Live)


@dataclass(frozen=True, slots=True, kw_only=True)
class Starting:
    """A worker that is not ready yet, and for how many seconds it has been starting."""

    host: str
    since_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """An attempt was committed."""

    worker: WorkerSlot
    result: AttemptResult


@dataclass(frozen=True, slots=True, kw_only=True)
class IdleRead:
    """The idle power of a worker's machine."""

    worker: WorkerSlot
    idle: IdlePower


@dataclass(frozen=True, slots=True, kw_only=True)
class Died:
    """A worker ended over what it was doing (`crashed`), or with an error of its own (`failed`); `reason` is a sentence."""

    worker: WorkerSlot
    status: Literal["crashed", "failed"]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A worker must not be used any more: its GPU cannot be measured. It had not begun; `reason` is a sentence."""

    worker: WorkerSlot
    reason: str


Event = Ended | IdleRead | Died | Refused


class Pool(Protocol):
    """The workers of a sweep. Every call returns at once but `wait`."""

    @property
    def workers(self) -> Sequence[WorkerSlot]:
        """Those that can be given cells, busy or not."""

    @property
    def starting(self) -> Sequence[Starting]:
        """Those that are not ready yet."""

    def refresh(self) -> None:
        """Start what is missing, take in what has become ready; to be called in every turn."""

    def start(self, worker: WorkerSlot, assignment: Assignment) -> None:
        """Have an idle worker run a cell; `Ended`, `Died` or `Refused` follows."""

    def read_idle(self, worker: WorkerSlot, seconds: float) -> None:
        """Have an idle worker read the idle power of its machine; `IdleRead`, `Died` or `Refused` follows."""

    def wait(self, timeout_s: float) -> list[Event]:
        """What has happened, as soon as something has, or nothing. Raises StoreError if a worker cannot write to the store."""

    def lost(self, worker: WorkerSlot, *, reason: str) -> None:
        """A worker died or hangs: end it for good; another takes its place."""

    def refuse(self, worker: WorkerSlot, *, reason: str) -> None:
        """A GPU cannot be measured or used: nobody takes its place."""

    def explain(self, what: str) -> str:
        """A sentence that adds to `what` why workers and GPUs were refused or are not used."""

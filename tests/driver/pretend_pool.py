"""A pool without Ray and a clock without waiting: workers do what the test wrote down for them, and time passes in `wait`.

Configs, plans, results and the watcher that go with it, for the tests of the driver's decisions.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from greenray.config.cell import Cell
from greenray.config.load import build
from greenray.config.spec import SweepConfig
from greenray.driver.ledger import Stored
from greenray.driver.plan import Plan
from greenray.driver.pool import Died, Ended, Event, IdleRead, Refused, Starting, WorkerSlot
from greenray.driver.progress import Snapshot
from greenray.driver.refusals import Refusals
from greenray.power.sharing import IdlePower
from greenray.worker.assignment import Assignment, AttemptResult, WorkerInfo, WorkerSettings
from greenray.worker.rows import unmeasured_row

TRAIN: dict[str, Any] = {
    "name": "train",
    "phase": "training",
    "models": [{"architecture": "vit", "preset": "tiny"}],
    "datasets": ["digits"],
    "epochs": 1,
}
CELL_S = 10.0
"""How long a pretended cell takes unless a test says otherwise."""


def serve(*tactics: str, devices: tuple[str, ...] = ("cpu",), **changes: Any) -> dict[str, Any]:
    return {
        "name": "serve",
        "phase": "inference",
        "models": [{"from": "train"}],
        "datasets": ["digits"],
        "tactics": list(tactics),
        "devices": list(devices),
        "rounds": 1,
        **changes,
    }


def fresh(*tactics: str, **changes: Any) -> dict[str, Any]:
    """Serving that needs no training."""
    return serve(*tactics, models=[{"architecture": "vit", "preset": "tiny"}], **changes)


def config_of(*experiments: dict[str, Any], **more: Any) -> SweepConfig:
    return build({"name": "t", "experiments": list(experiments), **more})


def settings_of(out: Path, config: SweepConfig) -> WorkerSettings:
    """What a worker of this config is told, for a store that is a folder."""
    return WorkerSettings(
        out=str(out),
        probe=None,
        sweep=config.name,
        measure=config.measure,
        cpu_model=config.host.cpu_model,
        cell_timeout_s=60,
        cell_memory_bytes=None,
        trust=config.trust,
        rehearsal=config.rehearsal,
    )


def plan_of(
    *experiments: dict[str, Any], results: Iterable[AttemptResult] = (), refused: Refusals | None = None, **more: Any
) -> Plan:
    stored = Stored(results={"t": list(results)})
    return Plan(config_of(*experiments, **more), stored=stored, auto_device="cpu", refused=refused)


def result_of(cell: Cell, status: str = "ok", *, attempt: int = 1, **changes: Any) -> AttemptResult:
    """How an attempt of a cell may have ended; a bracket's visit is its own."""
    bad = {} if status == "ok" else {"error": f"it {status}", "error_kind": "exception"}
    fields = {
        "cell_id": cell.cell_id,
        "block_id": cell.block_id,
        "visit": cell.visit,
        "bracket": cell.bracket,
        "attempt": attempt,
        "status": status,
        "error": None,
        "error_kind": None,
        "phase": cell.phase,
        "device": cell.device,
        "model": cell.model.label,
        "tactic": cell.tactic_slug,
        "cpu_name": "a processor",
        "gpu_name": None,
        "duration_s": 1.0,
        "energy_j": 5.0,
    }
    return AttemptResult(**{**fields, **bad, **changes})


def row_of(assignment: Assignment, result: AttemptResult) -> dict[str, Any]:
    """The row of `cells` that a worker would write."""
    ended = {name: getattr(result, name) for name in ("status", "error", "error_kind", "duration_s")}
    measured = {name: getattr(result, name) for name in ("cpu_name", "gpu_name", "energy_j")}
    return unmeasured_row(assignment, host="h", **ended) | measured


def slot(name: str, *, machine: str = "m", cuda: bool = False, idle_since_s: float = 0.0) -> WorkerSlot:
    info = WorkerInfo(
        host=f"host-of-{machine}",
        machine=machine,
        cpu_name="a processor",
        physical_cores=2,
        usable_cores=2,
        gpu_uuid=f"GPU-{name}" if cuda else None,
        gpu_name="a GPU" if cuda else None,
        power_limit_w=None,
        driver_version=None,
        uses_cuda=cuda,
        energy_scope="cpu",
        sees_store=True,
        versions={},
    )
    return WorkerSlot(worker_id=name, info=info, idle_since_s=idle_since_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """What a worker does with a cell: after `seconds` it ends so, or dies or is refused for a reason; None is never."""

    seconds: float | None = CELL_S
    result: dict[str, Any] = field(default_factory=dict)
    dies: str | None = None
    refused: str | None = None
    first: Callable[[], None] = lambda: None


@dataclass(slots=True, kw_only=True)
class Began:
    """A cell on a worker, and when it began and ended."""

    worker: str
    machine: str
    assignment: Assignment
    began_s: float
    ended_s: float = float("inf")

    @property
    def what(self) -> str:
        return self.assignment.cell.bracket or self.assignment.cell.tactic_slug


class PretendPool:
    """See `greenray.driver.pool.Pool`.

    Attributes:
        now: the time, seconds; `lambda: pool.now` is the loop's clock.
        script: says what becomes of an assignment; well, by default.
        later: what is to happen, at which time.
        spare: workers that take the place of lost ones, each when the next one is missing.
        began: every cell that was started. readings: machines whose idle power was asked for, and when.
    """

    def __init__(self, *workers: WorkerSlot, script: Callable[[Assignment], Act] = lambda assignment: Act()) -> None:
        self.workers = list(workers)
        self.script = script
        self.now = 1000.0
        self.later: list[tuple[float, Callable[[], None]]] = []
        self.spare: list[WorkerSlot] = []
        self.starting: list[Starting] = []
        self.idle_act = Act(seconds=5.0)
        self.began: list[Began] = []
        self.readings: list[tuple[str, float]] = []
        self.gone: list[tuple[str, str]] = []
        self.refused: list[tuple[str, str]] = []
        self._due: dict[WorkerSlot, tuple[float, Event]] = {}

    def at(self, seconds: float, action: Callable[[], None]) -> None:
        """Have something happen, so many seconds after the beginning."""
        self.later.append((1000.0 + seconds, action))

    def refresh(self) -> None:
        if self.spare and self.gone:
            self.workers.append(self.spare.pop(0))

    def start(self, worker: WorkerSlot, assignment: Assignment) -> None:
        assert worker in self.workers
        assert worker not in self._due, "busy"
        act = self.script(assignment)
        act.first()
        self.began.append(Began(worker=worker.worker_id, machine=worker.info.machine, assignment=assignment, began_s=self.now))
        fields = {"visit": assignment.visit, "attempt": assignment.attempt, "duration_s": act.seconds or 0.0, **act.result}
        self._answer(worker, act, Ended(worker=worker, result=result_of(assignment.cell, **fields)))

    def read_idle(self, worker: WorkerSlot, seconds: float) -> None:
        assert worker not in self._due, "busy"
        self.readings.append((worker.info.machine, self.now))
        self._answer(worker, self.idle_act, IdleRead(worker=worker, idle=IdlePower(cpu_w=7.0, source="rapl", seconds=seconds)))

    def wait(self, timeout_s: float) -> list[Event]:
        moments = [moment for moment, _ in [*self._due.values(), *self.later] if moment <= self.now + timeout_s]
        self.now = min(moments, default=self.now + timeout_s)
        for entry in [entry for entry in self.later if entry[0] <= self.now]:
            self.later.remove(entry)
            entry[1]()
        done = {worker: event for worker, (moment, event) in self._due.items() if moment <= self.now}
        for worker in done:
            del self._due[worker]
            for run in self.began:
                if run.worker == worker.worker_id and run.ended_s > self.now:
                    run.ended_s = self.now
        return list(done.values())

    def lost(self, worker: WorkerSlot, *, reason: str) -> None:
        self.workers.remove(worker)
        self._due.pop(worker, None)
        self.gone.append((worker.worker_id, reason))

    def refuse(self, worker: WorkerSlot, *, reason: str) -> None:
        assert worker not in self._due
        self.workers.remove(worker)
        self.refused.append((worker.worker_id, reason))

    def explain(self, what: str) -> str:
        return "; ".join([what, *(reason for _, reason in self.refused)])

    def _answer(self, worker: WorkerSlot, act: Act, well: Event) -> None:
        event = well
        if act.dies is not None:
            event = Died(worker=worker, status="crashed", reason=act.dies)
        if act.refused is not None:
            event = Refused(worker=worker, reason=act.refused)
        if act.seconds is not None:
            self._due[worker] = (self.now + act.seconds, event)


class Notes:
    """A watcher that keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.results: list[AttemptResult] = []
        self.snapshots: list[Snapshot] = []
        self.waited_for: list[Starting] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def starting(self, workers: Sequence[Starting]) -> None:
        self.waited_for += workers

    def finished(self, cell: Cell, result: AttemptResult) -> None:
        assert cell.cell_id == result.cell_id
        self.results.append(result)

    def update(self, snapshot: Snapshot) -> None:
        self.snapshots.append(snapshot)

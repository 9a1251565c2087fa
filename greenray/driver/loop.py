"""The loop over visits: hand them to idle workers, take in what comes back, decide what follows from each end of a cell.

Every attempt ends as a row: the worker writes it, or, where the worker ended with the cell, this side does.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from greenray.config.cell import Cell
from greenray.driver.boards import Boards
from greenray.driver.ledger import committed, kind_of
from greenray.driver.plan import Plan, Schedule, Visit, assign, is_exclusive
from greenray.driver.pool import Died, Ended, Event, IdleRead, Pool, Refused, WorkerSlot
from greenray.driver.progress import Interrupts, Snapshot, StopNow, Watcher, WorkerView, cell_label
from greenray.driver.rounds import add_rounds
from greenray.driver.windows import Windows
from greenray.errors import NOT_TRIED, ResourceError
from greenray.power.sharing import IdlePower
from greenray.processes.awake import AwakeClock
from greenray.store import tables
from greenray.store.base import Store
from greenray.worker.assignment import Assignment, AttemptResult
from greenray.worker.rows import unmeasured_row

_WORKLESS_S = 60.0
_GRACE_S = 330.0  # beyond a cell's own deadline: waiting for memory and a quiet host, warming the compiler, trying the board
_IDLE_READING_S = 5.0
_IDLE_HOLDS_S = 600.0  # a pause before every visit would have each begin on a host that has cooled down
_IDLE_GRACE_S = 30.0
_TURN_S = 0.25
_SHOW_S = 0.5


@dataclass(slots=True, eq=False, kw_only=True)
class _Run:
    """A visit on its worker, and the attempt in flight; every cell of a visit gives as many `windows`."""

    visit: Visit
    windows: int | None
    position: int
    assignment: Assignment
    started_s: float


class VisitLoop:
    """Runs a plan to its end on a pool of workers."""

    def __init__(
        self,
        plan: Plan,
        *,
        store: Store,
        pool: Pool,
        watcher: Watcher,
        interrupts: Interrupts,
        declared: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`declared` is called when cells have been added to the plan, or a worker was refused."""
        self._plan = plan
        self._store = store
        self._pool = pool
        self._watcher = watcher
        self._interrupts = interrupts
        self._declare = declared
        self._clock = AwakeClock(clock=clock)
        self._schedule = Schedule(plan)
        self._exclusive = plan.config.host.exclusive_hosts
        self._runs: dict[WorkerSlot, _Run] = {}
        self._readings: dict[WorkerSlot, float] = {}  # since when each reads its machine's idle power
        self._idle: dict[str, IdlePower] = {}
        self._idle_read_s: dict[str, float] = {}  # when
        self._windows = Windows()
        self._boards = Boards(models=len({cell.model.label for cell in plan.cells.values()}))
        self._told = False
        self._orphans_as_of: tuple[int, int] | None = None
        self._finished = 0

    def run(self) -> None:
        """Until nothing is left, or after one Ctrl-C until the cells in flight have ended; what is committed is safe.

        Raises:
            StopNow: cells in flight are lost.
            ResourceError: no worker, or none with the device that the rest needs, is left.
            StoreError: the store cannot be written any more.
        """
        self._active_s = self._clock()
        shown_s = float("-inf")
        while self._runs or not self._schedule.finished() or self._more():
            if self._interrupts.count >= 2:
                raise StopNow
            self._pool.refresh()
            self._record_orphans()
            if self._interrupts.count == 0:
                self._hand_out()
            else:
                self._wind_down()
            for event in self._pool.wait(_TURN_S):
                self._take(event)
            self._give_up_on_the_late()
            self._check_idle()
            if self._clock() - shown_s > _SHOW_S:
                shown_s = self._clock()
                self._watcher.starting(self._pool.starting)
                self._watcher.update(self._snapshot())
        self._watcher.update(self._snapshot())

    def _more(self) -> bool:
        """All that was wanted is done: whether some ratios need more rounds to be told as finely as was asked."""
        if self._interrupts.count or not (added := add_rounds(self._plan, self._store)):
            return False
        self._declare()
        self._watcher.say(f"{added} cells more: these ratios need further rounds to be known to the wished interval")
        return True

    def _wind_down(self) -> None:
        """After the first Ctrl-C: say once what is waited for, and end when it is there."""
        if not self._runs:
            raise StopNow
        if not self._told:
            self._told = True
            limit_s = self._plan.config.limits.cell_timeout_s
            self._watcher.say(f"finishing the cells in flight, at most {limit_s:g} s; Ctrl-C again stops now")

    def _check_idle(self) -> None:
        """Nothing runs and nobody starts, for too long: what is left needs something that is gone."""
        if self._runs or self._readings or self._pool.starting:
            self._active_s = self._clock()
        elif self._clock() - self._active_s > _WORKLESS_S:
            what = "no worker is left" if not self._pool.workers else "no worker is left that can run the rest"
            raise ResourceError(self._pool.explain(what))

    def _hand_out(self) -> None:
        """Start visits until everybody is busy or must wait. A drained machine reads its idle power first; others go on."""
        while True:
            reading = {worker.info.machine for worker in self._readings}
            running: dict[str, list[Cell]] = {}
            for worker, run in self._runs.items():
                running.setdefault(worker.info.machine, []).append(run.assignment.cell)
            idle = [w for w in self._pool.workers if w not in self._runs and w.info.machine not in reading]
            visits = self._schedule.ready() if idle else []
            choice = assign(visits=visits, idle=idle, running=running, exclusive_hosts=self._exclusive)
            if choice is None:
                return
            visit, worker = choice
            machine = worker.info.machine
            read_s = self._idle_read_s.get(machine, float("-inf"))
            if machine not in running and self._clock() - read_s > _IDLE_HOLDS_S:
                self._readings[worker] = self._clock()
                self._pool.read_idle(worker, _IDLE_READING_S)
                continue
            self._schedule.begin(visit)
            alone = is_exclusive(visit.cells[0], exclusive_hosts=self._exclusive)
            sharing = 1 if alone else sum(other.info.machine == machine for other in self._pool.workers)
            self._start(worker, visit, position=0, sharing=sharing, windows=self._windows.best(visit.block.device))

    def _start(self, worker: WorkerSlot, visit: Visit, *, position: int, sharing: int, windows: int | None) -> None:
        cell = visit.cells[position]
        assignment = Assignment(
            cell=cell,
            attempt=self._plan.ledger.state(cell.cell_id).highest_attempt + 1,
            visit=visit.number,
            order_in_visit=position if visit.number is not None else None,
            workers_sharing=sharing,
            windows=windows,
            idle=self._idle.get(worker.info.machine),
        )
        began_s = self._clock()
        self._runs[worker] = _Run(visit=visit, windows=windows, position=position, assignment=assignment, started_s=began_s)
        self._pool.start(worker, assignment)

    def _end(self, worker: WorkerSlot) -> None:
        """The visit ends here; what is pending of its block goes on as another."""
        self._schedule.end(self._runs.pop(worker).visit)
        worker.idle_since_s = self._clock()

    def _take(self, event: Event) -> None:
        worker = event.worker
        match event:
            case IdleRead():
                del self._readings[worker]
                self._idle[worker.info.machine] = event.idle
                self._idle_read_s[worker.info.machine] = self._clock()
            case Ended():
                self._attempt_ended(worker, event.result)
            case Refused():
                if self._readings.pop(worker, None) is None:
                    self._end(worker)
                self._refuse(worker, reason=event.reason)
            case Died():
                self._worker_died(worker, status=event.status, reason=event.reason)

    def _attempt_ended(self, worker: WorkerSlot, result: AttemptResult) -> None:
        run = self._runs[worker]
        self._record(run.assignment.cell, result)
        again = not self._plan.ledger.settled(result.cell_id)  # another attempt, within the same visit
        position = run.position + (not again)
        others = any(other.info.uses_cuda for other in self._pool.workers if other is not worker)
        bad = result.gpu_lost or self._boards.take(worker, result, others=others)
        if bad is not None:
            self._end(worker)
            self._refuse(worker, reason=bad)
        elif position == len(run.visit.cells) or self._interrupts.count:
            self._end(worker)
        else:
            self._start(worker, run.visit, position=position, sharing=run.assignment.workers_sharing, windows=run.windows)

    def _refuse(self, worker: WorkerSlot, *, reason: str) -> None:
        self._pool.refuse(worker, reason=reason)
        self._declare()  # now, and not at the end: whatever ends the sweep, its report names the board

    def _worker_died(self, worker: WorkerSlot, *, status: str, reason: str) -> None:
        """The worker is gone, with its cell if it had one: a row says so, unless the worker had still committed one."""
        self._pool.lost(worker, reason=reason)
        if self._readings.pop(worker, None) is not None:
            return
        run = self._runs[worker]
        self._end(worker)
        end = {"status": status, "error": f"the worker ended with it: {reason}", "error_kind": "worker"}
        self._commit(run.assignment, **end, duration_s=self._clock() - run.started_s, host=worker.info.host)

    def _give_up_on_the_late(self) -> None:
        limit_s, idle_limit_s = self._plan.config.limits.cell_timeout_s + _GRACE_S, _IDLE_READING_S + _IDLE_GRACE_S
        busy = [(worker, run.started_s, limit_s, "answer") for worker, run in self._runs.items()]
        busy += [(worker, began_s, idle_limit_s, "read its idle power") for worker, began_s in self._readings.items()]
        for worker, began_s, limit_s, what in busy:
            if self._clock() - began_s > limit_s:
                self._worker_died(worker, status="timeout", reason=f"it did not {what} within {limit_s:g} s")

    def _record_orphans(self) -> None:
        if self._orphans_as_of == self._plan.version:
            return
        self._orphans_as_of = self._plan.version
        for cell, error in self._schedule.orphans():
            attempt = self._plan.ledger.state(cell.cell_id).highest_attempt + 1
            assignment = Assignment(cell=cell, attempt=attempt, visit=None, order_in_visit=None, workers_sharing=1)
            self._commit(assignment, status="failed", error=error, error_kind="dependency", duration_s=0.0, host=None)
        for cell, end in self._plan.untold():
            assignment = Assignment(cell=cell, attempt=1, visit=None, order_in_visit=None, workers_sharing=1)
            error = f"{NOT_TRIED} ({(end.error or end.status).rstrip('.')})"
            self._commit(assignment, status=end.status, error=error, error_kind="dependency", duration_s=0.0, host=None)

    def _commit(self, assignment: Assignment, **end: Any) -> None:
        """Write a row without measurements; where the attempt has one already, that counts."""
        cell, sweep = assignment.cell, self._plan.config.name
        row = unmeasured_row(assignment, **end)
        result = AttemptResult.of_row(row, tactic=cell.tactic_slug)
        if not tables.commit(self._store, sweep=sweep, tactic=cell.tactic_slug, cell=row):
            result = committed(self._store, sweep=sweep, cell_id=cell.cell_id, attempt=assignment.attempt) or result
        self._record(cell, result)

    def _record(self, cell: Cell, result: AttemptResult) -> None:
        self._plan.ledger.record(result)
        self._windows.take(cell, result)
        self._finished += self._plan.ledger.settled(cell.cell_id) or result.error_kind == "dependency"
        self._watcher.finished(cell, result)

    def _snapshot(self) -> Snapshot:
        now = self._clock()
        views = tuple(
            WorkerView(
                host=worker.info.host,
                gpu=worker.info.gpu_name,
                cell=cell_label(run.assignment.cell) if (run := self._runs.get(worker)) else None,
                elapsed_s=now - run.started_s if run else 0.0,
                live=worker.live,
            )
            for worker in self._pool.workers
        )
        in_visits = [kind_of(cell) for run in self._runs.values() for cell in run.visit.cells[run.position :]]
        left = in_visits + self._schedule.remaining()
        expected = [seconds for kind in left if (seconds := self._plan.ledger.about_s(kind)) is not None]
        # Like cells stand in for those of a kind not seen yet; before the first there is nothing to go by.
        eta_s = sum(expected) / len(expected) * len(left) / max(1, len(views)) if expected else None
        done = self._finished
        return Snapshot(workers=views, done=done, failed=self._plan.failures(), total=done + len(left), eta_s=eta_s)

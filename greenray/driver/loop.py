"""The loop over visits: hand them to idle workers, take receipts, decide what follows from each end of a cell.

Every attempt ends as a row: the worker writes it, or, where the worker died with the cell, this side does.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from greenray.config.cell import Cell
from greenray.config.spec import SweepConfig
from greenray.driver.interrupts import Interrupts, StopNow
from greenray.driver.pool import Handle, Pool, sentence
from greenray.driver.progress import Snapshot, Watcher, WorkerView, cell_label
from greenray.driver.schedule import FINAL, Schedule, Visit, assign, is_exclusive, kind_of
from greenray.errors import MeasurementError, ResourceError, StoreError
from greenray.power.sharing import IdlePower
from greenray.store import reader, writer
from greenray.worker.assignment import Assignment, AttemptResult, ledger_row
from greenray.worker.rows import unmeasured_row

_WORKLESS_S = 60.0
_GRACE_S = 150.0  # beyond a cell's own deadline: waiting for the board's memory, settling, writing
_IDLE_READING_S = 5.0
_TURN_S = 0.25
_SHOW_S = 0.5


@dataclass(slots=True, eq=False)
class _Run:
    """A visit on its worker, and the attempt in flight."""

    visit: Visit
    handle: Handle
    sharing: int
    position: int = -1
    assignment: Assignment | None = None
    ref: Any = None
    started_s: float = 0.0


class VisitLoop:
    """Runs a schedule to its end on a pool of workers.

    Attributes:
        finished: cells that were settled by this loop, brackets included.
        failed: those of them that are not ok, unsupported or not_applied.
    """

    def __init__(
        self,
        ray: Any,
        *,
        config: SweepConfig,
        out: Path,
        pool: Pool,
        schedule: Schedule,
        watcher: Watcher,
        interrupts: Interrupts,
    ) -> None:
        self._ray = ray
        self._config = config
        self._out = out
        self._pool = pool
        self._schedule = schedule
        self._watcher = watcher
        self._interrupts = interrupts
        self._runs: list[_Run] = []
        self._idle: dict[str, IdlePower] = {}
        self._told = False
        self.finished = 0
        self.failed = 0

    def run(self) -> None:
        """Until nothing is left, or after one Ctrl-C until the cells in flight have ended.

        Raises:
            StopNow: stopped; cells in flight are lost, what is committed is safe.
            ResourceError: no worker, or none with the device that the rest needs, is left.
            StoreError: the store cannot be written any more.
        """
        self._active_s = time.monotonic()
        shown_s = 0.0
        while self._runs or not self._schedule.finished():
            self._interrupts.check()
            self._pool.refresh()
            self._record_orphans()
            if self._interrupts.count == 0:
                self._hand_out()
            else:
                self._wind_down()
            self._collect()
            self._check_idle()
            if time.monotonic() - shown_s > _SHOW_S:
                shown_s = time.monotonic()
                self._watcher.update(self._snapshot())
        self._watcher.update(self._snapshot())

    def _wind_down(self) -> None:
        """After the first Ctrl-C: say once what is waited for, and end when it is there."""
        if not self._runs:
            raise StopNow
        if not self._told:
            self._told = True
            limit_s = self._config.limits.cell_timeout_s
            self._watcher.say(f"finishing the cells in flight, at most {limit_s:g} s; Ctrl-C again stops now")

    def _check_idle(self) -> None:
        """Nothing runs and nobody starts, for too long: what is left needs something that is gone."""
        if self._runs or self._pool.starting:
            self._active_s = time.monotonic()
        elif time.monotonic() - self._active_s > _WORKLESS_S:
            what = "no worker is left" if not self._pool.workers else "no worker is left that can run the rest"
            raise ResourceError(self._pool.explain(what))

    def _hand_out(self) -> None:
        """Start visits until everybody is busy or must wait."""
        exclusive = self._config.host.exclusive_hosts
        while True:
            running: dict[str, list[Cell]] = {}
            for run in self._runs:
                if run.handle.info and run.assignment:
                    running.setdefault(run.handle.info.machine, []).append(run.assignment.cell)
            idle = {handle.worker_id: handle for handle in self._pool.workers if not handle.busy}
            choice = assign(
                visits=self._schedule.ready(),
                idle=[handle.worker_slot() for handle in idle.values()],
                running=running,
                exclusive_hosts=exclusive,
            )
            if choice is None:
                return
            visit, slot = choice
            if slot.host not in running and not self._read_idle(slot.host):
                return
            self._schedule.begin(visit)
            handle = idle[slot.worker_id]
            handle.busy = True
            alone = is_exclusive(visit.cells[0], exclusive_hosts=exclusive)
            run = _Run(visit=visit, handle=handle, sharing=1 if alone else len(self._pool.on_machine(slot.host)))
            self._runs.append(run)
            self._next(run)

    def _read_idle(self, machine: str) -> bool:
        """Read the idle power of a drained machine; False if its worker died over it."""
        handle = self._pool.on_machine(machine)[0]
        try:
            reading = handle.actor.measure_idle.remote(_IDLE_READING_S)
            self._idle[machine] = self._ray.get(reading, timeout=_IDLE_READING_S + 30.0)
        except self._ray.exceptions.RayError as error:
            self._pool.lost(handle, reason=sentence(error))
            return False
        return True

    def _next(self, run: _Run) -> None:
        """Start the visit's next cell; with none left, or after Ctrl-C, the visit ends."""
        run.position += 1
        if run.position >= len(run.visit.cells) or self._interrupts.count:
            self._end(run)
            return
        self._start(run)

    def _start(self, run: _Run) -> None:
        cell = run.visit.cells[run.position]
        info = run.handle.info
        assert info is not None
        run.assignment = Assignment(
            cell=cell,
            attempt=self._schedule.ledger.state(cell.cell_id).highest_attempt + 1,
            visit=run.visit.number,
            order_in_visit=run.position if run.visit.number is not None else None,
            workers_sharing=run.sharing,
            idle=self._idle.get(info.machine),
        )
        run.started_s = time.monotonic()
        run.ref = run.handle.actor.run.remote(run.assignment)

    def _end(self, run: _Run) -> None:
        self._schedule.end(run.visit)
        self._runs.remove(run)
        run.handle.busy = False
        run.handle.idle_since_s = time.monotonic()

    def _collect(self) -> None:
        """Take receipts; give up on cells that are long past their deadline."""
        if not self._runs:
            time.sleep(_TURN_S)
            return
        by_ref = {run.ref: run for run in self._runs}
        ready, _ = self._ray.wait(list(by_ref), num_returns=1, timeout=_TURN_S)
        for ref in ready:
            self._take(by_ref[ref])
        limit_s = self._config.limits.cell_timeout_s + _GRACE_S
        for run in [r for r in self._runs if time.monotonic() - r.started_s > limit_s]:
            self._worker_died(run, status="timeout", reason=f"it did not answer within {limit_s:g} s")

    def _take(self, run: _Run) -> None:
        assert run.assignment is not None
        try:
            result: AttemptResult = self._ray.get(run.ref)
        except StoreError as error:
            raise StoreError(sentence(error)) from None
        except MeasurementError as error:
            self._end(run)
            self._pool.refuse(run.handle, reason=sentence(error))
            return
        except self._ray.exceptions.RayTaskError as error:
            # A fault of ours in the worker; the row says so, and the worker is started afresh.
            self._worker_died(run, status="failed", reason=sentence(error))
            return
        except self._ray.exceptions.RayError as error:
            self._worker_died(run, status="crashed", reason=sentence(error))
            return
        self._pool.fruitful(run.handle)
        self._record(run.assignment, result)
        if result.gpu_lost is not None:
            self._end(run)
            self._pool.refuse(run.handle, reason=result.gpu_lost)
        elif not self._schedule.settled(run.assignment.cell) and not self._interrupts.count:
            self._start(run)  # another attempt, within the same visit
        else:
            self._next(run)

    def _worker_died(self, run: _Run, *, status: str, reason: str) -> None:
        """The worker is gone with its cell: a row says so, unless the worker had still committed one."""
        assignment, info = run.assignment, run.handle.info
        assert assignment is not None
        self._end(run)
        self._pool.lost(run.handle, reason=reason)
        if (result := self._committed(assignment)) is not None:
            self._record(assignment, result)
            return
        error = f"the worker ended with it: {reason}"
        host = info.host if info else None
        elapsed_s = time.monotonic() - run.started_s
        self._commit_unmeasured(assignment, status=status, error=error, error_kind="worker", host=host, elapsed_s=elapsed_s)

    def _record_orphans(self) -> None:
        for cell, training in self._schedule.orphans():
            attempt = self._schedule.ledger.state(cell.cell_id).highest_attempt + 1
            assignment = Assignment(cell=cell, attempt=attempt, visit=None, order_in_visit=None, workers_sharing=1)
            error = f"its checkpoint is missing: training cell {training} is not ok"
            self._commit_unmeasured(assignment, status="failed", error=error, error_kind="dependency", host=None, elapsed_s=0.0)

    def _committed(self, assignment: Assignment) -> AttemptResult | None:
        """What the store says of an attempt, if its worker committed it."""
        frame = reader.scan(self._out, table="cells", sweep=self._config.name)
        own = (pl.col("cell_id") == assignment.cell.cell_id) & (pl.col("attempt") == assignment.attempt)
        names = ["cell_id", "attempt", "status", "error", "error_kind", "duration_s", "energy_j"]
        rows = frame.filter(own).select(names).collect().to_dicts()
        return AttemptResult(**rows[0]) if rows else None

    def _commit_unmeasured(
        self, assignment: Assignment, *, status: str, error: str, error_kind: str, host: str | None, elapsed_s: float
    ) -> None:
        row = unmeasured_row(assignment, status=status, error=error, error_kind=error_kind, host=host, elapsed_s=elapsed_s)
        ours = writer.commit(
            self._out, sweep=self._config.name, tactic=assignment.cell.tactic_slug, cell=row, windows=[], trace=[], predictions=[]
        )
        result = None if ours else self._committed(assignment)  # the worker was quicker, by a hair
        self._record(
            assignment,
            result
            or AttemptResult(
                cell_id=assignment.cell.cell_id,
                attempt=assignment.attempt,
                status=status,
                error=error,
                error_kind=error_kind,
                duration_s=elapsed_s,
                energy_j=None,
            ),
        )

    def _record(self, assignment: Assignment, result: AttemptResult) -> None:
        self._schedule.ledger.add(ledger_row(assignment, result))
        if self._schedule.settled(assignment.cell) or result.error_kind == "dependency":
            self.finished += 1
            self.failed += result.status not in FINAL
        self._watcher.finished(assignment.cell, result)

    def _snapshot(self) -> Snapshot:
        now = time.monotonic()
        cells_of = {run.handle.worker_id: run for run in self._runs}
        views = []
        for handle in self._pool.workers:
            run, info = cells_of.get(handle.worker_id), handle.info
            assert info is not None
            views.append(
                WorkerView(
                    host=info.host,
                    board=info.gpu_name,
                    cell=cell_label(run.assignment.cell) if run and run.assignment else None,
                    elapsed_s=now - run.started_s if run else 0.0,
                    power_w=handle.live.power_w,
                    temperature_c=handle.live.temperature_c,
                )
            )
        in_visits = [kind_of(cell) for run in self._runs for cell in run.visit.cells[run.position :]]
        left = in_visits + self._schedule.remaining()
        known = [self._schedule.ledger.expected_s(kind) for kind in left]
        expected = [seconds for seconds in known if seconds is not None]
        # Like cells stand in for those of a kind not seen yet; before the first there is nothing to go by.
        eta_s = sum(expected) / len(expected) * len(left) / max(1, len(views)) if expected else None
        return Snapshot(
            workers=tuple(views), done=self.finished, failed=self.failed, total=self.finished + len(left), eta_s=eta_s
        )

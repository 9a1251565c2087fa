"""A loop, ready to run over a pretended pool and a store that is not, for the tests of who runs what and where."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from greenray.driver.loop import VisitLoop
from greenray.driver.plan import Plan
from greenray.driver.progress import Interrupts
from greenray.store.base import Store
from greenray.store.registry import open_store
from greenray.worker.assignment import Assignment
from tests.driver.pretend_pool import Act, Notes, PretendPool, fresh, plan_of
from tests.support.running import cells

FOUR = fresh("compile", "prune-local", "prune-global", "bf16")
LIMITS = {"cell_timeout_s": 100.0, "max_attempts": 2}


class Sweep:
    """A loop, ready to run, over a plan and a pool."""

    def __init__(self, out: Path, pool: PretendPool, *experiments: dict[str, Any], **config: Any) -> None:
        self.out = out
        self.store: Store = open_store(out)
        self.pool = pool
        self.plan: Plan = plan_of(*experiments, **{"limits": LIMITS, **config})
        self.notes = Notes()
        self.interrupts = Interrupts()
        self.declared: list[list[tuple[str, str]]] = []  # who had been refused, each time the manifest was to be written

    def run(self) -> "Sweep":
        VisitLoop(
            self.plan,
            store=self.store,
            pool=self.pool,
            watcher=self.notes,
            interrupts=self.interrupts,
            declared=lambda: self.declared.append(list(self.pool.refused)),
            clock=lambda: self.pool.now,
        ).run()
        return self

    def ended(self) -> list[tuple[str, int | None, str]]:
        """Tactic or bracket, visit and status of every attempt, in the order in which they ended."""
        return [(result.bracket or result.tactic, result.visit, result.status) for result in self.notes.results]

    def rows(self) -> list[dict[str, Any]]:
        """What this side has written; pretended workers write nothing."""
        return cells(self.out).to_dicts()


def when(**acts: Act) -> Callable[[Assignment], Act]:
    """What becomes of a tactic's first attempt, by its name with _ for -; brackets are `open` and `close`."""

    def script(assignment: Assignment) -> Act:
        name = (assignment.cell.bracket or assignment.cell.tactic_slug).replace("-", "_")
        return acts.get(name, Act()) if assignment.attempt == 1 and (assignment.visit or 1) == 1 else Act()

    return script


def overlapping(pool: PretendPool) -> bool:
    """Whether two cells ever ran at once on one machine."""
    runs = pool.began
    return any(
        a is not b and a.machine == b.machine and a.began_s < b.ended_s and b.began_s < a.ended_s for a in runs for b in runs
    )

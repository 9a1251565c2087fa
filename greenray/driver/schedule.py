"""Which visit runs next, and where: pure decisions over a plan, and over who is idle.

A visit is one uninterrupted pass over the pending cells of a block on one worker. It is handed out whole; whatever reopens a
block (a resume, a dead worker, a tactic added later) is a new visit with brackets of its own, and nothing settled runs again.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from greenray.config.cell import Block, Cell
from greenray.driver.ledger import Kind, kind_of
from greenray.driver.plan import Plan, Visit
from greenray.driver.pool import WorkerSlot


class Schedule:
    """The blocks of a plan, and which of them are being visited."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._open: set[str] = set()
        self._block_of = {cell.cell_id: block for block in plan.blocks for cell in block.cells}

    def ready(self) -> list[Visit]:
        """Visits that could start now, longest expected first; a block that is being visited has none."""
        free = [block for block in self._plan.blocks if block.block_id not in self._open and self._checkpoint(block) == "there"]
        visits = [visit for block in free if (visit := self._plan.next_visit(block))]
        about_s = self._plan.ledger.about_s
        return sorted(visits, key=lambda visit: -sum(about_s(kind_of(cell)) or 0.0 for cell in visit.cells))

    def orphans(self) -> list[tuple[Cell, str]]:
        """Cells whose checkpoint will never come, with the training cell's id; each once, until a row says so."""
        return [
            (cell, block.needs or "")
            for block in self._plan.blocks
            if self._checkpoint(block) == "lost"
            for cell in self._plan.pending(block)
            if not self._plan.ledger.state(cell.cell_id).blocked
        ]

    def finished(self) -> bool:
        """Whether nothing runs, nothing that can run is left, and a row says so of what never will."""
        if self._open or self.orphans():
            return False
        return all(self._checkpoint(block) == "lost" or not self._plan.pending(block) for block in self._plan.blocks)

    def remaining(self) -> list[Kind]:
        """Kinds of the cells that nobody visits now and somebody will, with the brackets that they would get."""
        waiting = [block for block in self._plan.blocks if block.block_id not in self._open and self._checkpoint(block) != "lost"]
        return [kind for block in waiting for kind in self._plan.kinds_left(block)]

    def begin(self, visit: Visit) -> None:
        self._open.add(visit.block.block_id)

    def end(self, visit: Visit) -> None:
        self._open.discard(visit.block.block_id)

    def _checkpoint(self, block: Block) -> Literal["there", "awaited", "lost"]:
        if block.needs is None or self._plan.ledger.state(block.needs).status == "ok":
            return "there"
        # A training cell that waits for a lost checkpoint itself will not come either.
        owner = self._block_of.get(block.needs)
        lost = self._plan.ledger.settled(block.needs) or (owner is not None and self._checkpoint(owner) == "lost")
        return "lost" if lost else "awaited"


def is_exclusive(cell: Cell, *, exclusive_hosts: bool | Literal["auto"]) -> bool:
    """Whether a cell has its host to itself."""
    return cell.device == "cpu" if exclusive_hosts == "auto" else exclusive_hosts


def assign(
    *,
    visits: Sequence[Visit],
    idle: Iterable[WorkerSlot],
    running: Mapping[str, Sequence[Cell]],
    exclusive_hosts: bool | Literal["auto"],
) -> tuple[Visit, WorkerSlot] | None:
    """The next of the visits, best first, and who starts it; None if all must wait. `running` are the cells on each machine.

    An exclusive cell waits until its host is drained, and while it runs nothing else starts there. Under `auto` a host's cpu
    visits come last, in one stretch.
    """
    for worker in sorted(idle, key=lambda w: w.idle_since_s):
        neighbours = running.get(worker.info.machine, ())
        if any(is_exclusive(cell, exclusive_hosts=exclusive_hosts) for cell in neighbours):
            continue
        cuda = [visit for visit in visits if visit.block.device == "cuda" and worker.info.uses_cuda]
        cpu = [visit for visit in visits if visit.block.device == "cpu"]
        # GPUs first: a cpu stretch would leave them idle.
        for visit in cuda or cpu:
            if neighbours and is_exclusive(visit.cells[0], exclusive_hosts=exclusive_hosts):
                continue
            return visit, worker
    return None

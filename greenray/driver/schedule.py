"""Which visit runs next, and where: pure decisions over blocks, what the store holds, and who is idle.

Pending = declared - settled. A visit is handed out whole; whatever reopens a block (a resume, a dead worker, a tactic
added later) gets a new visit with brackets of its own, and nothing that is settled runs again.
"""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from greenray.config.cell import Block, Cell

FINAL = frozenset({"ok", "not_applied", "unsupported"})

Kind = tuple[str, str, str, str]
"""Cells that take about the same time: phase, device, model, tactic slug."""


@dataclass(slots=True)
class CellState:
    """What the store holds of one cell. Attempts that never started (their checkpoint was missing) do not count as tries."""

    highest_attempt: int = 0
    tries: int = 0
    status: str | None = None
    blocked: bool = False

    def add(self, *, attempt: int, status: str, error_kind: str | None) -> None:
        self.highest_attempt = max(self.highest_attempt, attempt)
        self.blocked = error_kind == "dependency"
        if not self.blocked:
            self.tries += 1
        if self.status != "ok":
            self.status = status

    def settled(self, *, max_attempts: int) -> bool:
        """Whether nothing is left to try."""
        return self.status in FINAL or self.tries >= max_attempts


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One uninterrupted pass: brackets included, in the order in which the cells run. `number` is None for plain cells."""

    block: Block
    number: int | None
    cells: tuple[Cell, ...]


@dataclass(slots=True)
class Ledger:
    """What is committed, by cell and by block."""

    cells: dict[str, CellState] = field(default_factory=dict)
    visits: dict[str, int] = field(default_factory=dict)
    durations: dict[Kind, list[float]] = field(default_factory=dict)
    _expected: dict[Kind, float | None] = field(default_factory=dict)

    def add(self, row: Mapping[str, Any]) -> None:
        """Take in one row of `cells`, of which the identity, the end and the duration are read."""
        state = self.cells.setdefault(row["cell_id"], CellState())
        state.add(attempt=row["attempt"], status=row["status"], error_kind=row["error_kind"])
        if row["visit"] is not None:
            self.visits[row["block_id"]] = max(self.visits.get(row["block_id"], 0), row["visit"])
        if row["status"] == "ok" and row.get("duration_s"):
            key = (row["phase"], row["device"], row["model"], row["tactic"])
            self.durations.setdefault(key, []).append(row["duration_s"])
            self._expected.clear()

    def state(self, cell_id: str) -> CellState:
        return self.cells.setdefault(cell_id, CellState())

    def expected_s(self, kind: Kind) -> float | None:
        """Median duration of like cells, else of all of the same phase and device, in seconds; None before any was measured."""
        if kind not in self._expected:
            known = self.durations.get(kind) or [d for k, ds in self.durations.items() if k[:2] == kind[:2] for d in ds]
            self._expected[kind] = statistics.median(known) if known else None
        return self._expected[kind]


class Schedule:
    """The blocks of a sweep against its ledger."""

    def __init__(self, blocks: Sequence[Block], *, ledger: Ledger, max_attempts: int) -> None:
        self.blocks = list(blocks)
        self.ledger = ledger
        self.max_attempts = max_attempts
        self._open: set[str] = set()
        self._block_of = {cell.cell_id: block for block in blocks for cell in block.cells}

    def pending(self, block: Block) -> list[Cell]:
        """Declared cells of a block that are not settled."""
        return [c for c in block.cells if not self.settled(c)]

    def settled(self, cell: Cell) -> bool:
        return self.ledger.state(cell.cell_id).settled(max_attempts=self.max_attempts)

    def ready(self) -> list[Visit]:
        """Visits that could start now, longest expected first; a block that is being visited has none."""
        visits = []
        for block in self.blocks:
            pending = self.pending(block)
            if pending and block.block_id not in self._open and self._checkpoint(block) == "there":
                visits.append(self.visit(block, pending))
        return sorted(visits, key=lambda visit: -sum(self.ledger.expected_s(kind_of(cell)) or 0.0 for cell in visit.cells))

    def orphans(self) -> list[tuple[Cell, str]]:
        """Cells whose checkpoint will never come, with the training cell's id; each once, until a row says so."""
        return [
            (cell, block.needs or "")
            for block in self.blocks
            if self._checkpoint(block) == "lost"
            for cell in self.pending(block)
            if not self.ledger.state(cell.cell_id).blocked
        ]

    def finished(self) -> bool:
        """Whether nothing runs, nothing that can run is left, and a row says so of what never will."""
        if self._open or self.orphans():
            return False
        return all(self._checkpoint(block) == "lost" or not self.pending(block) for block in self.blocks)

    def remaining(self) -> list[Kind]:
        """Kinds of the cells of blocks that nobody visits now, with the brackets that they would get."""
        kinds = []
        for block in self.blocks:
            pending = [kind_of(cell) for cell in self.pending(block)] if block.block_id not in self._open else []
            kinds += pending
            if pending and block.bracketed:
                kinds += [(*pending[0][:3], "baseline")] * 2
        return kinds

    def begin(self, visit: Visit) -> None:
        self._open.add(visit.block.block_id)
        if visit.number is not None:
            self.ledger.visits[visit.block.block_id] = visit.number

    def end(self, visit: Visit) -> None:
        self._open.discard(visit.block.block_id)

    def visit(self, block: Block, pending: Sequence[Cell]) -> Visit:
        """The visit that would run these cells next, with brackets of its own."""
        if not block.bracketed:
            return Visit(block=block, number=None, cells=tuple(pending))
        number = self.ledger.visits.get(block.block_id, 0) + 1
        cells = (
            block.bracket("open", visit=number),
            *block.shuffled(pending, visit=number),
            block.bracket("close", visit=number),
        )
        return Visit(block=block, number=number, cells=cells)

    def _checkpoint(self, block: Block) -> Literal["there", "awaited", "lost"]:
        if block.needs is None:
            return "there"
        state = self.ledger.state(block.needs)
        if state.status == "ok":
            return "there"
        # A training cell that waits for a lost checkpoint itself will not come either.
        owner = self._block_of.get(block.needs)
        lost = state.settled(max_attempts=self.max_attempts) or (owner is not None and self._checkpoint(owner) == "lost")
        return "lost" if lost else "awaited"


def kind_of(cell: Cell) -> Kind:
    return cell.phase, cell.device, cell.model.label, cell.tactic_slug


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSlot:
    """A worker as the schedule sees it; `has_gpu` means that its torch can use the board."""

    worker_id: str
    host: str
    has_gpu: bool
    idle_since_s: float


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
    """The next visit to start, or None if all must wait.

    Args:
        visits: what is ready, best first.
        idle: workers with nothing to do.
        running: the cells that run on each host.
        exclusive_hosts: how hosts are shared; an exclusive cell waits until its host is drained, and while it runs
            nothing else starts there. Under `auto` a host's cpu visits come last, in one stretch.
    """
    for seat in sorted(idle, key=lambda s: s.idle_since_s):
        neighbours = running.get(seat.host, ())
        if any(is_exclusive(cell, exclusive_hosts=exclusive_hosts) for cell in neighbours):
            continue
        cuda = [visit for visit in visits if visit.block.device == "cuda" and seat.has_gpu]
        cpu = [visit for visit in visits if visit.block.device == "cpu"]
        # Boards first: a cpu stretch would leave them idle.
        for visit in cuda or cpu:
            if neighbours and is_exclusive(visit.cells[0], exclusive_hosts=exclusive_hosts):
                continue
            return visit, seat
    return None

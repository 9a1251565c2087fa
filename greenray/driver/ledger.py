"""What a store holds of attempts, cell by cell: read once, in one scan, and kept current by results."""

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from greenray.config.cell import Cell
from greenray.store import reader
from greenray.store.base import Store
from greenray.worker.assignment import RESULT_COLUMNS, AttemptResult

FINAL = frozenset({"ok", "not_applied", "unsupported"})

Kind = tuple[str, str, str, str]
"""Cells that cost about the same: phase, device, model, tactic slug."""


def kind_of(of: Cell | AttemptResult) -> Kind:
    if isinstance(of, Cell):
        return of.phase, of.device, of.model.label, of.tactic_slug
    return of.phase, of.device, of.model, of.tactic


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """Medians over ok attempts of like cells; `energy_j` is None when none of them knew its energy."""

    duration_s: float
    energy_j: float | None


@dataclass(slots=True)
class CellState:
    """What is known of one cell.

    Attributes:
        result: the end that counts: the first ok attempt, else the last.
        tries: attempts that count; one that never started, for want of its checkpoint, does not.
    """

    highest_attempt: int = 0
    tries: int = 0
    result: AttemptResult | None = None

    def add(self, result: AttemptResult) -> None:
        self.highest_attempt = max(self.highest_attempt, result.attempt)
        self.tries += result.error_kind != "dependency"
        if self.status != "ok":
            self.result = result

    @property
    def status(self) -> str | None:
        return self.result.status if self.result else None

    @property
    def blocked(self) -> bool:
        """Whether its last row says that its checkpoint is missing."""
        return self.result is not None and self.result.error_kind == "dependency"

    def settled(self, *, max_attempts: int) -> bool:
        """Whether nothing is left to try; what can never succeed is not tried twice."""
        if self.result is None:
            return False
        return self.status in FINAL or self.result.error_kind == "refused" or self.tries >= max_attempts


class Ledger:
    """The attempts of one sweep.

    Attributes:
        cells: what is known, by cell.
        visits: the highest number of a visit (one uninterrupted pass over a block) that left a row, by block.
    """

    def __init__(self, results: Iterable[AttemptResult], *, max_attempts: int, elsewhere: Iterable[AttemptResult] = ()) -> None:
        """Take in what there is.

        Args:
            results: attempts of the sweep; those of a cell in their order.
            max_attempts: tries after which a cell is settled, however it ended.
            elsewhere: attempts of other sweeps, which tell only what like cells cost.
        """
        self.cells: dict[str, CellState] = {}
        self.visits: dict[str, int] = {}
        self._max_attempts = max_attempts
        self._ok: dict[Kind, list[AttemptResult]] = {}
        self._expected: dict[Kind, Expectation | None] = {}
        self._about_s: dict[Kind, float | None] = {}
        for result in elsewhere:
            self._learn(result)
        for result in results:
            self.record(result)

    def record(self, result: AttemptResult) -> None:
        """Take in the end of one attempt."""
        self.cells.setdefault(result.cell_id, CellState()).add(result)
        if result.visit is not None:
            self.visits[result.block_id] = max(self.visits.get(result.block_id, 0), result.visit)
        self._learn(result)

    def state(self, cell_id: str) -> CellState:
        return self.cells.get(cell_id) or CellState()

    def settled(self, cell_id: str) -> bool:
        """Whether nothing is left to try."""
        return self.state(cell_id).settled(max_attempts=self._max_attempts)

    def expected(self, kind: Kind) -> Expectation | None:
        """What like cells cost; None where none was measured: the answer then is "unknown", not a guess."""
        if kind not in self._expected:
            known = self._ok.get(kind, [])
            energies = [result.energy_j for result in known if result.energy_j is not None]
            self._expected[kind] = (
                Expectation(
                    duration_s=statistics.median(result.duration_s for result in known),
                    energy_j=statistics.median(energies) if energies else None,
                )
                if known
                else None
            )
        return self._expected[kind]

    def about_s(self, kind: Kind) -> float | None:
        """As long as like cells take, else those of the same phase and device, in seconds; None before any was measured."""
        if like := self.expected(kind):
            return like.duration_s
        if kind not in self._about_s:
            known = [result.duration_s for other, results in self._ok.items() if other[:2] == kind[:2] for result in results]
            self._about_s[kind] = statistics.median(known) if known else None
        return self._about_s[kind]

    def _learn(self, result: AttemptResult) -> None:
        if result.status == "ok" and result.duration_s:
            self._ok.setdefault(kind_of(result), []).append(result)
            self._expected.pop(kind_of(result), None)
            self._about_s.clear()


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """All that a store holds of sweeps, by their names: manifests, and the attempts of each."""

    manifests: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    results: Mapping[str, list[AttemptResult]] = field(default_factory=dict)

    @classmethod
    def read(cls, store: Store) -> "Stored":
        """One listing and one scan; a store that does not exist yet holds nothing.

        Raises:
            StoreError: it is there and no store, or cannot be read.
        """
        if not store.names():
            return cls()
        results: dict[str, list[AttemptResult]] = {}
        frame = reader.scan(store, table="cells").select("sweep", *RESULT_COLUMNS).sort("sweep", "cell_id", "attempt")
        for row in frame.collect().iter_rows(named=True):
            results.setdefault(row["sweep"], []).append(AttemptResult.of_row(row))
        return cls(manifests=reader.manifests(store), results=results)

    def ledger(self, sweep: str, *, max_attempts: int) -> Ledger:
        """The attempts of one sweep, beside which the others tell what like cells cost."""
        elsewhere = [result for name, results in self.results.items() if name != sweep for result in results]
        return Ledger(self.results.get(sweep, ()), max_attempts=max_attempts, elsewhere=elsewhere)


def committed(store: Store, *, sweep: str, cell_id: str, attempt: int) -> AttemptResult | None:
    """What the store says of one attempt."""
    own = (pl.col("cell_id") == cell_id) & (pl.col("attempt") == attempt)
    rows = reader.scan(store, table="cells", sweep=sweep).filter(own).select(RESULT_COLUMNS).collect().to_dicts()
    return AttemptResult.of_row(rows[0]) if rows else None

"""What a store holds of attempts, cell by cell: read once, in one scan, and kept current by results."""

import statistics
from collections.abc import Mapping, Sequence
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
    """What is known of one cell: `result` is the end that counts, of the first ok attempt, else of the last."""

    highest_attempt: int = 0
    tries: int = 0  # not among them: an attempt that never started, for want of its checkpoint
    result: AttemptResult | None = None

    @property
    def status(self) -> str | None:
        return self.result.status if self.result else None


class Ledger:
    """The attempts of one sweep, by cell; and by block the highest number of a visit that left a row."""

    def __init__(self, *, max_attempts: int) -> None:
        self.cells: dict[str, CellState] = {}
        self.visits: dict[str, int] = {}
        self.recorded = 0  # attempts taken in
        self._max_attempts = max_attempts
        self._ok: dict[Kind, list[AttemptResult]] = {}
        self._about_s: dict[Kind, float | None] = {}

    def record(self, result: AttemptResult) -> None:
        """Take in the end of an attempt; those of a cell in their order."""
        self.recorded += 1
        state = self.cells.setdefault(result.cell_id, CellState())
        state.highest_attempt = max(state.highest_attempt, result.attempt)
        state.tries += result.error_kind != "dependency"
        if state.status != "ok":
            state.result = result
        if result.visit is not None:
            self.visits[result.block_id] = max(self.visits.get(result.block_id, 0), result.visit)
        self.learn(result)

    def state(self, cell_id: str) -> CellState:
        return self.cells.get(cell_id) or CellState()

    def settled(self, cell_id: str) -> bool:
        """Whether nothing is left to try; what can never succeed is not tried twice."""
        state = self.state(cell_id)
        if state.result is None:
            return False
        final = state.status in FINAL or state.result.error_kind in ("refused", "withheld")
        return final or state.tries >= self._max_attempts

    def expected(self, kind: Kind) -> Expectation | None:
        """What like cells cost; None where none was measured: the answer then is "unknown", not a guess."""
        if not (known := self._ok.get(kind)):
            return None
        energies = [result.energy_j for result in known if result.energy_j is not None]
        return Expectation(
            duration_s=statistics.median(result.duration_s for result in known),
            energy_j=statistics.median(energies) if energies else None,
        )

    def about_s(self, kind: Kind) -> float | None:
        """As long as like cells take, else those of the same phase and device, in seconds; None before any was measured."""
        if kind not in self._about_s:  # a whole plan's cells are asked for twice a second
            near = (result for other, results in self._ok.items() if other[:2] == kind[:2] for result in results)
            known = [result.duration_s for result in self._ok.get(kind) or near]
            self._about_s[kind] = statistics.median(known) if known else None
        return self._about_s[kind]

    def learn(self, result: AttemptResult) -> None:
        """Take in only what like cells cost, as of an attempt of another sweep."""
        if result.status == "ok" and result.duration_s:
            self._ok.setdefault(kind_of(result), []).append(result)
            self._about_s.clear()


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """All that a store holds of sweeps, by their names: manifests, and the attempts of each."""

    manifests: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    results: Mapping[str, list[AttemptResult]] = field(default_factory=dict)

    @classmethod
    def read(cls, store: Store) -> "Stored":
        """One listing and one scan; a missing store holds nothing. Raises StoreError if it cannot be read."""
        if not store.names():
            return cls()
        results: dict[str, list[AttemptResult]] = {}
        frame = reader.scan(store, table="cells").select("sweep", *RESULT_COLUMNS).sort("sweep", "cell_id", "attempt")
        for row in frame.collect().iter_rows(named=True):
            results.setdefault(row["sweep"], []).append(AttemptResult.of_row(row))
        return cls(manifests=reader.manifests(store), results=results)

    def ledger(self, sweep: str, *, max_attempts: int, trusted: Mapping[str, Sequence[str]] | None = None) -> Ledger:
        """The attempts of one sweep, beside which the others tell what like cells cost.

        `trusted`: by cell that a new run is to settle, in what `trust` names its model now. Where a refusal's sentence asks for
        that, it is tried again; so is what had no model or no data.
        """
        ledger = Ledger(max_attempts=max_attempts)
        for name, results in self.results.items():
            for result in results:
                (ledger.record if name == sweep else ledger.learn)(result)
        for cell_id, kinds in (trusted or {}).items():
            state = ledger.state(cell_id)
            end_kind = state.result.error_kind if state.result else None
            refusal = (state.result.error or "") if state.result and end_kind == "refused" else ""
            if end_kind in ("resource", "withheld") or any(f"trust: {{{kind}: " in refusal for kind in kinds):
                state.tries, state.result = 0, None
        return ledger


def committed(store: Store, *, sweep: str, cell_id: str, attempt: int) -> AttemptResult | None:
    """What the store says of one attempt."""
    own = (pl.col("cell_id") == cell_id) & (pl.col("attempt") == attempt)
    rows = reader.scan(store, table="cells", sweep=sweep).filter(own).select(RESULT_COLUMNS).collect().to_dicts()
    return AttemptResult.of_row(rows[0]) if rows else None

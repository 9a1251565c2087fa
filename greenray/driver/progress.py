"""What a running sweep tells whoever watches."""

from dataclasses import dataclass
from typing import Protocol

from greenray.config.cell import Cell
from greenray.worker.assignment import AttemptResult, Live


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerView:
    """One worker right now: where it is, the name of its GPU, the cell that it runs; None where there is none."""

    host: str
    gpu: str | None
    cell: str | None
    elapsed_s: float
    live: Live


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The sweep right now.

    Attributes:
        done: cells that this run has settled, the baselines around visits included.
        failed: cells of the sweep that have ended badly.
        total: `done` and what is left.
        eta_s: None before anything like the rest has been measured.
    """

    workers: tuple[WorkerView, ...]
    done: int
    failed: int
    total: int
    eta_s: float | None


class Watcher(Protocol):
    """Whoever watches a sweep."""

    def say(self, text: str) -> None:
        """One sentence about what happens."""

    def finished(self, cell: Cell, result: AttemptResult) -> None:
        """An attempt was committed."""

    def update(self, snapshot: Snapshot) -> None:
        """The state, about twice a second."""


def cell_label(cell: Cell) -> str:
    """What people call a cell: model, tactic, device, batch size."""
    tactic = f"baseline ({cell.bracket})" if cell.bracket else cell.tactic_slug
    what = "training" if cell.phase == "training" else tactic
    rounds = f" round {cell.round}" if cell.round > 1 else ""
    return f"{cell.model.label} {what} {cell.device} batch {cell.batch_size}{rounds}"

"""What a running sweep tells whoever watches, and how they stop it.

Ctrl-C once: finish the cells in flight. Twice, or SIGTERM: stop now.
"""

import signal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self

from greenray.config.cell import Cell
from greenray.driver.pool import Starting
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

    def starting(self, workers: Sequence[Starting]) -> None:
        """The workers that are not ready yet, a few times a second; none when all are."""

    def finished(self, cell: Cell, result: AttemptResult) -> None:
        """An attempt was committed."""

    def update(self, snapshot: Snapshot) -> None:
        """The state, about twice a second."""


def cell_label(cell: Cell) -> str:
    """What people call a cell: model, tactic, device, batch size."""
    tactic = f"baseline ({cell.bracket})" if cell.bracket else cell.tactic_slug
    what = tactic if cell.phase == "inference" else "training" if cell.is_baseline and not cell.bracket else f"training {tactic}"
    rounds = f" round {cell.round}" if cell.round > 1 else ""
    return f"{cell.model.label} {what} {cell.device} batch {cell.batch_size}{rounds}"


class StopNow(Exception):  # no error: the user asked for it
    """The sweep ends here; what is committed is safe."""


class Interrupts:
    """Counts how often the user asked to stop; SIGTERM counts as two. Enter it after `ray.init`, which replaces handlers."""

    count = 0

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: object) -> None:
        self.count += 2 if number == signal.SIGTERM else 1

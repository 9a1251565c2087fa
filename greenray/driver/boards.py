"""Boards on which cell after cell fails, although each time they still answer and compute a small task."""

from collections import defaultdict

from greenray.driver.pool import WorkerSlot
from greenray.worker.assignment import AttemptResult

IN_A_ROW = 3
_FAILED = frozenset({"failed", "crashed", "timeout"})
_WORKED = frozenset({"ok", "not_applied"})


class Boards:
    """The failures of each board since a cell last worked on it.

    Three different cells in a row are the board's doing, unless others have seen the same: a tactic that has failed on another
    board too, or a model whose baseline has, is bad everywhere. The only board is not given up for what cells say of themselves.
    """

    def __init__(self) -> None:
        self._rows: dict[WorkerSlot, dict[str, AttemptResult]] = defaultdict(dict)
        self._seen: dict[tuple[str, str], set[WorkerSlot]] = defaultdict(set)

    def take(self, worker: WorkerSlot, result: AttemptResult, *, others: bool) -> str | None:
        """Take in the end of an attempt; why its board must not be used any more, None while it may.

        `others` says whether there are other boards to go on with.
        """
        row = self._rows[worker]
        if result.device != "cuda":
            return None
        if result.status in _WORKED:
            row.clear()
        elif result.status in _FAILED and result.error_kind not in ("refused", "dependency"):
            row[result.cell_id] = result
            self._seen[_cause(result)].add(worker)
        unexplained = [failure for failure in row.values() if not self._elsewhere(failure, worker)]
        if len(unexplained) < IN_A_ROW or not (others or all(failure.suspect for failure in unexplained)):
            return None
        last = unexplained[-1].error or unexplained[-1].status
        return f"board {worker.info.gpu_uuid} failed {len(unexplained)} different cells in a row, the last one with: {last}"

    def _elsewhere(self, failure: AttemptResult, worker: WorkerSlot) -> bool:
        causes = {_cause(failure), ("model", failure.model)}
        return any(self._seen.get(cause, set()) - {worker} for cause in causes)


def _cause(failure: AttemptResult) -> tuple[str, str]:
    """What else than the board may have failed: the model where nothing was done to it, else what was."""
    return ("model", failure.model) if failure.tactic == "baseline" else ("tactic", failure.tactic)

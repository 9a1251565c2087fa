"""Boards on which cell after cell fails, although each time they still answer and compute a small task."""

from collections import defaultdict
from collections.abc import Sequence

from greenray.driver.pool import WorkerSlot
from greenray.worker.assignment import AttemptResult

IN_A_ROW = 3
_FAILED = frozenset({"failed", "crashed", "timeout"})
_WORKED = frozenset({"ok", "not_applied"})
_NO_BOARDS_DOING = frozenset({"refused", "withheld", "resource", "dependency"})


class Boards:
    """The failures of each board since a cell last worked on it.

    Three different cells in a row are the board's doing, unless others have seen the same: a tactic that has failed on another
    board too, or a model whose baseline has, is bad everywhere. A visit has the cells of one model in a row: where there are
    several `models`, those of one are not enough unless they end as only a board ends them. The only board is not given up for
    what cells say of themselves, nor while its baselines work: tactics alone can crash or upset a driver, and without the board
    the rest would not be measured.
    """

    def __init__(self, *, models: int = 1) -> None:
        self._models = models
        # By UUID: a board keeps its row when its worker dies and another takes its place.
        self._rows: dict[str | None, dict[str, AttemptResult]] = defaultdict(dict)
        self._seen: dict[tuple[str, str], set[str | None]] = defaultdict(set)

    def take(self, worker: WorkerSlot, result: AttemptResult, *, others: bool) -> str | None:
        """Take in the end of an attempt; why its board must not be used any more, None while it may.

        `others` says whether there are other boards to go on with.
        """
        if result.device != "cuda":
            return None
        board = worker.info.gpu_uuid
        row = self._rows[board]
        if result.status in _WORKED:
            row.clear()
        elif result.status in _FAILED and result.error_kind not in _NO_BOARDS_DOING:
            row[result.cell_id] = result
            self._seen[_cause(result)].add(board)
        unexplained = [failure for failure in row.values() if not self._elsewhere(failure, board)]
        of_several = len({failure.model for failure in unexplained}) >= min(2, self._models)
        if len(unexplained) < IN_A_ROW or not ((others and of_several) or _only_a_board_does(unexplained)):
            return None
        last = unexplained[-1].error or unexplained[-1].status
        return f"board {board} failed {len(unexplained)} different cells in a row, the last one with: {last}"

    def _elsewhere(self, failure: AttemptResult, board: str | None) -> bool:
        causes = {_cause(failure), ("model", failure.model)}
        return any(self._seen.get(cause, set()) - {board} for cause in causes)


def _only_a_board_does(failures: Sequence[AttemptResult]) -> bool:
    return all(failure.suspect for failure in failures) and any(failure.tactic == "baseline" for failure in failures)


def _cause(failure: AttemptResult) -> tuple[str, str]:
    """What else than the board may have failed: the model where nothing was done to it, else what was."""
    return ("model", failure.model) if failure.tactic == "baseline" else ("tactic", failure.tactic)

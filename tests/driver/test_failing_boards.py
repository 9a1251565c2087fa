"""Boards on which cell after cell fails: when that is the board's doing, and what follows."""

from pathlib import Path
from typing import Any

import pytest

from greenray.driver.boards import Boards
from greenray.errors import ResourceError
from tests.driver.looping import FOUR, Sweep
from tests.driver.pretend_pool import Act, PretendPool, fresh, plan_of, result_of, slot

CELLS = plan_of({**FOUR, "devices": ["cuda"]}).blocks[0].cells
A, B = slot("a", cuda=True), slot("b", cuda=True)
BAD = "RuntimeError: it cannot"


def ends(boards: Boards, *statuses: str, worker: Any = A, others: bool = True, **changes: Any) -> list[str | None]:
    """What is made of the ends of different cells on one board, one after the other."""
    return [
        boards.take(worker, result_of(cell, status, **changes), others=others)
        for cell, status in zip(CELLS, statuses, strict=False)
    ]


@pytest.mark.parametrize("statuses", [("failed",) * 3, ("failed", "crashed", "timeout"), ("failed", "oom", "crashed", "failed")])
def test_three_different_cells_in_a_row(statuses: tuple[str, ...]) -> None:
    *before, last = ends(Boards(), *statuses)
    assert before == [None] * len(before)
    assert last == f"board GPU-a failed 3 different cells in a row, the last one with: it {statuses[-1]}"


@pytest.mark.parametrize("statuses", [("failed", "failed", "ok", "failed"), ("failed", "failed", "not_applied", "failed")])
def test_a_cell_that_works_ends_the_row(statuses: tuple[str, ...]) -> None:
    assert ends(Boards(), *statuses) == [None] * 4


@pytest.mark.parametrize("status", ["oom", "unsupported"])
def test_what_says_nothing_of_the_board_does_not_count(status: str) -> None:
    assert ends(Boards(), *[status] * 4) == [None] * 4


def test_what_can_never_succeed_or_never_began_does_not_count() -> None:
    for kind in ("refused", "withheld", "dependency", "resource"):
        assert ends(Boards(), *["failed"] * 4, error_kind=kind) == [None] * 4


def test_one_cell_that_fails_again_and_again_is_one() -> None:
    boards, again = Boards(), result_of(CELLS[0], "failed")
    assert [boards.take(A, again, others=True) for _ in range(5)] == [None] * 5


def test_cells_on_the_processor_say_nothing_of_a_board() -> None:
    assert ends(Boards(), *["failed"] * 4, device="cpu") == [None] * 4


def test_what_fails_on_other_boards_too_is_not_the_boards_doing() -> None:
    boards = Boards()
    assert ends(boards, "failed", "failed", worker=B) == [None] * 2
    assert ends(boards, "failed", "failed", "failed", "failed") == [None] * 4  # two of them were seen elsewhere
    assert ends(boards, "failed", "failed", "failed", "failed", worker=B) == [None] * 4


def test_a_model_whose_baseline_fails_elsewhere_is_bad_everywhere() -> None:
    boards = Boards()
    boards.take(B, result_of(CELLS[0], "failed", tactic="baseline"), others=True)
    assert ends(boards, *["failed"] * 4) == [None] * 4


def test_a_model_that_fails_by_itself_does_not_cost_the_board_where_there_are_others() -> None:
    boards = Boards(models=2)
    assert ends(boards, *["failed"] * 4) == [None] * 4
    assert boards.take(A, result_of(CELLS[0], "failed", cell_id="c1-other", model="another"), others=True) is not None
    *before, last = ends(Boards(models=2), *["crashed"] * 4, suspect=True, tactic="baseline")
    assert (before[:2], last is None) == ([None] * 2, False)


def test_the_only_board_is_given_up_for_what_only_a_board_does() -> None:
    assert ends(Boards(), *["failed"] * 4, others=False) == [None] * 4
    boards = Boards()
    assert ends(boards, *["crashed"] * 3, others=False, suspect=True, tactic="compile") == [None] * 3
    assert boards.take(A, result_of(CELLS[3], "crashed", suspect=True, tactic="baseline"), others=False) is not None


def test_a_board_keeps_its_row_when_its_worker_is_replaced() -> None:
    boards = Boards()
    assert ends(boards, "crashed", "crashed") == [None] * 2
    again = slot("a", cuda=True)  # on the same board
    assert boards.take(again, result_of(CELLS[2], "crashed"), others=True) is not None


def test_in_a_sweep_it_is_refused_and_its_visit_goes_on_elsewhere(tmp_path: Path) -> None:
    pool = PretendPool(slot("a", cuda=True), slot("b", machine="n", cuda=True, idle_since_s=1.0))
    bad = Act(result={"status": "failed", "error": BAD})
    pool.script = lambda assignment: Act() if pool.refused else bad
    sweep = Sweep(tmp_path, pool, fresh("compile", "bf16", "prune-local", devices=("cuda",))).run()
    assert pool.refused == [("a", f"board GPU-a failed 3 different cells in a row, the last one with: {BAD}")]
    assert sweep.declared == [pool.refused]  # the manifest says so from then on
    assert {run.worker for run in pool.began if run.assignment.visit == 2} == {"b"}


def test_a_sweep_with_no_board_left_ends_with_a_sentence(tmp_path: Path) -> None:
    pool = PretendPool(slot("a", cuda=True))
    pool.script = lambda assignment: Act(result={"status": "crashed", "error": BAD, "suspect": True})
    with pytest.raises(ResourceError, match="no worker is left; board GPU-a failed 3 different cells in a row"):
        Sweep(tmp_path, pool, fresh("compile", "bf16", devices=("cuda",))).run()

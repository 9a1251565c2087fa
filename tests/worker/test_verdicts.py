"""When there are enough windows, and which of them count: pure, without a cell."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenray.worker.monitor import Verdicts, keep_a_figure, rejection, steady_figures

BUSY = "neighbours kept 1.00 of 2 processors busy"
CHANGED = "the SM clock went from 1980 to 1410 MHz inside the window"


def windows_used(values: list[float | None], *, windows: int = 3, most: int = 7, rejected: frozenset[int] = frozenset()) -> int:
    """How many windows are taken of a load whose windows would have these energies, on and on."""
    verdicts = Verdicts(windows=windows, most=most)
    for number in range(10_000):
        if verdicts.take(j_per_sample=values[number % len(values)], rejected=number in rejected):
            return number + 1
    raise AssertionError("it never ends")


def row(
    *,
    rejected: str | None = None,
    change: str | None = None,
    busy: str | None = None,
    kind: str = "steady",
    grade: str | None = "A",
) -> dict[str, Any]:
    reasons = [] if grade == "A" else ["something else"]
    energy = {"total_energy_j": 8.0, "samples": 4, "duration_s": 0.5, "stage": "forward"}
    causes = {"rejected": rejected, "clock_change": change, "contention": busy}
    return {"kind": kind, **causes, "grade": grade, "grade_reasons": reasons, **energy}


@given(st.lists(st.floats(0.5, 2.0), min_size=1, max_size=30), st.integers(1, 6), st.integers(1, 8))
def test_as_many_as_were_asked_for_whatever_their_values(values: list[float], windows: int, more: int) -> None:
    assert windows_used(list(values), windows=windows, most=windows + more) == windows


@given(st.sets(st.integers(0, 20)), st.integers(1, 4), st.integers(1, 4))
def test_a_rejected_window_is_taken_again_within_bounds(rejected: set[int], windows: int, more: int) -> None:
    used = windows_used([1.0], windows=windows, most=windows + more, rejected=frozenset(rejected))
    usable = sum(number not in rejected for number in range(used))
    assert usable <= windows
    assert usable == windows or used == windows + more


def test_energy_that_cannot_be_read_is_not_waited_for() -> None:
    assert windows_used([None]) == 3
    assert windows_used([None], rejected=frozenset({0})) == 4
    assert windows_used([None, None, 1.0]) == 7  # one that can be read is waited for: three of nine, but seven are the most


def test_only_steady_windows_of_a_board_at_work_are_rejected_for_its_clock() -> None:
    def found(**fields: Any) -> str | None:
        told = {"kind": "steady", "device": "cuda", "said": None, "clock_change": CHANGED, "contention": None}
        return rejection(**told | fields)

    assert found() == CHANGED
    assert found(said="code was compiled once inside the window") == "code was compiled once inside the window"
    assert found(device="cpu") is None  # the board is idle there
    assert found(kind="epoch") is None  # an epoch cannot be taken again
    assert found(clock_change=None) is None


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_only_steady_windows_are_rejected_for_neighbours(device: str) -> None:
    def found(**fields: Any) -> str | None:
        told = {"kind": "steady", "device": device, "said": None, "clock_change": None, "contention": BUSY}
        return rejection(**told | fields)

    assert found() == BUSY
    assert found(said="code was compiled once inside the window") == "code was compiled once inside the window"
    for kind in ("data", "load", "idle", "optimize", "warmup", "evaluate", "epoch"):
        assert found(kind=kind) is None


def test_rejections_stand_where_enough_windows_are_left() -> None:
    rows = [row(), row(rejected=CHANGED, change=CHANGED), row(rejected=BUSY, busy=BUSY)]
    keep_a_figure(rows)
    assert [one["rejected"] for one in rows] == [None, CHANGED, BUSY]
    rows[2]["total_energy_j"] = 800.0
    assert steady_figures(rows)["j_per_sample"] == 2.0


def test_a_host_that_is_never_quiet_keeps_a_figure_and_says_so() -> None:
    # The instrument has graded them already: one worse, and why.
    rows = [row(grade="B", rejected=BUSY, busy=BUSY) for _ in range(3)]
    compiled = row(rejected="code was compiled once inside the window", busy=BUSY)
    rows += [compiled, row(kind="epoch", grade="B", busy=BUSY)]
    assert steady_figures(rows) == {}
    keep_a_figure(rows)
    for one in rows[:3]:
        assert (one["rejected"], one["contention"], one["grade"]) == (None, BUSY, "B")
        assert one["grade_reasons"][-1] == "used all the same: none of 4 windows was quiet"
    assert compiled["rejected"] is not None
    assert rows[4]["grade_reasons"] == ["something else"]
    assert steady_figures(rows)["j_per_sample"] == 2.0


def test_a_quiet_window_whose_clock_moved_is_better_than_a_busy_one() -> None:
    rows = [row(rejected=BUSY, busy=BUSY), row(rejected=CHANGED, change=CHANGED), row(rejected=BUSY, busy=BUSY, change=CHANGED)]
    keep_a_figure(rows)
    assert [one["rejected"] for one in rows] == [BUSY, None, BUSY]


@pytest.mark.parametrize(("before", "after"), [("A", "B"), ("B", "C"), ("C", "C"), ("D", "D"), (None, None)])
def test_a_board_that_never_holds_its_clock_keeps_a_figure_with_a_worse_grade(before: str | None, after: str | None) -> None:
    rows = [row(grade=before, rejected=CHANGED, change=CHANGED) for _ in range(4)]
    compiled = row(rejected="code was compiled once inside the window", change=CHANGED)
    rows += [compiled, row(kind="load", rejected=None, change=CHANGED, grade=before)]
    assert steady_figures(rows) == {}
    keep_a_figure(rows)
    assert [one["rejected"] for one in rows[:4]] == [None] * 4
    assert {one["grade"] for one in rows[:4]} == {after}
    assert all(CHANGED in one["grade_reasons"][-1] and "0 of 5 would be left" in one["grade_reasons"][-1] for one in rows[:4])
    assert compiled["rejected"] is not None  # compiling is no matter of degree
    assert rows[5]["grade"] == before
    assert steady_figures(rows)["j_per_sample"] == 2.0


def test_stages_have_no_figure_in_common() -> None:
    assert steady_figures([row() | {"stage": "decode"}] * 2)["j_per_sample"] == 2.0
    assert steady_figures([row() | {"stage": "prefill"}, row() | {"stage": "decode"}]) == {}
    assert steady_figures([row(rejected=CHANGED) | {"stage": "prefill"}, row() | {"stage": "decode"}]) == {}


def test_no_window_at_all_is_no_figure() -> None:
    keep_a_figure([])
    assert steady_figures([]) == {}

"""When there are enough windows, and which of them count: pure, without a cell."""

import math
import statistics
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenray.config.settings import Measure
from greenray.worker.monitor import Verdicts, half_width, j_per_sample, keep_a_figure, rejection

MEASURE = Measure(min_windows=3, max_windows=10, target_ci=0.02)
CHANGED = "the SM clock went from 1980 to 1410 MHz inside the window"


def windows_used(values: list[float | None], *, measure: Measure = MEASURE, rejected: frozenset[int] = frozenset()) -> int:
    """How many windows are taken of a load whose windows would have these energies, on and on."""
    verdicts = Verdicts(measure)
    for number in range(10_000):
        if verdicts.take(j_per_sample=values[number % len(values)], rejected=number in rejected):
            return number + 1
    raise AssertionError("it never ends")


def row(
    *, rejected: str | None = None, change: str | None = None, kind: str = "steady", grade: str | None = "A"
) -> dict[str, Any]:
    reasons = [] if grade == "A" else ["something else"]
    energy = {"total_energy_j": 8.0, "samples": 4, "stage": "forward"}
    return {"kind": kind, "rejected": rejected, "clock_change": change, "grade": grade, "grade_reasons": reasons, **energy}


def test_half_width_is_that_of_a_t_interval() -> None:
    # t(0.975, 3) = 3.18245; sd of 9, 10, 10, 11 is 0.81650.
    assert half_width([9, 10, 10, 11]) == pytest.approx(3.18245 * 0.81650 / 2 / 10, rel=1e-5)
    assert half_width([5.0]) is None
    assert half_width([-1.0, 1.0]) is None


def test_a_steady_load_ends_at_the_fewest_and_a_noisy_one_at_the_most() -> None:
    assert windows_used([1.0]) == 3
    assert windows_used([1.0, 2.0]) == 10


def test_a_middling_load_ends_when_the_target_is_reached() -> None:
    """0.99, 1.01, ...: half-width 2.9 % after three windows, 1.84 % after four."""
    assert windows_used([0.99, 1.01]) == 4


@given(st.lists(st.floats(0.5, 2.0), min_size=1, max_size=30), st.integers(2, 6), st.integers(0, 8), st.floats(0.001, 0.5))
def test_it_ends_at_the_first_number_of_windows_that_reaches_the_target(
    values: list[float], fewest: int, more: int, target: float
) -> None:
    measure = Measure(min_windows=fewest, max_windows=fewest + more, target_ci=target)
    used = windows_used(list(values), measure=measure)
    stream = [values[number % len(values)] for number in range(used)]
    reached = [count for count in range(fewest, used + 1) if (half_width(stream[:count]) or 0.0) <= target]
    assert fewest <= used <= fewest + more
    assert reached == [used] or (not reached and used == measure.max_windows)


def test_a_rejected_window_counts_towards_the_most_only() -> None:
    assert windows_used([1.0], rejected=frozenset({0, 1})) == 5
    assert windows_used([1.0], rejected=frozenset(range(100))) == 10


def test_energy_that_cannot_be_read_is_not_waited_for() -> None:
    assert windows_used([None]) == 3
    assert windows_used([None], rejected=frozenset({0})) == 4
    assert windows_used([None, None, 1.0]) == 9  # one that can be read is waited for: three of nine


def test_only_steady_windows_of_a_board_at_work_are_rejected_for_its_clock() -> None:
    def found(**fields: Any) -> str | None:
        return rejection(**({"kind": "steady", "device": "cuda", "said": None, "clock_change": CHANGED} | fields))

    assert found() == CHANGED
    assert found(said="code was compiled once inside the window") == "code was compiled once inside the window"
    assert found(device="cpu") is None  # the board is idle there
    assert found(kind="epoch") is None  # an epoch cannot be taken again
    assert found(clock_change=None) is None


def test_rejections_stand_where_enough_windows_are_left() -> None:
    rows = [row(), row(rejected=CHANGED, change=CHANGED), row(), row()]
    keep_a_figure(rows, min_windows=3)
    assert [one["rejected"] for one in rows] == [None, CHANGED, None, None]
    assert j_per_sample(rows) == 2.0


@pytest.mark.parametrize(("before", "after"), [("A", "B"), ("B", "C"), ("C", "C"), ("D", "D"), (None, None)])
def test_a_board_that_never_holds_its_clock_keeps_a_figure_with_a_worse_grade(before: str | None, after: str | None) -> None:
    rows = [row(grade=before, rejected=CHANGED, change=CHANGED) for _ in range(4)]
    compiled = row(rejected="code was compiled once inside the window", change=CHANGED)
    rows += [compiled, row(kind="load", rejected=None, change=CHANGED, grade=before)]
    assert j_per_sample(rows) is None
    keep_a_figure(rows, min_windows=3)
    assert [one["rejected"] for one in rows[:4]] == [None] * 4
    assert {one["grade"] for one in rows[:4]} == {after}
    assert all(CHANGED in one["grade_reasons"][-1] and "0 of 5 would be left" in one["grade_reasons"][-1] for one in rows[:4])
    assert compiled["rejected"] is not None  # compiling is no matter of degree
    assert rows[5]["grade"] == before
    assert j_per_sample(rows) == 2.0


def test_stages_have_no_figure_in_common() -> None:
    assert j_per_sample([row() | {"stage": "decode"}] * 2) == 2.0
    assert j_per_sample([row() | {"stage": "prefill"}, row() | {"stage": "decode"}]) is None
    assert j_per_sample([row(rejected=CHANGED) | {"stage": "prefill"}, row() | {"stage": "decode"}]) is None


def test_no_window_at_all_is_no_figure() -> None:
    keep_a_figure([], min_windows=3)
    assert j_per_sample([]) is None


@given(st.lists(st.floats(0.1, 10.0), min_size=3, max_size=12), st.floats(1e-3, 1e3))
def test_half_width_does_not_depend_on_the_unit(values: list[float], factor: float) -> None:
    found = half_width(values)
    assert found is not None
    assert math.isclose(found, half_width([value * factor for value in values]) or 0.0, rel_tol=1e-6, abs_tol=1e-9)
    assert (found == 0) == (statistics.stdev(values) == 0)

"""How good the measurements are: reasons counted, figures in them as ranges, nothing below grade A without a word."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenray.analysis import analyse
from greenray.analysis.wording import kind_of, merged
from greenray.report.document import Text
from greenray.report.sections import quality
from tests.support.synthetic import Sweep


@pytest.mark.parametrize(
    ("reasons", "one"),
    [
        (
            ["only 41 counter updates, 50 are needed", "only 9 counter updates, 50 are needed"],
            "only 9–41 counter updates, 50 are needed",
        ),
        (["temperature went from 45 to 52 C", "temperature went from 45 to 58 C"], "temperature went from 45 to 52–58 C"),
        (
            ["neighbours kept 0.9 processors busy", "neighbours kept 1.4 processors busy"],
            "neighbours kept 0.9–1.4 processors busy",
        ),
        (
            ["counter and power integral are 9 % apart", "counter and power integral are 12 % apart"],
            "counter and power integral are 9–12 % apart",
        ),
        (["the recorder missed 0.20 s at an edge."], "the recorder missed 0.20 s at an edge."),
    ],
)
def test_figures_that_differ_become_ranges(reasons: list[str], one: str) -> None:
    assert len({kind_of(reason) for reason in reasons}) == 1
    assert merged(reasons) == one


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("rapl:package-0: the counter did not move", "rapl:package-1: the counter did not move"),
        ("no permission for intel-rapl:0", "no permission for intel-rapl:1"),
        ("board GPU-51a00000-0000-4000-8000-000000000000 is lost", "board GPU-51a01111-0000-4000-8000-000000000001 is lost"),
        ("slowed down: hw_slowdown", "slowed down: hw_thermal_slowdown"),
    ],
)
def test_figures_of_names_are_names(first: str, second: str) -> None:
    assert kind_of(first) != kind_of(second)


@given(st.lists(st.tuples(st.integers(0, 999), st.floats(0, 99)), min_size=1, max_size=5))
def test_any_figures_are_one_kind(figures: list[tuple[int, float]]) -> None:
    reasons = [f"only {number} of 50 updates in {share:.1f} s" for number, share in figures]
    assert len({kind_of(reason) for reason in reasons}) == 1
    assert kind_of(merged(reasons)).replace("#–#", "#") == kind_of(reasons[0])


def window(number: int, grade: str | None, *reasons: str, energy_j: float | None = 1.0, **changes: Any) -> dict[str, Any]:
    columns = {"kind": "steady", "start_monotonic_s": 0.0, "end_monotonic_s": 1.0, "duration_s": 1.0, "samples": 10}
    row = {"window": number, "total_energy_j": energy_j, "grade": grade, "grade_reasons": list(reasons)}
    return columns | row | changes


def test_windows_and_cells_are_counted(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out")
    heat = "temperature went from 50 to {} C"
    sweep.cell(
        "baseline",
        energy_j=None,
        model="a",
        windows=[
            window(0, "A"),
            window(1, "B", heat.format(56)),
            window(2, "C", heat.format(58), "no instant power"),
            window(3, "B", heat.format(99), rejected="a recompile"),
            window(4, "B", heat.format(99), samples=0),
            window(5, "B", heat.format(99), kind="idle"),
        ],
    )
    sweep.cell(
        "baseline",
        energy_j=None,
        model="b",
        windows=[
            window(0, "B", heat.format(57)),
            window(1, "B"),
            window(2, None, "the board is lost", energy_j=None),
            window(3, "A", "dram: not read", energy_j=None),
        ],
    )
    analysis = analyse(sweep.finish())
    assert analysis.grades == {"A": 2, "B": 3, "C": 1, "": 1}
    loaded = quality.load(analysis)
    counted = quality.show(loaded, analysis).blocks[0]
    assert counted == Text(
        text="7 work windows in 2 cells: 2 of grade A, 3 of grade B, 1 of grade C, 1 without a grade. "
        "2 have no total energy: they are left out, and nothing stands in for them."
    )
    told = {reason.text: reason for reason in loaded[0]}
    assert list(told) == [
        "temperature went from 50 to 56–58 C",
        "dram: not read",
        "no instant power",
        quality.NO_REASON,
        "the board is lost",
    ]
    heated = told["temperature went from 50 to 56–58 C"]
    assert (heated.windows, heated.cells, heated.without_energy) == (3, 2, 0)
    assert heated.grades == {"B": 2, "C": 1}
    lost = told["the board is lost"]
    assert (lost.windows, lost.without_energy, lost.grades) == (1, 1, {"": 1})


def test_an_empty_store_has_no_quality(tmp_path: Path) -> None:
    analysis = analyse(Sweep(out=tmp_path / "out").finish())
    assert quality.show(quality.load(analysis), analysis).blocks == ()

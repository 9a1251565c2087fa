"""Short profiles of runs whose whole is known."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenray.analysis import analyse
from greenray.analysis.estimators.found import find
from greenray.analysis.estimators.profiles import (
    BY_ENERGY,
    BY_POWER,
    OTHER_ROUNDS,
    TIME_KNOWN,
    WITHOUT_FIRST,
    Course,
    ProfileError,
    errors,
    predict,
)
from tests.support.synthetic import Sweep


def course(*joules: float | None, seconds: tuple[float, ...] = (), model: str = "m", **more: float) -> Course:
    times = seconds or (1.0,) * len(joules)
    return Course(model=model, family=model, modelled=False, amounts=(1.0,) * len(joules), joules=joules, seconds=times, **more)


def table(found: list[ProfileError], *, way: str = BY_ENERGY, unit: str = "epoch") -> dict[int, tuple[float, float, int]]:
    return {e.first: (e.median, e.worst, e.models) for e in found if (e.way, e.unit) == (way, unit)}


def test_a_first_epoch_that_is_twice_as_dear_is_told_and_left_out() -> None:
    run = course(20, *[10] * 9)  # 110 J
    found = errors([run], [])
    assert table(found) == {
        1: (pytest.approx(200 / 110 - 1), pytest.approx(200 / 110 - 1), 1),
        2: (pytest.approx(150 / 110 - 1), pytest.approx(150 / 110 - 1), 1),
        3: (pytest.approx(400 / 330 - 1), pytest.approx(400 / 330 - 1), 1),
        5: (pytest.approx(120 / 110 - 1), pytest.approx(120 / 110 - 1), 1),
    }
    assert set(table(found, way=WITHOUT_FIRST)) == {2, 3, 5}  # of one epoch nothing is left
    assert all(median == pytest.approx(0, abs=1e-12) for median, _, _ in table(found, way=WITHOUT_FIRST).values())


def test_power_times_time_is_right_where_only_time_changes() -> None:
    run = course(30, 10, 10, 10, seconds=(3, 1, 1, 1))  # 10 W throughout
    assert predict(run, pieces=1, way=TIME_KNOWN) == pytest.approx(60)
    assert predict(run, pieces=1, way=BY_ENERGY) == pytest.approx(120)
    assert predict(run, pieces=2, way=BY_POWER) == pytest.approx(40 + 10 * 2 * 2)  # the median of 3 s and 1 s


def test_models_are_the_cases_and_not_their_runs() -> None:
    runs = [course(*[10] * 4, model="even")] * 5 + [course(20, 10, 10, 10, model="uneven")]
    median, worst, models = table(errors(runs, []))[1]
    assert (median, worst, models) == (pytest.approx(0.3), pytest.approx(0.6), 2)


def test_what_is_unknown_predicts_nothing_and_short_runs_are_left_out() -> None:
    assert errors([course(None, 10, 10, 10)], []) == []
    assert errors([course(10)], []) == []
    assert set(table(errors([course(10, 10, 10)], []))) == {1}


def test_seconds_end_where_a_window_does() -> None:
    run = course(*[10] * 10, seconds=(1.2,) * 10)
    assert set(table(errors([run], []), unit="s")) == {1, 2, 5}  # 1.2, 2.4 and 6 s
    assert set(table(errors([course(*[10] * 10, seconds=(4.0,) * 10)], []), unit="s")) == {10}  # 12 s; 8 s is not 5 s


def test_rounds_are_predicted_by_what_the_others_took() -> None:
    found = errors([], [course(10, 10, others_j=25.0)])
    assert table(found, unit="window", way=OTHER_ROUNDS)[1][0] == pytest.approx(0.2)
    assert OTHER_ROUNDS not in {e.way for e in errors([], [course(10, 10)])}


@given(st.lists(st.floats(0.1, 1e3), min_size=2, max_size=30), st.integers(1, 30), st.floats(0.5, 10.0))
def test_even_runs_are_predicted_by_any_part_of_them(seconds: list[float], pieces: int, watts: float) -> None:
    run = course(*(watts * s for s in seconds), seconds=tuple(seconds))
    assert predict(run, pieces=min(pieces, len(seconds)), way=TIME_KNOWN) == pytest.approx(run.total_j)
    assert predict(run, pieces=len(seconds), way=BY_ENERGY) == pytest.approx(run.total_j)


def test_a_store_is_read_by_epochs_and_by_windows(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out", noise=0.0, windows=4)
    sweep.train("vit-tiny", family="vit", epochs_j=[20.0, 30.0, 60.0], held=[2, 3, 6])
    sweep.rounds(2, "vit-tiny", family="vit", energy_j=0.004, tactics={"compile": 0.5})
    found = find(analyse(sweep.finish()))
    # Windows of 2, 3 and 6 epochs end after 2 and 5 of them.
    assert table([e for e in found.profiles if e.phase == "training"]) == {
        2: (pytest.approx(0), pytest.approx(0), 1),
        5: (pytest.approx(0), pytest.approx(0), 1),
    }
    assert set(table(list(found.profiles), unit="window")) == {1, 2}
    (others,) = [e for e in found.profiles if (e.way, e.unit, e.first) == (OTHER_ROUNDS, "window", 1)]
    assert (others.median, others.models, others.runs) == (pytest.approx(0), 1, 6)


@pytest.mark.parametrize("all_busy", [False, True])
def test_busy_runs_are_used_only_where_there_are_no_others_and_that_is_said(tmp_path: Path, all_busy: bool) -> None:
    sweep = Sweep(out=tmp_path / "out", noise=0.0, windows=4, contention="others kept 1.5 processors busy")
    sweep.train("busy", family="a", epochs_j=[30.0, 10.0, 10.0, 10.0])
    sweep.cell("baseline", energy_j=0.004, model="busy", model_family="a")
    sweep.contention = sweep.contention if all_busy else None
    sweep.train("other", family="b", epochs_j=[10.0] * 4)
    found = find(analyse(sweep.finish()))
    assert table([e for e in found.profiles if e.phase == "training"])[1][2] == (2 if all_busy else 1)
    assert table(list(found.profiles), unit="window")[1][2] == 1
    assert any("busy host" in note for note in found.notes)

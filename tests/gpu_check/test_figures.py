"""What the sections of a first session make of their figures, and what they do with work that goes wrong."""

import sys
import time

import pytest

from greenray.errors import MeasurementError
from tests.benchmarks.paired import ratio_of
from tests.gpu_check import loops, warming, watching
from tests.gpu_check.job import Job

BEGIN = "import json, time\ntell = lambda **row: print(json.dumps(row), flush=True)\ntell(n=1)\n"


def job(code: str) -> Job:
    return Job([sys.executable, "-c", BEGIN + code], {})


@pytest.mark.parametrize(
    ("code", "rows", "problem"),
    [
        ("tell(n=2)\ntell(end=True)", 2, None),
        ("tell(error='no memory')", 1, "the work on the board failed: no memory"),
        ("raise SystemExit('a library is missing')", 1, "the work on the board ended early: a library is missing"),
    ],
)
def test_rows_are_kept_however_a_job_ends(code: str, rows: int, problem: str | None) -> None:
    one = job(code)
    collected = one.collect(until_s=time.monotonic() + 20)
    one.close()
    assert (len(collected.rows), collected.problem) == (rows, problem)


def test_a_job_that_hangs_is_left_and_killed() -> None:
    one = job("time.sleep(60)")
    assert one.next(timeout_s=20) == {"n": 1}
    with pytest.raises(MeasurementError, match="nothing more within 0 s"):
        one.next(timeout_s=0.01)
    one.close()
    with pytest.raises(MeasurementError, match="ended early"):
        one.next(timeout_s=20)


def test_a_load_that_gains_by_not_being_waited_for_is_bound_by_launches() -> None:
    rates = {"synchronised": 100.0, "depth 2": 110.0, "unsynchronised": 130.0}
    windows = [{"model": "m", "arm": "a", "loop": loop, "samples_per_s": rate} for loop, rate in rates.items()]
    found = loops.gained(windows)
    assert found == {("m", "a"): pytest.approx({"synchronised": 1.0, "depth 2": 1.1, "unsynchronised": 1.3})}
    assert loops.is_bound(found["m", "a"])
    assert loops.gained(windows[1:]) == {}  # nothing to compare with
    assert not loops.is_bound({"synchronised": 1.0, "unsynchronised": 1.1})


def test_rest_begins_where_the_figures_stay_near_their_end() -> None:
    rising = [100.0 - 20 / (second + 1) for second in range(40)]
    assert warming.at_rest_s([50.0] * 9) == 0
    assert 5 < (warming.at_rest_s(rising) or 0) < 20
    assert warming.at_rest_s([1.0 + second for second in range(40)]) is None  # still rising
    assert warming.at_rest_s([50.0, None, 50.0]) is None


def test_the_temperature_is_even_when_it_gains_less_than_a_degree_in_five_seconds() -> None:
    assert warming.temperature_even_s([40, 43, 45, 46, 47, 47, 47, 47, 47, 47]) == 9
    assert warming.temperature_even_s([40.0 + second for second in range(20)]) is None
    assert warming.temperature_even_s([None] * 20) is None


@pytest.mark.parametrize(("polled_w", "verdict"), [(70.1, "ok"), (80.0, "off")])
def test_a_board_that_looking_wakes_is_seen(polled_w: float, verdict: str) -> None:
    spread = [0.01 * (-1) ** pair for pair in range(4)]
    ratio = ratio_of([70 + s for s in spread], [polled_w - s for s in spread])
    assert watching.verdict_of({"no context": ratio})[0] == verdict
    assert watching.verdict_of({})[0] == "off"


def test_a_counter_that_stands_still_has_no_edge(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "_EDGE_S", 0.05)
    assert watching.next_update(lambda: (5.0, 0.0)) is None
    moving = iter(range(100_000))
    moment_s, counter_j = watching.next_update(lambda: (float(next(moving)), 0.0)) or (0.0, 0.0)
    assert counter_j == 1.0
    assert moment_s <= time.monotonic()

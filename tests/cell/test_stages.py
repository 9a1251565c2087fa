"""Steady windows of a load, on a clock that moves only when a model works."""

import itertools
from collections.abc import Callable

import pytest

from tests.support.loading import Bench


def test_they_touch_and_reach_their_length(bench: Callable[..., Bench]) -> None:
    found = bench(itertools.cycle([0.010, 0.011, 0.013]), enough_at=3)
    assert found.steady(window_s=0.5, max_windows=10) == 3
    assert found.windows[0].start_s == 100.0
    assert all(a.end_s == b.start_s for a, b in itertools.pairwise(found.windows))
    for window in found.windows:
        assert 0.5 <= window.end_s - window.start_s < 0.5 + 0.013
        assert window.samples == 4 * window.iterations
        assert window.latency_p50_s == pytest.approx(0.011)
        assert window.latency_p95_s == pytest.approx(0.013)


def test_they_hold_ten_iterations_however_short_they_may_be(bench: Callable[..., Bench]) -> None:
    found = bench(itertools.repeat(0.2), enough_at=2)
    found.steady(window_s=0.001, max_windows=5)
    assert [window.iterations for window in found.windows] == [10, 10]


def test_the_load_runs_on_until_the_last_window_is_judged(bench: Callable[..., Bench]) -> None:
    found = bench(itertools.repeat(0.125), answer_after=12)
    assert found.steady(window_s=1.25, max_windows=2) == 2
    # 20 iterations of windows; the worker hears of the last with the 21st and answers 12 later.
    assert found.model.calls == 33


def test_a_window_that_runs_when_there_are_enough_is_dropped(bench: Callable[..., Bench]) -> None:
    found = bench(itertools.repeat(0.1), enough_at=1, answer_after=5)
    assert found.steady(window_s=1.0, max_windows=9) == 1
    found.listen()
    assert len(found.windows) == 1


def test_a_worker_that_never_answers_does_not_keep_the_load_running(bench: Callable[..., Bench]) -> None:
    found = bench(itertools.repeat(0.1), answer_after=10**9)
    assert found.steady(window_s=1.0, max_windows=2) == 2
    assert found.model.now_s - 100.0 < 30


def test_a_late_word_on_the_stage_before_is_not_taken_for_one_on_this(bench: Callable[..., Bench]) -> None:
    found = bench(itertools.repeat(0.1), enough_at=3)
    found.stale = True
    assert found.steady(window_s=1.0, max_windows=9) == 3


def test_a_recompile_rejects_its_window_and_no_other(bench: Callable[..., Bench]) -> None:
    found = bench(itertools.repeat(0.1), enough_at=3)
    # Code is compiled at the 15th iteration, which lies in the second window.
    found.steady(window_s=1.0, max_windows=5, compilations=lambda: 7 if found.model.calls < 15 else 8)
    assert [window.rejected for window in found.windows] == [None, "code was compiled once inside the window", None]


def test_one_in_flight_is_asked_for_when_the_one_before_is_done(bench: Callable[..., Bench]) -> None:
    """The host needs 4 ms to ask for an iteration, the device 6 ms to do it."""
    one = bench(itertools.repeat(0.004), device="cuda", device_s=0.006, enough_at=2)
    one.steady(window_s=1.0, max_windows=9)
    for window in one.windows:
        assert (window.end_s - window.start_s) / window.iterations == pytest.approx(0.010)
        assert window.latency_p50_s == pytest.approx(0.010)


def test_with_two_in_flight_the_next_is_asked_for_before_the_present_one_is_done(bench: Callable[..., Bench]) -> None:
    two = bench(itertools.repeat(0.004), device="cuda", device_s=0.006, in_flight=2, enough_at=2)
    assert two.steady(window_s=1.0, max_windows=9) == 2
    for window in two.windows:
        assert (window.end_s - window.start_s) / window.iterations == pytest.approx(0.006, rel=0.02)
        assert window.latency_p50_s == pytest.approx(0.012)  # its own 6 ms, and the rest of the one before
    # All that was begun is done when the load ends.
    assert two.model.now_s >= two.model.calls * 0.006 + 100.0


def test_on_a_processor_nothing_overlaps(bench: Callable[..., Bench]) -> None:
    found = bench(itertools.repeat(0.125), in_flight=2, enough_at=1)
    found.steady(window_s=1.25, max_windows=2)
    assert found.windows[0].latency_p50_s == pytest.approx(0.125)
    assert found.windows[0].iterations == 10

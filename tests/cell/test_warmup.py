"""The warm-up of a load, on a clock that moves only when a model works."""

import itertools
import math
from collections.abc import Callable

import pytest

from greenray.cell.warmup import how_it_ended, warm_up
from tests.support.loading import Bench


def test_it_ends_once_throughput_is_steady(bench: Callable[..., Bench]) -> None:
    found = bench(itertools.chain([0.5, 0.4, 0.3], itertools.repeat(0.01)))
    warm = warm_up(found.load, max_s=20.0)
    found.listen()
    assert warm.stable
    assert warm.variation == pytest.approx(0.0, abs=0.01)
    (window,) = found.windows
    assert (window.kind, window.end_s) == ("warmup", warm.end_s)
    # Three slow groups of one iteration, or fewer, and five groups of half a second.
    assert window.end_s - window.start_s == pytest.approx(1.2 + 5 * 0.5, abs=0.6)
    assert window.samples == 4 * window.iterations


def test_it_is_bounded_and_says_that_it_never_settled(bench: Callable[..., Bench]) -> None:
    found = bench(itertools.cycle([0.2, 0.4]))
    warm = warm_up(found.load, max_s=4.0)
    found.listen()
    assert not warm.stable
    assert warm.variation is not None
    assert warm.variation > 0.05
    assert 4.0 <= found.windows[0].end_s - found.windows[0].start_s < 4.4


def test_one_iteration_longer_than_allowed_is_enough(bench: Callable[..., Bench]) -> None:
    found = bench(itertools.repeat(100.0))
    warm = warm_up(found.load, max_s=4.0)
    assert (found.model.calls, warm.stable, warm.variation) == (1, False, None)


def test_a_board_that_heats_up_is_waited_for(bench: Callable[..., Bench]) -> None:
    """At a time constant of 8 s and 30 C in all, 5 s bring less than 1 C from the 26th second on."""

    def rises(now_s: float, seconds: float) -> float:
        return 30 * (math.exp(-(now_s - seconds - 100) / 8) - math.exp(-(now_s - 100) / 8))

    found = bench(itertools.repeat(0.01), device="cuda", rises=rises)
    warm = warm_up(found.load, max_s=60.0)
    assert (warm.stable, warm.warm) == (True, True)
    assert warm.rise_c is not None
    assert 0.5 < warm.rise_c < 1.0
    assert 26 < warm.end_s - 100 < 28
    assert found.asked_s[0] < 3.0
    assert found.asked_s[-1] == 5.0
    # The load runs on while the answer is on its way.
    assert found.model.calls == pytest.approx((warm.end_s - 100) / 0.01, abs=2)


def test_a_board_is_not_warm_before_its_load_has_run_for_five_seconds(bench: Callable[..., Bench]) -> None:
    found = bench(itertools.repeat(0.01), device="cuda", rises=lambda now_s, seconds: 0.0)
    warm = warm_up(found.load, max_s=60.0)
    assert (warm.warm, warm.rise_c) == (True, 0.0)
    assert 5.0 <= warm.end_s - 100 < 7.0


def test_a_board_whose_temperature_nobody_knows_is_no_obstacle(bench: Callable[..., Bench]) -> None:
    found = bench(itertools.repeat(0.01), device="cuda")
    warm = warm_up(found.load, max_s=60.0)
    assert (warm.stable, warm.warm, warm.rise_c) == (True, None, None)
    assert warm.end_s - 100 < 4.0
    assert len(found.asked_s) == 1


@pytest.mark.parametrize(("rise_c", "least_s", "most_s"), [(0.4, 0.2, 1.0), (1.5, 2.0, 2.1)])
def test_a_short_warm_up_is_held_up_by_a_rise_that_can_be_seen_alone(
    bench: Callable[..., Bench], rise_c: float, least_s: float, most_s: float
) -> None:
    found = bench(itertools.repeat(0.01), device="cuda", rises=lambda now_s, seconds: rise_c)
    warm = warm_up(found.load, max_s=2.0)
    assert least_s <= warm.end_s - 100 < most_s
    assert (warm.stable, warm.warm) == (True, rise_c < 1)


def test_a_board_that_never_ends_heating_up_is_bounded_and_told(bench: Callable[..., Bench]) -> None:
    found = bench(itertools.repeat(0.01), device="cuda", rises=lambda now_s, seconds: 3.0)
    warm = warm_up(found.load, max_s=12.0)
    assert 12.0 <= warm.end_s - 100 < 12.4
    assert how_it_ended([warm]) == {
        "warmup_stable": True,
        "warmup_variation": pytest.approx(0.0, abs=0.01),
        "warmup_warm": False,
        "warmup_rise_c": 3.0,
    }


def test_a_processor_has_no_temperature_to_ask_for(bench: Callable[..., Bench]) -> None:
    found = bench(itertools.repeat(0.01), rises=lambda now_s, seconds: 3.0)
    assert how_it_ended([warm_up(found.load, max_s=12.0)])["warmup_warm"] is None
    assert found.asked_s == []

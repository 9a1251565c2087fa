"""Intervals hold the truth as often as they say, also where the number of rounds was chosen from the first of them."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenray.analysis import precision


def test_the_interval_is_the_textbooks() -> None:
    mean, half = precision.interval([-0.1, -0.2, -0.3])
    assert (mean, half) == (pytest.approx(-0.2), pytest.approx(4.302652729696142 * 0.1 / math.sqrt(3)))


@pytest.mark.parametrize("values", [[0.1], [0.1, 0.2]])
def test_fewer_than_three_rounds_have_no_interval(values: list[float]) -> None:
    assert precision.interval(values) == (pytest.approx(sum(values) / len(values)), None)
    assert precision.interval(values, first=3).half_width is None


def test_a_second_stage_narrows_the_interval_by_its_number_and_widens_it_where_it_turns_out_wilder() -> None:
    first = [0.0, 0.1, 0.2]
    quiet, wild = ([*first, *more] for more in ([0.1] * 9, [-9.0, 9.0, 5.0] * 3))
    assert precision.interval(quiet, first=3).half_width == pytest.approx(4.302652729696142 * 0.1 / math.sqrt(12))
    assert precision.interval(wild, first=3) == precision.interval(wild)


@given(st.lists(st.floats(-1, 1), min_size=3, max_size=8), st.floats(0.001, 0.5))
def test_stein_asks_for_just_enough(values: list[float], target: float) -> None:
    needed = precision.stein_rounds(values, target=target)
    spread = precision.t_quantile(len(values) - 1) * math.sqrt(
        sum((v - sum(values) / len(values)) ** 2 for v in values) / (len(values) - 1)
    )
    assert needed >= len(values)
    assert spread / math.sqrt(needed) <= math.log1p(target) * (1 + 1e-9)
    if needed > len(values):
        assert spread / math.sqrt(needed - 1) > math.log1p(target) * (1 - 1e-9)


def test_rounds_that_would_be_needed() -> None:
    values = [0.0, 0.02, 0.04, 0.02]
    needed = precision.rounds_needed(values, target=0.02)
    assert needed is not None
    spread = 0.04 * math.sqrt(0.5 / 3)
    widths = [precision.t_quantile(n - 1) * spread / math.sqrt(n) for n in (needed - 1, needed)]
    assert widths[0] > math.log1p(0.02) >= widths[1]
    assert precision.rounds_needed([0.0, 1.0, 2.0], target=0.001) is None
    assert precision.rounds_needed([0.1, 0.1, 0.1], target=0.02) == 3


@given(st.lists(st.floats(-1, 1), min_size=3, max_size=12), st.integers(3, 6), st.floats(0.01, 0.5))
def test_more_rounds_are_needed_wherever_the_interval_is_too_wide(values: list[float], first: int, target: float) -> None:
    needed, half = (
        precision.rounds_needed(values, target=target, first=first),
        precision.interval(values, first=first).half_width,
    )
    assert half is not None
    if half > math.log1p(target) * (1 + 1e-9):
        assert needed is None or needed > len(values)
    elif half < math.log1p(target) * (1 - 1e-9):
        assert needed is not None
        assert needed <= len(values)


@pytest.mark.parametrize("most", [12, 40])
def test_two_stages_cover_the_truth_in_95_percent(most: int) -> None:
    """Where stopping as soon as it looks precise would not: what the naive interval covers is checked with it."""
    rng, sigma, sweeps = random.Random(most), 0.02, 3000
    stein = naive = 0
    for _ in range(sweeps):
        values = [rng.gauss(-0.3, sigma) for _ in range(3)]
        wanted = min(most, precision.stein_rounds(values, target=0.02))
        values += [rng.gauss(-0.3, sigma) for _ in range(wanted - 3)]
        (mean, half), (_, plain) = precision.interval(values, first=3), precision.interval(values)
        assert half is not None
        assert plain is not None
        stein += abs(mean + 0.3) <= half
        naive += abs(mean + 0.3) <= plain
    assert 0.94 <= stein / sweeps <= 0.96
    assert naive / sweeps < 0.94

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from greenray.analysis import stats


def test_mcnemar_is_the_exact_binomial() -> None:
    assert stats.mcnemar_exact(lost=0, won=0) == 1
    assert stats.mcnemar_exact(lost=1, won=0) == 1
    assert stats.mcnemar_exact(lost=10, won=0) == pytest.approx(2 / 2**10)
    assert stats.mcnemar_exact(lost=9, won=3) == pytest.approx(stats.mcnemar_exact(lost=3, won=9))


def test_paired_difference_covers_the_truth() -> None:
    rng = random.Random(3)
    lose, win, samples, hits = 0.03, 0.01, 360, 0
    for _ in range(1500):
        draws = [rng.random() for _ in range(samples)]
        low, high = stats.paired_difference(
            lost=sum(d < lose for d in draws), won=sum(lose <= d < lose + win for d in draws), samples=samples
        )
        hits += low <= win - lose <= high
    assert hits / 1500 >= 0.93


@given(st.integers(0, 200), st.integers(0, 200), st.integers(0, 1000))
def test_paired_difference_contains_what_was_seen(lost: int, won: int, same: int) -> None:
    samples = lost + won + same
    low, high = stats.paired_difference(lost=lost, won=won, samples=samples)
    assert -1 <= low <= high <= 1
    if samples:
        assert low <= (won - lost) / samples <= high


def test_holm_steps_down_in_the_order_given() -> None:
    assert stats.holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert stats.holm([]) == []


def test_cliffs_delta_counts_pairs() -> None:
    assert stats.cliffs_delta([1, 2], [3, 4]) == -1
    assert stats.cliffs_delta([1, 5], [3, 3]) == 0


def test_the_tail_of_the_binomial_is_that_of_its_terms() -> None:
    terms = [math.comb(15, k) * 0.05**k * 0.95 ** (15 - k) for k in range(16)]
    for misses in range(16):
        assert stats.binomial_tail(misses, of=15, chance=0.05) == pytest.approx(sum(terms[misses:]))


@given(st.integers(1, 60), st.floats(0, 1))
def test_wilsons_interval_is_scipys(of: int, share: float) -> None:
    hits = round(share * of)
    reference = scipy_stats.binomtest(hits, of).proportion_ci(0.95, method="wilson")
    assert stats.wilson(hits, of=of) == pytest.approx((reference.low, reference.high), abs=1e-12)


def test_the_ends_of_a_ratio_of_means_are_where_the_paired_t_test_is_just_significant() -> None:
    above, below = [0.2, 0.5, 0.3, 0.8, 0.4], [0.9, 1.1, 0.6, 1.4, 1.0]
    found = stats.ratio_of_means(above, below)
    assert found is not None
    assert found.ratio == pytest.approx(sum(above) / sum(below))
    assert found.low is not None
    assert found.high is not None
    for end in (found.low, found.high):
        assert scipy_stats.ttest_rel(above, [end * one for one in below]).pvalue == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("above", "below"),
    [([1.0, 2.0], [1.0, 3.0]), ([1.0, 2.0, 3.0], [-5.0, 1.0, 5.0])],  # too few; the mean below may as well be 0
)
def test_a_ratio_of_means_without_an_interval_is_a_figure_only(above: list[float], below: list[float]) -> None:
    found = stats.ratio_of_means(above, below)
    assert found is not None
    assert (found.low, found.high) == (None, None)
    assert stats.ratio_of_means(above, [0.0 for _ in above]) is None

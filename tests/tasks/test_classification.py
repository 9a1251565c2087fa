"""Accuracy with its interval, against values known from elsewhere, and classes that are matched."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenray.tasks import classification


@pytest.mark.parametrize(
    ("correct", "total", "low", "high"),
    [
        # statsmodels.stats.proportion.proportion_confint(..., method="wilson")
        (0, 10, 0.0, 0.2775328),
        (10, 10, 0.7224672, 1.0),
        (5, 10, 0.2365931, 0.7634069),
        (342, 360, 0.9223107, 0.9681562),
        (81, 263, 0.2553036, 0.3662034),
    ],
)
def test_wilson_interval_is_the_known_one(correct: int, total: int, low: float, high: float) -> None:
    assert classification.wilson_interval(correct, total) == pytest.approx((low, high), abs=2e-4)


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_interval_solves_its_defining_equation(counts: tuple[int, int]) -> None:
    correct, total = counts
    low, high = classification.wilson_interval(correct, total)
    share = correct / total
    assert 0 <= low <= share <= high <= 1
    for edge in (low, high):
        if 0 < edge < 1:
            assert abs(share - edge) == pytest.approx(1.959964 * math.sqrt(edge * (1 - edge) / total), abs=1e-6)


def test_nothing_counted_says_nothing() -> None:
    assert classification.wilson_interval(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("of_model", "of_data", "expected"),
    [
        (("cat", "dog"), ("dog", "cat"), [1, 0]),
        (("tench, Tinca tinca", "goldfish"), ("goldfish",), [1]),
        (("apple_pie", "baby-back ribs"), ("Apple pie", "baby back ribs"), [0, 1]),
        (("LABEL_0", "LABEL_1"), ("cat", "dog"), [0, 1]),
        (("background", "crane", "crane"), ("crane bird", "crane"), [1, 2]),
        (("AnnualCrop", "River"), ("River", "Annual Crop"), [1, 0]),
        (("a", "b", "c"), ("cat", "dog"), None),
    ],
)
def test_classes_are_matched_by_name_then_by_order(
    of_model: tuple[str, ...], of_data: tuple[str, ...], expected: list[int] | None
) -> None:
    assert classification.label_map(of_model, of_data) == expected

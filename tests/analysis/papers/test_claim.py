"""The three answers, by intervals alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenray.analysis.papers.claim import Answer, Held, answer, every
from greenray.analysis.papers.figures import GONZALEZ, MAVROMATIS


def claim(subject: str, measure: str | None = None):
    of = [one for paper in (GONZALEZ, MAVROMATIS) for one in paper.claims if one.subject == subject]
    return next(one for one in of if measure in (None, one.measure))


def held(subject: str, low: float | None, high: float | None, *, measure: str | None = None, basis: str = "") -> Held:
    value = None if low is None or high is None else (low + high) / 2
    return Held(
        claim=claim(subject, measure), where="here", families=12, value=value, low=low, high=high, basis=basis or "12 families"
    )


QUANTIZATION = "dynamic-quantization"


@pytest.mark.parametrize(
    ("low", "high", "told"),
    [
        (0.4, 0.6, "holds"),  # the paper has 0.5
        (0.8, 0.9, "does not hold in size; in direction it holds"),
        (0.6, 0.9, "cannot be told in size; in direction it holds"),
        (0.9, 1.1, "does not hold in size; in direction it cannot be told"),
        (1.2, 1.5, "does not hold"),
        (0.05, 0.2, "does not hold in size; in direction it holds"),  # over twice as much
        (1.0, 1.0, "does not hold"),  # what is exactly the same is not less
        (None, None, "cannot be told: one round"),
    ],
)
def test_a_size_holds_within_a_factor_of_two_and_its_direction_is_told_beside(
    low: float | None, high: float | None, told: str
) -> None:
    assert held(QUANTIZATION, low, high, measure="time_s", basis="" if low else "one round").told == told


@pytest.mark.parametrize(
    ("tactic", "low", "high", "told"),
    [
        ("compile", 0.7, 0.8, "holds"),
        ("compile", 0.98, 1.02, "cannot be told"),
        ("compile", 1.01, 1.2, "does not hold"),
        ("prune-local", 0.98, 1.02, "holds"),  # under 5 % less is not less
        ("prune-local", 0.8, 0.9, "does not hold"),
        ("prune-local", 0.8, 1.2, "cannot be told"),
        ("prune-global", 1.5, 3.0, "holds"),
        ("prune-global", 0.5, 0.9, "does not hold"),
        ("prune-global", 0.9, 1.5, "cannot be told"),
    ],
)
def test_a_direction_is_judged_by_the_whole_interval(tactic: str, low: float, high: float, told: str) -> None:
    assert held(tactic, low, high).told == told


@pytest.mark.parametrize(
    ("descriptor", "low", "high", "told"),
    [
        ("macs_per_sample", 0.45, 0.95, "holds"),  # the paper's own interval begins at 0.43
        ("macs_per_sample", 0.97, 0.99, "holds"),
        ("macs_per_sample", 0.1, 0.9, "cannot be told"),
        ("macs_per_sample", -0.9, 0.2, "does not hold"),
        ("macs_per_parameter", 0.45, 0.95, "cannot be told"),
        ("parameters", -0.5, 0.5, "holds"),
        ("parameters", -0.5, 0.8, "cannot be told"),
        ("parameters", 0.75, 0.99, "does not hold"),
        ("parameters", -0.99, -0.75, "does not hold"),
        ("parameters", None, None, "cannot be told: needs 4"),
    ],
)
def test_a_correlation_is_judged_by_what_the_papers_own_interval_leaves_open(
    descriptor: str, low: float | None, high: float | None, told: str
) -> None:
    assert held(descriptor, low, high, basis="" if low else "needs 4").told == told


@given(st.floats(-3, 3), st.floats(0, 2), st.floats(0, 2), st.floats(-3, 3), st.floats(0, 3))
def test_two_intervals_that_hold_the_truth_never_say_yes_and_no(
    truth: float, below: float, above: float, low: float, width: float
) -> None:
    ends = (low, low + width + 1e-6)
    answers = {answer(one, low=ends[0], high=ends[1]) for one in ((truth - below, truth + above), (truth - above, truth + below))}
    assert answers != {"holds", "does not hold"}


@pytest.mark.parametrize(
    ("answers", "together"),
    [
        (["holds", "holds"], "holds"),
        (["holds", "cannot be told"], "cannot be told"),
        (["cannot be told", "does not hold"], "does not hold"),
    ],
)
def test_a_claim_of_several_holds_where_all_do(answers: list[Answer], together: Answer) -> None:
    assert every(answers) == together


def test_every_figure_of_both_papers_is_dated_and_has_a_source() -> None:
    for paper in (GONZALEZ, MAVROMATIS):
        assert paper.source.startswith("https://arxiv.org/abs/")
        assert paper.date.startswith("2024-")
        assert all(one.low < one.high for one in paper.claims)

"""The smoother against the same estimate by plain matrices."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from greenray.power.estimate.smoother import smooth


def problem(seed: int, count: int, readings: int) -> dict[str, np.ndarray]:
    dice = np.random.default_rng(seed)
    return {
        "increments_j": dice.uniform(0, 5, count - 1),
        "increment_variances": 10 ** dice.uniform(-4, 1, count - 1),
        "at": np.sort(dice.choice(count, readings, replace=False)),
        "counter_j": 1e6 + np.cumsum(dice.uniform(1, 20, readings)),
        "counter_variances": 10 ** dice.uniform(-4, 1, readings),
    }


def dense(increments_j, increment_variances, at, counter_j, counter_variances):
    """Mean and covariance by generalised least squares, about the first reading."""
    count = len(increments_j) + 1
    steps = np.diff(np.eye(count), axis=0)
    rows = np.vstack([steps, np.eye(count)[at]])
    weight = 1 / np.concatenate([increment_variances, counter_variances])
    seen = np.concatenate([increments_j, counter_j - counter_j[0]])
    covariance = np.linalg.inv(rows.T @ (weight[:, None] * rows))
    return covariance @ (rows.T @ (weight * seen)) + counter_j[0], covariance


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(3, 40))
def test_it_is_the_best_linear_estimate_with_its_covariance(seed, count):
    given_values = problem(seed, count, readings=max(2, count // 3))
    found = smooth(**given_values)
    energy_j, covariance = dense(**given_values)
    np.testing.assert_allclose(found.energy_j, energy_j, atol=1e-5)
    np.testing.assert_allclose(found.deviation_j, np.sqrt(np.diag(covariance)), rtol=1e-4)
    first, second = np.triu_indices(count)
    between = np.exp(found.carry[second] - found.carry[first]) * found.deviation_j[second] ** 2
    np.testing.assert_allclose(between, covariance[first, second], rtol=1e-3, atol=1e-6)


def test_the_evidence_prefers_the_variances_that_made_the_readings():
    dice = np.random.default_rng(1)
    count, deviation_j = 400, 0.5
    power_j = np.full(count - 1, 3.0)
    truth_j = np.concatenate([[0.0], np.cumsum(power_j + dice.normal(0, deviation_j, count - 1))])
    at = np.arange(0, count, 4)
    counter_j = truth_j[at] + dice.normal(0, 0.1, len(at))

    def evidence(variance: float) -> float:
        return smooth(
            increments_j=power_j,
            increment_variances=np.full(count - 1, variance),
            at=at,
            counter_j=counter_j,
            counter_variances=np.full(len(at), 0.01),
        ).evidence

    tried = {scale: evidence((scale * deviation_j) ** 2) for scale in (0.1, 0.3, 1.0, 3.0, 10.0)}
    assert max(tried, key=tried.get) == 1.0

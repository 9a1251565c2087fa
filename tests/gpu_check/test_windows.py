"""The error against window length, on made traces of boards whose truth is known."""

import math

import numpy as np
import pytest

from greenray.power.estimate.energy import Energy, unknown
from greenray.power.gpu_reading import GpuFacts
from greenray.power.trace import Readings, Series
from tests.gpu_check.rig import Stretch
from tests.gpu_check.windows import LENGTHS_S, additivity_j, errors_by_length, exactly, smooth_reference, whole_periods
from tests.simnvml import Board, true_energy_j
from tests.support.made import made_readings

JITTER = {"jitter_ms": 1.5, "offset_ms": 3.0}
LOADS = {
    "steady": (Board(**JITTER), 0.0, 20.0),
    "bursts of 0.15 s": (Board(wave="square", low_w=80, high_w=620, period_s=0.15, duty=0.4, **JITTER), 0.15, 9.0),
    "bursts of 0.7 s": (Board(wave="square", low_w=80, high_w=620, period_s=0.7, duty=0.4, **JITTER), 0.7, 21.0),
}


def stretch_of(fast: Readings, *, seconds: float) -> Stretch:
    facts = GpuFacts(period_s=0.02, jitter_s=1.5e-3)
    start_s = float(fast.times[0]) + 0.5
    return Stretch(series=Series(sensor="gpu:made", part="gpu", fast=fast), facts=facts, start_s=start_s, end_s=start_s + seconds)


@pytest.mark.parametrize("name", LOADS)
def test_the_method_finds_the_true_error(name: str) -> None:
    board, period_s, seconds = LOADS[name]
    stretch = stretch_of(made_readings(board, seconds=seconds + 1, late_s=2e-4, seed=4), seconds=seconds)
    span, energy = (stretch.start_s, stretch.end_s), stretch.meter()
    lengths_s = whole_periods([length_s for length_s in LENGTHS_S if length_s <= seconds / 4], period_s)
    reference = smooth_reference(energy, span=span, step_s=period_s * max(1, round(0.3 / period_s)) if period_s else 0.3)
    found = errors_by_length(energy, reference, span=span, lengths_s=lengths_s)
    true = errors_by_length(energy, exactly(lambda a, b: true_energy_j(board, a, b)), span=span, lengths_s=lengths_s)
    assert len(found) == len(lengths_s) >= 3
    for one, other in zip(found, true, strict=True):
        assert one.mean == pytest.approx(other.mean, rel=0.25, abs=1e-4), one.length_s
        assert one.p95 == pytest.approx(other.p95, rel=0.35, abs=2e-4), one.length_s
        assert one.coverage == pytest.approx(other.coverage, abs=0.1)
        assert one.stated == pytest.approx(other.stated, rel=0.02)


def test_the_method_sees_a_meter_that_is_wrong() -> None:
    """A meter that is off by a random 3 % a window, states 1 % and sometimes says nothing."""
    dice = np.random.default_rng(0)
    asked = []

    def crooked(start_s: float, end_s: float) -> Energy:
        asked.append(start_s)
        if len(asked) % 10 == 0:
            return unknown("asleep")
        return Energy(energy_j=100 * (end_s - start_s) * (1 + 0.03 * dice.choice([-1, 1])), error_j=(end_s - start_s))

    (found,) = errors_by_length(crooked, exactly(lambda a, b: 100 * (b - a)), span=(0.0, 50.0), lengths_s=[2.0, 80.0], count=100)
    assert (found.windows, found.unknown, found.length_s) == (100, 10, 2.0)
    assert found.mean == pytest.approx(0.03)
    assert (found.coverage, found.stated) == (0.0, pytest.approx(0.01))
    assert min(asked) >= 0
    assert 40 <= max(asked) <= 48  # spread over the whole recording


def test_the_reference_takes_out_a_drift_of_power() -> None:
    def warming(start_s: float, end_s: float) -> float:
        return 300 * (end_s - start_s) + 0.5 * 0.4 * (end_s**2 - start_s**2)

    def read(start_s: float, end_s: float) -> Energy:
        return Energy(energy_j=warming(start_s, end_s), error_j=0.1)

    reference = smooth_reference(read, span=(5.0, 45.0), step_s=0.3)
    energy_j, doubt_j = reference(30.0, 31.0)
    assert energy_j == pytest.approx(warming(30.0, 31.0), rel=1e-9)
    assert doubt_j == pytest.approx(0.1 / 40, rel=0.01)  # no scatter: a fortieth of what the whole states
    with pytest.raises(ValueError, match="too little"):
        smooth_reference(lambda a, b: unknown("asleep"), span=(5.0, 45.0), step_s=0.3)


def test_windows_of_bursts_are_whole_periods_once_each() -> None:
    assert whole_periods([0.1, 0.3, 0.5, 1.0], 0.7) == [0.7]
    assert whole_periods([0.1, 0.3, 1.0], 0.15) == [0.15, 0.3, 1.05]
    assert whole_periods([0.1, 0.3], 0.0) == [0.1, 0.3]


def test_additivity_is_measured() -> None:
    def adds_up(start_s: float, end_s: float) -> Energy:
        return Energy(energy_j=100 * (end_s - start_s), error_j=0.1)

    def does_not(start_s: float, end_s: float) -> Energy:
        return Energy(energy_j=100 * math.sqrt(end_s - start_s), error_j=0.1)

    assert additivity_j(adds_up, span=(0.0, 10.0)) < 1e-9
    assert additivity_j(does_not, span=(0.0, 10.0)) > 10
    assert additivity_j(lambda a, b: unknown("asleep"), span=(0.0, 10.0)) is None


def test_many_windows_are_read_as_one_is() -> None:
    board, _, _ = LOADS["bursts of 0.7 s"]
    stretch = stretch_of(made_readings(board, seconds=5), seconds=4)
    start_s, end_s = stretch.start_s + 0.3, stretch.end_s - 0.4
    assert stretch.meter()(start_s, end_s) == stretch.read(start_s, end_s).energy

"""Short traces of real boards in tests/power/data/<board>/; `python -m tests.gpu_check.check --keep-traces DIR` writes them."""

from pathlib import Path

import pytest

from greenray.power.grade import AGREEMENT_A
from tests.gpu_check import traces
from tests.gpu_check.windows import additivity_j, errors_by_length, smooth_reference, whole_periods

DATA = Path(__file__).with_name("data")
FILES = sorted(DATA.glob("*/*.npz"))
NONE_YET = pytest.param(None, marks=pytest.mark.skip(reason="no trace of a real board has been recorded yet"))


@pytest.fixture(params=FILES or [NONE_YET], ids=lambda file: f"{file.parent.name}/{file.stem}" if file else "none")
def trace(request: pytest.FixtureRequest) -> traces.Kept:
    return traces.load(request.param)


def test_energies_add_up(trace: traces.Kept) -> None:
    stretch, _ = trace
    apart_j = additivity_j(stretch.meter(), span=(stretch.start_s, stretch.end_s))
    assert apart_j is not None
    assert apart_j < 1e-6


def test_counter_and_power_agree(trace: traces.Kept) -> None:
    stretch, about = trace
    if about["counter_missing"] is not None or about["power_source"] != "gpu":
        pytest.skip("this board has no counter, or no instant power of its own, to compare")
    reading = stretch.read(stretch.start_s, stretch.end_s)
    assert reading.source == "counter"
    assert reading.power.energy_j == pytest.approx(reading.energy.energy_j, rel=AGREEMENT_A)


def test_stated_errors_hold_for_sub_windows(trace: traces.Kept) -> None:
    """Against the smooth course of the whole trace; see tests/gpu_check/windows.py."""
    stretch, about = trace
    span, energy, period_s = (stretch.start_s, stretch.end_s), stretch.meter(), about["load_period_s"] or 0.0
    if period_s and stretch.duration_s < 6.1 * period_s:
        pytest.skip("this trace holds too few periods of its load")
    reference = smooth_reference(energy, span=span, step_s=period_s or 0.3)
    lengths_s = whole_periods([length_s for length_s in (0.1, 0.3, 1.0) if length_s <= stretch.duration_s / 4], period_s)
    found = errors_by_length(energy, reference, span=span, lengths_s=lengths_s)
    assert all(error.unknown == 0 for error in found)
    covered = sum(error.coverage or 0.0 for error in found) / len(found)
    # A load is never quite even, and that counts against the figures: less than the 95 % that are promised.
    assert covered >= 0.8, found

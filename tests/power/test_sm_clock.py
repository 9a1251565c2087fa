"""A change of clock level is told from the wobble of a loaded board."""

import itertools
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenray.power.gpu_reading import CLOCK_SHIFT, GpuFacts, GpuSensor, clock_change, prepare_counter, read_gpu
from greenray.power.trace import Series
from tests.simnvml import Board
from tests.support.made import made_readings


def clocks(*values):
    return np.array(values, dtype=np.float64)


@pytest.mark.parametrize(
    ("readings", "changed"),
    [
        ([1980, 1980, 1980, 1980, 1980], False),
        ([1980, 1980, 1410, 1410, 1410], True),
        ([1410, 1410, 1410, 1980, 1980], True),  # upwards counts as well
        ([1980, 1965, 1980, 1965, 1950], False),  # boost steps of 15 MHz
        ([1980, 1965, 1950, 1935, 1920], False),  # and a slow slide of them
        ([1980, 1980, 210, 1980, 1980], False),  # a dip that recovers
        ([1900, 1500, 1900, 1500, 1900, 1500, 1900, 1500, 1900], False),  # a wide wobble is no change of level
        ([np.nan, 1980, 1980, np.nan, 1410, 1410], True),
        ([1980, 1980, 1410], False),  # too few to compare
        ([], False),
    ],
)
def test_a_lasting_change_of_level_and_nothing_else(readings, changed):
    found = clock_change(clocks(*readings))
    assert (found is not None) is changed
    if found:
        known = [value for value in readings if value == value]
        assert f"from {known[0]} to {known[-1]} MHz" in found


@given(st.integers(9, 60), st.floats(0.0, 0.04), st.integers(0, 10**6))
def test_a_wobble_within_the_limit_never_rejects(count, amplitude, seed):
    """Whatever the clock does within +-2 % of its level (the limit is a difference of 5 %), in any order."""
    dice = random.Random(seed)
    readings = 1700 * (1 + np.array([dice.uniform(-amplitude / 2, amplitude / 2) for _ in range(count)]))
    assert clock_change(readings) is None


@given(st.integers(5, 60), st.floats(1.5 * CLOCK_SHIFT, 0.8), st.data())
def test_a_step_in_the_middle_third_is_always_seen(count, drop, data):
    at = data.draw(st.integers(-(-count // 3) if count > 5 else 2, count - max(2, count // 3)))
    readings = np.where(np.arange(count) < at, 1980.0, 1980.0 * (1 - drop))
    assert clock_change(readings) is not None
    assert clock_change(readings[::-1]) is not None


def test_power_capped_boards_lose_few_windows_of_five_seconds():
    """A random wobble of 20 % between neighbouring readings, as no board has: of 25 readings the thirds overlap."""
    dice = random.Random(3)
    rejected = sum(clock_change(clocks(*(dice.uniform(1500, 1850) for _ in range(25)))) is not None for _ in range(2000))
    assert rejected <= 4


def test_columns_hold_what_lies_inside_the_window():
    board = Board()
    slow_s = np.arange(1000.0, 1010.0, 0.2)
    clock = np.where(slow_s < 1005.05, 1980.0, 1410.0)
    bits, none = np.zeros(len(slow_s)), np.full(len(slow_s), np.nan)
    columns = dict(zip(GpuSensor.slow, (none, none, clock, bits), strict=True))
    fast = made_readings(board, seconds=10)
    series = Series(sensor="gpu:x", part="gpu", fast=fast, slow=type(fast)(times=slow_s, columns=columns))

    counter = prepare_counter(series, GpuFacts(), hz=50)

    def read(start_s, end_s):
        found = read_gpu(series, GpuFacts(), start_s=start_s, end_s=end_s, hz=50, counter=counter)
        return found.sm_clock_min_mhz, found.sm_clock_max_mhz, found.sm_clock_mhz, found.clock_change is not None

    assert read(1002.0, 1004.95) == (1980, 1980, 1980, False)
    assert read(1005.1, 1008.0) == (1410, 1410, 1410, False)  # the change lies just outside
    lowest, highest, mean, changed = read(1003.5, 1006.5)
    assert (lowest, highest, changed) == (1410, 1980, True)
    assert lowest < mean < highest
    # A window between two slow readings has no reading of its own: the mean is the neighbourhood's, the extremes unknown.
    assert read(1002.05, 1002.15) == (None, None, 1980, False)


def test_readings_at_every_phase_of_a_step_are_judged_alike():
    """Of a window of one second (five readings), a step anywhere in its middle rejects it, in either direction."""
    for step_s, first_s in itertools.product((0.41, 0.5, 0.59), (0.0, 0.05, 0.1, 0.15, 0.19)):
        times = np.arange(first_s, 1.0, 0.2)
        assert clock_change(np.where(times < step_s, 1980.0, 1500.0)) is not None, (step_s, first_s)

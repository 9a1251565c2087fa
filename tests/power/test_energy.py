"""The trace algebra: energy as a pure function of (readings, start, end)."""

import itertools

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from greenray.power.estimate.counter import counter_energy
from greenray.power.estimate.energy import power_energy, rapl_energy
from greenray.power.estimate.grid import period_of
from greenray.power.trace import Readings, readings
from tests.simnvml import Board, true_energy_j
from tests.support.made import made_readings

START_S = 1000.0
boards = st.builds(
    Board,
    wave=st.sampled_from(["const", "square", "ramp", "sine"]),
    low_w=st.floats(20, 200),
    high_w=st.floats(200, 700),
    period_s=st.floats(0.1, 3),
    duty=st.floats(0.1, 0.9),
    phase_s=st.floats(0, 1),
    counter_ms=st.sampled_from([20.0, 25.0, 50.0, 100.0]),
    jitter_ms=st.floats(0, 2),
    offset_ms=st.floats(0, 20),
)


def prepared(board: Board, samples: Readings):
    return counter_energy(samples, hz=50, period_s=board.counter_ms * 1e-3, jitter_s=board.jitter_ms * 1e-3)


@settings(max_examples=30, deadline=None)
@given(board=boards, power=st.booleans(), edges=st.lists(st.floats(0.5, 7.3), min_size=3, max_size=3, unique=True))
def test_counter_energies_add_up_and_are_never_negative(board, power, edges):
    a, b, c = (START_S + edge for edge in sorted(edges))
    assume(b - a > 0.01 and c - b > 0.01)
    energy = prepared(board, made_readings(board, seconds=8, power=power))
    first, second, whole = energy.between(a, b), energy.between(b, c), energy.between(a, c)
    if None not in (first.energy_j, second.energy_j, whole.energy_j):
        assert first.energy_j >= 0
        assert second.energy_j >= 0
        assert first.energy_j + second.energy_j == pytest.approx(whole.energy_j, abs=1e-6)


@settings(max_examples=20, deadline=None)
@given(board=boards, start=st.floats(0.5, 3), seed=st.integers(0, 1000))
def test_a_second_is_within_two_percent_of_the_truth(board, start, seed):
    a, b = START_S + start, START_S + start + 1.0
    energy = prepared(board, made_readings(board, seconds=8, seed=seed)).between(a, b)
    truth = true_energy_j(board, a, b)
    # 2 % of the energy, or 6 ms at full power: an update may be that far from its grid and lie at the edge.
    assert abs(energy.energy_j - truth) < max(0.02 * truth, 0.012 * board.high_w)


@settings(max_examples=20, deadline=None)
@given(board=boards, seeds=st.tuples(st.integers(0, 99), st.integers(100, 199)))
def test_sampling_jitter_changes_nothing_beyond_the_stated_error(board, seeds):
    one, two = (prepared(board, made_readings(board, seconds=6, seed=seed)).between(START_S + 1, START_S + 4) for seed in seeds)
    # The counter's own jitter differs between the two traces, so both errors count; one window in twenty is further off, by at
    # most an update that was put one place beside its own.
    room_j = max(2.5 * (one.error_j + two.error_j), 0.02 * board.high_w)
    assert abs(one.energy_j - two.energy_j) <= room_j


def test_power_integral_of_a_constant_is_exact():
    samples = made_readings(Board(high_w=300), seconds=5)
    assert power_energy(samples, START_S + 1, START_S + 3, hz=50).energy_j == pytest.approx(600, rel=1e-9)


def test_averaged_power_of_a_recorder_that_came_by_seldom():
    """No sample lies within a second of the window, yet the pause is too short to be a gap at this rate."""
    samples = readings([0.0, 1.0, 5.5, 6.5], power_w=[100.0, 100.0, 200.0, 200.0])
    energy = power_energy(samples, 2.9, 3.1, hz=1, lag_s=1.0)
    assert energy.energy_j == pytest.approx(0.2 * 150)
    assert energy.error_j >= 50


def steady(*, seconds: float = 6.0, watts: float = 200.0) -> Readings:
    return made_readings(Board(high_w=watts), seconds=seconds)


def broken(samples: Readings, **columns) -> Readings:
    return Readings(times=columns.pop("times", samples.times), columns={**samples.columns, **columns})


def test_a_reset_makes_only_the_windows_that_touch_it_unknown():
    samples = steady()
    counter = samples.column("counter_j").copy()
    at = len(counter) // 2
    counter[at:] -= counter[at] - 5.0
    energy = counter_energy(broken(samples, counter_j=counter), hz=50, period_s=0.02)
    reset_s = samples.times[at]
    assert energy.between(START_S + 0.5, START_S + 2).energy_j == pytest.approx(300, rel=0.01)
    assert energy.between(reset_s + 0.5, reset_s + 2).energy_j == pytest.approx(300, rel=0.01)
    across = energy.between(reset_s - 0.5, reset_s + 0.5)
    assert across.energy_j is None
    assert "backwards" in across.reason


def test_a_jump_that_no_board_can_have_used_makes_only_the_windows_that_touch_it_unknown():
    samples = made_readings(Board(wave="square", low_w=80, high_w=620, period_s=0.7, counter_ms=100), seconds=6)
    jump_s = samples.times[150]
    jumped = broken(samples, counter_j=samples.column("counter_j") + np.where(samples.times >= jump_s, 1e6, 0.0))
    energy, whole = (counter_energy(given, hz=50, period_s=0.1) for given in (jumped, samples))
    across = energy.between(jump_s - 0.5, jump_s + 0.5)
    assert across.energy_j is None
    assert "jumped" in across.reason
    for start_s in (START_S + 0.5, jump_s + 0.5):
        beside, unhurt = energy.between(start_s, start_s + 1.5), whole.between(start_s, start_s + 1.5)
        assert beside.energy_j == pytest.approx(unhurt.energy_j, rel=0.01)
        assert beside.error_j < 0.005 * unhurt.energy_j


def test_a_counter_that_rested_for_long_may_catch_up():
    samples = steady(watts=40_000)  # a rack at the plug
    counter = samples.column("counter_j")
    resting = (samples.times > START_S + 1) & (samples.times < START_S + 5)
    energy = counter_energy(
        broken(samples, counter_j=np.where(resting, counter[np.argmax(resting)], counter)), hz=50, period_s=0.02
    )
    assert energy.between(START_S + 0.5, START_S + 5.5).energy_j == pytest.approx(200_000, rel=0.01)


def test_power_of_nothing_is_no_reading():
    """A board that tells 0 W, always or for a while, has not stopped using any: the counter moves."""
    samples = steady()
    for silent in (samples.times > 0, (samples.times > START_S + 2) & (samples.times < START_S + 4)):
        watts = np.where(silent, 0.0, samples.column("power_w"))
        energy = counter_energy(broken(samples, power_w=watts), hz=50, period_s=0.02)
        for start_s in (START_S + 2.5, START_S + 2.505, samples.times[0]):
            assert energy.between(start_s, start_s + 0.1).energy_j == pytest.approx(20, rel=0.05)


@pytest.mark.parametrize("power", [True, False])
def test_a_counter_faster_than_the_samples_is_not_read_half_a_sample_late(power):
    board = Board(wave="ramp", low_w=80, high_w=380, period_s=10.0, counter_ms=1)
    energy = prepared(board, made_readings(board, seconds=8, hz=10, power=power))
    window = (START_S + 1.03, START_S + 7.03)
    assert energy.between(*window).energy_j == pytest.approx(true_energy_j(board, *window), rel=2e-3)


@pytest.mark.parametrize("border_s", [10.0, 20.0])
def test_energies_add_up_where_two_blocks_of_a_long_trace_meet(border_s):
    board = Board(wave="square", low_w=5, high_w=1005, period_s=2.0, duty=0.3, jitter_ms=2)
    samples = made_readings(board, seconds=30, power=False)
    energy = counter_energy(samples, hz=50, period_s=0.0202)
    edges = samples.times[0] + border_s + np.array([-1.5, -0.9, -0.1, -1e-3, -1e-6, 1e-6, 1e-3, 0.1, 0.9, 1.5])
    pieces = [energy.between(*pair).energy_j for pair in itertools.pairwise(edges)]
    assert min(pieces) >= 0
    assert sum(pieces) == pytest.approx(energy.between(edges[0], edges[-1]).energy_j, abs=1e-6)
    # Two microseconds at a kilowatt.
    assert energy.between(edges[4], edges[5]).energy_j < 0.01


def test_a_counter_that_stops_is_unknown_not_zero():
    samples = steady()
    counter = np.minimum(samples.column("counter_j"), samples.column("counter_j")[150])
    energy = counter_energy(broken(samples, counter_j=counter), hz=50, period_s=0.02)
    inside = energy.between(START_S + 4, START_S + 5.5)
    assert (inside.energy_j, inside.reason) == (None, "the energy counter did not move")
    across = energy.between(START_S + 1, START_S + 5)
    assert across.energy_j is None
    assert "stopped moving" in across.reason


def test_a_lost_board_is_unknown_from_then_on():
    samples = steady()
    lost = samples.times > START_S + 3
    nothing = {name: np.where(lost, np.nan, samples.column(name)) for name in ("counter_j", "power_w")}
    energy = counter_energy(broken(samples, **nothing), hz=50, period_s=0.02)
    assert energy.between(START_S + 1, START_S + 2.5).energy_j == pytest.approx(300, rel=0.01)
    assert energy.between(START_S + 2, START_S + 4).energy_j is None
    assert energy.between(START_S + 4, START_S + 5).energy_j is None


def without(samples: Readings, start_s: float, end_s: float) -> Readings:
    kept = (samples.times < start_s) | (samples.times > end_s)
    return Readings(times=samples.times[kept], columns={name: values[kept] for name, values in samples.columns.items()})


def test_a_gap_inside_hurts_the_power_integral_but_not_the_counter():
    samples = without(steady(), START_S + 2, START_S + 2.4)
    assert counter_energy(samples, hz=50, period_s=0.02).between(START_S + 1, START_S + 4).energy_j == pytest.approx(
        600, rel=0.01
    )
    integral = power_energy(samples, START_S + 1, START_S + 4, hz=50)
    assert integral.energy_j is None
    assert "no power reading for 0.4" in integral.reason


def test_a_call_that_stalled_is_bridged_with_a_wider_error():
    """A few pauses of 0.1 s and more in 10 s, wherever power just was; beyond 2 % of the window nothing is made up."""
    board = Board(wave="square", low_w=80, high_w=620, period_s=0.7)
    samples = made_readings(board, seconds=12, start_s=1000)
    start_s, end_s = 1001.0, 1011.0

    def without(*stalls):
        kept = np.ones(len(samples.times), dtype=bool)
        for begin_s, length_s in stalls:
            kept &= (samples.times < begin_s) | (samples.times > begin_s + length_s)
        return readings(samples.times[kept], **{name: column[kept] for name, column in samples.columns.items()})

    truth_j = true_energy_j(board, start_s, end_s)
    whole = power_energy(samples, start_s, end_s, hz=50)
    for begin_s in np.arange(1002.0, 1002.7, 0.05):
        bridged = power_energy(without((begin_s, 0.15)), start_s, end_s, hz=50)
        assert abs(bridged.energy_j - truth_j) <= bridged.error_j
        assert bridged.error_j > whole.error_j
    assert power_energy(without((1002, 0.1), (1004, 0.1)), start_s, end_s, hz=50).energy_j is not None
    too_long = power_energy(without((1002, 0.12), (1004, 0.12)), start_s, end_s, hz=50)
    assert (too_long.energy_j, too_long.reason[:20]) == (None, "no power reading for")


def test_a_gap_at_an_edge_widens_the_error_and_ends_in_unknown():
    whole = counter_energy(steady(), hz=50, period_s=0.02).between(START_S + 2.2, START_S + 5)
    samples = without(steady(), START_S + 2, START_S + 2.4)
    energy = counter_energy(samples, hz=50, period_s=0.02)
    widened = energy.between(START_S + 2.2, START_S + 5)
    assert widened.error_j > 10 * whole.error_j
    short = energy.between(START_S + 2.2, START_S + 2.6)
    assert short.energy_j is None
    assert "at an edge" in short.reason


SWAPPED = [*range(49), 50, 49, *range(51, 300)]
REPEATED = [*range(50), 49, *range(51, 300)]


@pytest.mark.parametrize("order", [SWAPPED, REPEATED], ids=["swapped", "repeated"])
def test_repeated_or_disordered_samples_are_refused(order):
    samples = steady()
    samples = broken(samples, times=np.concatenate([samples.times[order], samples.times[300:]]))
    counted = counter_energy(samples, hz=50).between(START_S + 2, START_S + 4)
    integral = power_energy(samples, START_S + 2, START_S + 4, hz=50)
    for energy in (counted, integral):
        assert energy.energy_j is None
        assert "out of order" in energy.reason


def test_a_window_outside_the_trace_is_unknown():
    energy = counter_energy(steady(), hz=50, period_s=0.02)
    assert energy.between(START_S + 100, START_S + 101).energy_j is None
    assert energy.between(START_S + 2, START_S + 2).reason == "the window has no length"


def test_the_period_is_found_in_the_samples_when_they_are_fine_enough():
    assert period_of(*columns_of(made_readings(Board(counter_ms=100), seconds=10))) == pytest.approx(0.1, rel=0.02)
    assert np.isnan(period_of(*columns_of(made_readings(Board(counter_ms=20), seconds=10))))


def columns_of(samples: Readings):
    return samples.times, samples.column("counter_j")


@settings(max_examples=50, deadline=None)
@given(watts=st.floats(5, 400), begin=st.floats(0, 262_000), start=st.floats(0.1, 4), length=st.floats(0.1, 5))
def test_rapl_survives_wraps(watts, begin, start, length):
    range_j = 262_143.328850
    times = START_S + np.arange(0, 10, 0.02)
    counter = np.mod(begin + watts * (times - START_S), range_j)
    energy = rapl_energy(readings(times, counter_j=counter), START_S + start, START_S + start + length, hz=50, range_j=range_j)
    assert energy.energy_j == pytest.approx(watts * length, rel=1e-6, abs=1e-4)


def test_rapl_refuses_a_pause_that_may_hide_a_wrap():
    range_j = 1000.0
    times = START_S + np.concatenate([np.arange(0, 2, 0.02), np.arange(6, 8, 0.02)])
    samples = readings(times, counter_j=np.mod(200 * (times - START_S), range_j))
    hidden = rapl_energy(samples, START_S + 1, START_S + 7, hz=50, range_j=range_j)
    assert hidden.energy_j is None
    assert "half of its wrap" in hidden.reason
    assert rapl_energy(samples, START_S + 6.5, START_S + 7, hz=50, range_j=range_j).energy_j == pytest.approx(100)


@pytest.mark.parametrize("before_j", [260_000.0, 200_000.0, 400_000.0])
def test_rapl_does_not_take_a_reset_for_a_wrap(before_j):
    times = START_S + np.arange(0, 4, 0.02)
    counter = 50 * (times - START_S) + np.where(times < START_S + 2, before_j, 0.0)
    samples = readings(times, counter_j=counter)
    across = rapl_energy(samples, START_S + 1, START_S + 3, hz=50, range_j=262_143.328850)
    assert across.energy_j is None
    assert "reset" in across.reason
    assert rapl_energy(samples, START_S + 2.5, START_S + 3.5, hz=50, range_j=262_143.328850).energy_j == pytest.approx(50)


def test_rapl_does_not_take_a_vanished_zone_for_zero():
    times = START_S + np.arange(0, 4, 0.02)
    counter = np.where(times > START_S + 2, np.nan, 50 * (times - START_S))
    energy = rapl_energy(readings(times, counter_j=counter), START_S + 1, START_S + 3, hz=50, range_j=1e5)
    assert energy.energy_j is None

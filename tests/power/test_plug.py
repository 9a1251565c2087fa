"""Energy at the plug as a function of slow readings, against powers whose integral is known."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from greenray.power.estimate.energy import Energy, unknown
from greenray.power.trace import Series, readings
from greenray.power.wall.plug import check_wall, plug_energy


def meter(times, *, period_s: float = 1.0, faults=(), **columns) -> Series:
    return Series(sensor="wall:made", part="wall", fast=readings(times, **columns), faults=tuple(faults), period_s=period_s)


def sine_w(time_s, *, period_s: float = 20.0):
    return 300 + 120 * np.sin(2 * np.pi * np.asarray(time_s) / period_s)


def sine_j(time_s, *, period_s: float = 20.0):
    return 300 * np.asarray(time_s) - 120 * period_s / (2 * np.pi) * np.cos(2 * np.pi * np.asarray(time_s) / period_s)


moments = st.floats(min_value=5, max_value=95)


@given(edges=st.tuples(moments, moments, moments), seed=st.integers(0, 1000), counter=st.booleans())
def test_energies_add_up_and_cover_the_truth(edges: tuple[float, float, float], seed: int, counter: bool) -> None:
    dice = np.random.default_rng(seed)
    times = np.arange(0, 101.0) + dice.uniform(-0.1, 0.1, 101)
    columns = {"counter_j": np.floor(sine_j(times) + 1e4)} if counter else {"power_w": sine_w(times)}
    made = meter(times, **columns)
    first, second, third = sorted(edges)
    assume(min(second - first, third - second) >= 0.5)
    early, late, whole = (plug_energy(made, *pair) for pair in ((first, second), (second, third), (first, third)))
    assert early.energy_j + late.energy_j == pytest.approx(whole.energy_j, rel=1e-9)
    for energy, (start_s, end_s) in ((early, (first, second)), (whole, (first, third))):
        assert energy.energy_j == pytest.approx(float(sine_j(end_s) - sine_j(start_s)), abs=energy.error_j)


@pytest.mark.parametrize("unit_j", [1.0, 100.0, 360.0, 3600.0])
def test_a_coarse_counter_is_read_at_its_moves_and_covers_the_truth(unit_j: float) -> None:
    """Steps of 1 J to 1 Wh: at 300 W the counter moves in every reading, or in every twelfth."""
    times = np.arange(0, 300.0) + 0.3
    made = meter(times, counter_j=np.floor(sine_j(times, period_s=60) / unit_j) * unit_j)
    dice = np.random.default_rng(1)
    errors, stated = [], []
    for start_s in dice.uniform(20, 200, 200):
        end_s = start_s + 40
        energy = plug_energy(made, start_s, end_s)
        assert energy.energy_j is not None, energy.reason
        errors.append(abs(energy.energy_j - float(sine_j(end_s, period_s=60) - sine_j(start_s, period_s=60))))
        stated.append(energy.error_j)
    assert np.mean(np.array(errors) <= np.array(stated)) >= 0.95
    assert max(errors) <= 1.1 * max(unit_j, 300)  # never off by more than a step, or than a second of power
    assert np.mean(stated) <= 0.1 * 40 * 300  # an error as large as the energy would cover the truth as well


def test_noise_shows_in_the_error_and_a_ramp_does_not() -> None:
    times = np.arange(0, 120.0)
    dice = np.random.default_rng(2)
    errors, stated = [], []
    for _ in range(200):
        energy = plug_energy(meter(times, power_w=300 + dice.normal(0, 60, 120)), 40.3, 70.6)
        errors.append(abs(energy.energy_j - 300 * 30.3))
        stated.append(energy.error_j)
    assert np.mean(np.array(errors) <= np.array(stated)) >= 0.93
    assert np.mean(stated) <= 4 * np.mean(errors)
    ramp = plug_energy(meter(times, power_w=300 + times), 40.3, 70.6)
    assert ramp.energy_j == pytest.approx(30.3 * (300 + 55.45))
    assert ramp.error_j < 0.02 * np.mean(stated) + 15


def test_doubt_about_the_times_counts_where_power_changes() -> None:
    times = np.arange(0, 60.0)
    step = np.where(times < 30, 100.0, 500.0)
    sure = plug_energy(meter(times, power_w=step, doubt_s=np.zeros(60)), 20, 40)
    unsure = plug_energy(meter(times, power_w=step, doubt_s=np.full(60, 0.5)), 20, 40)
    assert sure.energy_j == unsure.energy_j
    assert unsure.error_j == pytest.approx(math.hypot(sure.error_j, 0.5 * 400))
    level = plug_energy(meter(times, power_w=step, doubt_s=np.full(60, 0.5)), 40, 50)
    assert level.error_j < 15


def test_gaps_are_judged_by_the_meters_own_beat() -> None:
    every_five = np.arange(0, 101.0, 5)
    assert plug_energy(meter(every_five, period_s=5, power_w=np.full(21, 80.0)), 20, 60).energy_j == pytest.approx(3200)
    times = np.delete(np.arange(0, 101.0), [40])
    assert plug_energy(meter(times, power_w=np.full(100, 80.0)), 20, 60).energy_j == pytest.approx(3200)
    times = np.delete(np.arange(0, 101.0), [40, 41, 42])
    missing = plug_energy(meter(times, power_w=np.full(98, 80.0), faults=[(40.5, "it rained (3 times)")]), 20, 60)
    assert missing.energy_j is None
    assert missing.reason == "the wall meter gave no reading for 4.0 s (usually every 1 s) (it rained (3 times))"
    # A fault that was over before the window has nothing to do with it.
    beside = plug_energy(meter(times, power_w=np.full(98, 80.0), faults=[(2.5, "it rained")]), 20, 60)
    assert beside.reason == "the wall meter gave no reading for 4.0 s (usually every 1 s)"
    long = np.concatenate([np.arange(0, 11.0), np.arange(40, 61.0)])
    for window in ((35, 50), (20, 50), (5, 20)):
        energy = plug_energy(meter(long, power_w=np.full(32, 80.0)), *window)
        assert energy.reason == "the wall meter gave no reading for 30.0 s (usually every 1 s)"
    # A counter counts on while nobody reads it.
    counted = meter(times, counter_j=80.0 * times)
    assert plug_energy(counted, 20, 60).energy_j == pytest.approx(3200)
    assert plug_energy(counted, 20, 41).energy_j == pytest.approx(80 * 21)  # 4 s of 21: half of it is under a tenth
    assert plug_energy(counted, 38, 41).reason == "the wall meter gave no reading for 4.0 s at an edge of the window"
    inside = plug_energy(meter(long, counter_j=80.0 * long, doubt_s=np.zeros(32)), 20, 22)  # no reading anywhere near
    assert inside.reason == "the wall meter gave no reading for 30.0 s at an edge of the window"


@pytest.mark.parametrize(
    ("columns", "window", "reason"),
    [
        ({"power_w": []}, (1, 2), "the wall meter gave no reading"),
        ({"power_w": [80.0] * 10}, (2, 2), "the window has no length"),
        ({"power_w": [80.0] * 10}, (-3, 2), "the wall meter's first reading is of 3.0 s after the start of the window"),
        ({"power_w": [80.0] * 10}, (2, 12), "the wall meter's last reading is of 3.0 s before the end of the window"),
        ({"power_w": [80.0] * 10}, (2, 2.4), "the wall meter gives a reading every 1 s, which is too seldom for this window"),
        ({"counter_j": [0, 80, 160, 0, 80, 160, 240, 320, 400, 480]}, (1, 5), "the wall meter's counter went backwards"),
        ({"counter_j": [5.0] * 10}, (2, 8), "the wall meter's counter did not move on both sides of the window"),
        (
            {"counter_j": [0, 0, 0, 3, 3, 3, 6, 6, 6, 9]},
            (4, 5),
            "the wall meter's counter moves every 3 s, which is too seldom for this window",
        ),
    ],
)
def test_what_is_not_known_is_null_with_a_reason(columns, window, reason: str) -> None:
    count = len(next(iter(columns.values())))
    assert plug_energy(meter(np.arange(0.0, count), **columns), *window) == Energy(reason=reason)


def test_a_counter_that_fell_is_good_again_after_it() -> None:
    made = meter(np.arange(0.0, 10), counter_j=[0, 80, 160, 0, 80, 160, 240, 320, 400, 480])
    assert plug_energy(made, 4, 8).energy_j == pytest.approx(320)


def known(energy_j: float, error_j: float = 1.0) -> Energy:
    return Energy(energy_j=energy_j, error_j=error_j)


def test_the_check_fails_beyond_the_errors_of_both_sides_only() -> None:
    parts = {"gpu": known(60, 3), "cpu": known(40, 4), "dram": known(5, 0)}
    held = check_wall(known(100, 0), parts)
    assert (held.parts, held.parts_j, held.holds, held.reason) == ("gpu+cpu+dram", 105, True, None)
    failed = check_wall(known(99.9, 0), parts)
    assert failed.holds is False
    assert failed.reason == (
        "the parts add up to more than the plug delivered: gpu+cpu+dram 105.0 J, wall meter 99.9 J, "
        "which is beyond the errors of both (± 5.0 J)"
    )


def test_the_check_is_not_made_on_what_is_unknown() -> None:
    assert check_wall(known(100), {}).reason == "wall check: no part of this host is metered"
    lost = check_wall(known(100), {"gpu": unknown("the GPU was lost"), "cpu": known(40)})
    assert (lost.holds, lost.reason) == (None, "wall check: the energy of gpu is not known")
    silent = check_wall(unknown("silent"), {"cpu": known(40)})
    assert (silent.holds, silent.parts_j, silent.reason) == (None, 40, None)  # the wall's own reason says it

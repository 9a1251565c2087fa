"""Boards that renew power and counter together, seldom and unevenly: how exact energies are there, and whether they say so."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest

from greenray.power.estimate.counter import CounterEnergy, counter_energy
from greenray.power.estimate.forms import Load, Stretches, pieces
from greenray.power.estimate.grid import locate
from greenray.power.estimate.renewed import WHOLE, Renewals, renewals, ways_of
from greenray.power.trace import readings
from tests.power.test_accuracy import START_S, Found
from tests.simnvml import Board, counter_j, true_energy_j, update_s
from tests.support.made import made_readings

SECONDS = 12.0
BOARD = Board(
    wave="square",
    low_w=80,
    high_w=620,
    period_s=0.7,
    duty=0.4,
    counter_ms=100,
    jitter_ms=20,
    instant_in_step=True,
    instant_mean_ms=25,
)
QUICK = replace(BOARD, low_w=110, high_w=480, period_s=0.31, duty=0.5)


def energy_of(board: Board, *, seed: int = 0, watched: bool = True) -> CounterEnergy:
    samples = made_readings(board, seconds=SECONDS, seed=seed, watched=watched)
    return counter_energy(samples, hz=50, period_s=board.counter_ms * 1e-3, jitter_s=board.jitter_ms * 1e-3)


def windows(boards: list[Board], *, length_s: float, each: int = 12, watched: bool = True) -> Found:
    """Windows of one length; every board has a phase and a grid of its own, and its own luck with them."""
    dice = np.random.default_rng(int(1000 * length_s))
    found = Found()
    for number, board in enumerate(boards):
        offset_ms, phase_s = float(dice.uniform(0, board.counter_ms)), float(dice.uniform(0, 3))
        shifted = replace(board, offset_ms=offset_ms, instant_offset_ms=offset_ms / 2, phase_s=phase_s)
        energy = energy_of(shifted, seed=number, watched=watched)
        for start_s in START_S + dice.uniform(0.5, SECONDS - 0.5 - length_s, each):
            window = (float(start_s), float(start_s) + length_s)
            truth_j, figure = true_energy_j(shifted, *window), energy.between(*window)
            found.real.append(abs(figure.energy_j - truth_j) / truth_j)
            found.stated.append(figure.error_j / truth_j)
            first_s, last_s = (update_s(shifted, edge_s, index=number) for edge_s in window)
            found.plain.append(abs(true_energy_j(shifted, first_s, last_s) - truth_j) / truth_j)
    return found


@pytest.mark.parametrize("board", [BOARD, QUICK], ids=["0.7 s", "0.31 s"])
def test_far_more_exact_than_the_plain_difference_and_honest_about_it(board):
    found = {length_s: windows([board] * 8, length_s=length_s) for length_s in (0.3, 1.0, 3.0)}
    assert min(one.better for one in found.values()) >= 10
    assert np.mean(found[3.0].real) <= 0.001
    assert min(one.coverage for one in found.values()) >= 0.9
    assert np.mean([one.coverage for one in found.values()]) >= 0.95
    assert np.mean([one.padding for one in found.values()]) <= 5


def random_boards(seed: int, count: int, **fixed: object) -> list[Board]:
    """Waves from much faster than the counter to much slower, averaged and renewed in all ways."""
    dice = np.random.default_rng(seed)
    return [
        replace(
            BOARD,
            **{
                "wave": ["square", "ramp", "sine"][number % 3],
                "low_w": float(dice.uniform(30, 200)),
                "high_w": float(dice.uniform(250, 700)),
                "period_s": float(np.exp(dice.uniform(math.log(0.04), math.log(3)))),
                "duty": float(dice.uniform(0.1, 0.9)),
                "jitter_ms": float(dice.uniform(2, 20)),
                "instant_mean_ms": float(dice.choice([0, 10, 25, 50])),
                "gain": float(dice.uniform(0.95, 1.05)),
                **fixed,
            },
        )
        for number in range(count)
    ]


@pytest.mark.parametrize(
    "fixed",
    [{}, {"counter_ms": 50.0, "jitter_ms": 10.0}, {"instant_in_step": False, "instant_ms": 100.0, "instant_jitter_ms": 20.0}],
    ids=["in step", "every 50 ms", "on a grid of its own"],
)
def test_whatever_the_load_the_stated_error_holds(fixed):
    boards = random_boards(5, 24, **fixed)
    found = [windows(boards, length_s=length_s, each=8) for length_s in (0.3, 1.0)]
    assert np.mean([one.coverage for one in found]) >= 0.93 if "instant_ms" in fixed else 0.95
    assert min(one.better for one in found) >= 3


def test_what_moves_faster_than_it_is_told_has_a_wide_error():
    slow, fast = (windows([replace(BOARD, period_s=period_s)] * 6, length_s=0.3) for period_s in (0.7, 0.13))
    assert fast.coverage >= 0.95
    assert np.mean(fast.stated) > 3 * np.mean(slow.stated)


def test_extra_reads_around_the_updates_halve_the_error():
    few, more = (windows([QUICK] * 6, length_s=0.3, watched=watched) for watched in (False, True))
    assert np.mean(more.real) < np.mean(few.real) / 2
    assert np.mean(more.stated) < np.mean(few.stated) / 2


def test_energies_add_up_and_are_never_negative():
    energy = energy_of(QUICK)
    edges = START_S + np.sort(np.random.default_rng(1).uniform(0.5, SECONDS - 0.5, 300))
    parts = [energy.between(float(a), float(b)).energy_j for a, b in itertools.pairwise(edges)]
    assert min(parts) >= 0
    assert sum(parts) == pytest.approx(energy.between(float(edges[0]), float(edges[-1])).energy_j, abs=1e-6)


def test_the_same_trace_gives_the_same_figure():
    one, other = (energy_of(QUICK).between(START_S + 2, START_S + 3) for _ in range(2))
    assert one == other


def seen(board: Board, *, seed: int = 0) -> Renewals | None:
    samples = made_readings(board, seconds=SECONDS, seed=seed, watched=True)
    updates = locate(
        samples.times, samples.column("counter_j"), period_s=board.counter_ms * 1e-3, jitter_s=board.jitter_ms * 1e-3
    )
    return renewals(updates, samples.times, samples.column("power_w"))


@pytest.mark.parametrize(
    ("board", "together"),
    [
        (BOARD, True),
        (replace(BOARD, wave="sine", instant_mean_ms=0), True),
        (replace(BOARD, wave="sine", instant_in_step=False), False),
        (replace(BOARD, instant_in_step=False, instant_ms=100, instant_offset_ms=37), False),
        (replace(BOARD, wave="const"), False),
    ],
    ids=["square", "sine of the moment", "always fresh", "on a grid of its own", "nothing moves"],
)
def test_who_renews_power_with_the_counter_is_told_by_the_trace(board, together):
    assert (seen(board) is not None) == together


@pytest.mark.parametrize("mean_ms", [12.5, 25.0, 50.0, 100.0])
def test_over_how_long_power_is_averaged_is_told_by_the_trace(mean_ms):
    board = replace(QUICK, instant_mean_ms=mean_ms, gain=0.97)
    ways, _ = max(ways_of(seen(board), np.random.default_rng(0)), key=lambda each: each[1])
    assert ways.length_s == (WHOLE if mean_ms == 100.0 else mean_ms * 1e-3)
    if mean_ms < 100.0:
        assert ways.gain == pytest.approx(1 / 0.97, abs=0.02)


def test_pieces_of_any_form_keep_length_and_energy():
    dice = np.random.default_rng(3)
    shape = (20, 50)
    length_s, mean_w, before_w, after_w = (dice.uniform(0.01, high, shape) for high in (0.1, 600, 600, 600))
    given = Stretches(length_s=length_s, mean_w=mean_w, before_w=before_w, after_w=after_w, beside_s=np.full(shape, 0.025))
    smooth, strange = dice.random((2, *shape)) < 0.4
    load = Load(levels_w=np.sort(dice.uniform(0, 600, 40)), unrest=0.05)
    lasting_s, used_j = pieces(given, load, smooth=smooth, strange=strange, dice=dice)
    assert (lasting_s >= 0).all()
    assert (used_j >= 0).all()
    np.testing.assert_allclose(lasting_s.sum(axis=-1), length_s, rtol=1e-9)
    np.testing.assert_allclose(used_j.sum(axis=-1), mean_w * length_s, rtol=1e-9)


def test_what_calibration_read_before_is_no_power():
    """The counter is known for a second before the recording, at 1 kHz, and the power is not."""
    times = np.arange(START_S - 1.2, START_S - 0.01, 1e-3)
    before = readings(times, counter_j=[counter_j(QUICK, float(time_s)) for time_s in times])
    samples = made_readings(QUICK, seconds=4, watched=True)
    counted_j = np.array([counter_j(QUICK, float(time_s)) for time_s in samples.times])
    samples = replace(samples, columns={**samples.columns, "counter_j": counted_j})
    energy = counter_energy(samples, hz=50, period_s=0.1, jitter_s=0.02, before=before)
    misses = []
    for start_s in START_S + np.linspace(0.02, 3, 60):
        figure, truth_j = energy.between(start_s, start_s + 0.5), true_energy_j(QUICK, start_s, start_s + 0.5)
        misses.append(abs(figure.energy_j - truth_j) > figure.error_j)
    assert np.mean(misses) <= 0.1

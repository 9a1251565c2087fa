"""The arithmetic of the benchmarks: ratios with their intervals, verdicts, errors against the truth."""

import math
from dataclasses import replace

import numpy as np
import pytest

from tests.benchmarks.meters import boards, name_of, plan_of, power_of, together_boards
from tests.benchmarks.meters_table import Outcome, print_tables, summary
from tests.benchmarks.paired import MET, MISSED, UNRESOLVED, Ratio, Slice, TooBusyError, rates, ratio_of, verdict


def outcome(energy_j: float | None, *, meter: str = "greenray", error_j: float | None = None, length_s: float = 1.0) -> Outcome:
    return Outcome(meter=meter, board="b", length_s=length_s, truth_j=100.0, energy_j=energy_j, error_j=error_j)


@pytest.mark.parametrize("pairs", [8, 40])
def test_an_interval_holds_the_ratio_as_often_as_it_says(pairs):
    dice = np.random.default_rng(7)
    held = 0
    for _ in range(400):
        first, second = np.exp(dice.standard_t(4, (2, pairs)) * 0.01)
        ratio = ratio_of(first, second * 1.005)
        held += ratio.low <= 1.005 <= ratio.high
    assert 0.92 <= held / 400 <= 0.98


def test_a_pair_that_was_disturbed_moves_nothing():
    first = [1.0] * 20
    second = [1.01 + 0.0001 * number for number in range(20)]
    disturbed = [*second[:-1], 5.0]
    assert ratio_of(first, disturbed).mean == pytest.approx(ratio_of(first, second).mean, rel=1e-3)
    assert ratio_of(first, disturbed).high == pytest.approx(ratio_of(first, second).high, rel=1e-3)


@pytest.mark.parametrize(
    ("low", "high", "others", "code"),
    [(0.99, 1.004, 0.0, MET), (1.006, 1.01, 0.0, MISSED), (0.99, 1.01, 0.0, UNRESOLVED), (1.006, 1.01, 1.0, UNRESOLVED)],
)
def test_a_verdict_needs_the_whole_interval_and_a_quiet_machine(low, high, others, code):
    ratio = Ratio(median=1.0, mean=1.0, low=low, high=high, pairs=10)
    assert verdict(ratio, at_most=1.005, others_cores=others)[0] == code


def test_rates_are_those_of_the_passes_inside_a_slice():
    ended_s = np.concatenate([np.arange(0, 1, 0.01), np.arange(1, 2, 0.02)])
    off, on = rates(ended_s[::-1], [Slice(on=False, start_s=0.005, end_s=0.995), Slice(on=True, start_s=1.001, end_s=1.97)])
    assert (off, on) == ([pytest.approx(100)], [pytest.approx(50)])
    with pytest.raises(TooBusyError, match="stood still"):
        rates(ended_s, [Slice(on=True, start_s=3, end_s=4)])


def test_an_unknown_energy_covers_nothing_and_is_no_zero():
    found = summary([outcome(101, error_j=2), outcome(97, error_j=2), outcome(None), outcome(0)])
    assert (found.windows, found.unknown, found.zeros) == (4, 1, 1)
    assert found.covered == 0.25
    assert found.mean == pytest.approx((0.01 + 0.03 + 1.0) / 3)
    assert found.worst == 1.0
    assert math.isnan(summary([outcome(None)]).mean)


def test_padding_is_stated_over_real():
    assert summary([outcome(101, error_j=3), outcome(97, error_j=5)]).padding == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("energy_j", "error_j", "length_s", "met"),
    [
        (100.5, 1.0, 1.0, True),
        (101.1, 2.0, 1.0, False),  # only nine times better than the rival's 10 %
        (100.5, 0.4, 1.0, False),  # not covered
        (100.5, 2.1, 1.0, False),  # padded
        (None, None, 1.0, False),
        (100.29, 0.5, 3.0, True),
        (100.31, 0.5, 3.0, False),
    ],
)
def test_each_target_can_be_missed(capsys, energy_j, error_j, length_s, met):
    ours = outcome(energy_j, error_j=error_j, length_s=length_s)
    rival = outcome(110, meter="zeus", length_s=length_s)
    assert print_tables([ours, rival], rival="zeus") is met
    assert ("MISSED" in capsys.readouterr().out) is not met


def test_boards_that_renew_power_with_their_counter_have_targets_of_their_own(capsys):
    ours, rival = (outcome(joules, meter=meter, error_j=4.0) for joules, meter in ((101.1, "greenray"), (110, "zeus")))
    assert print_tables([replace(each, power="together") for each in (ours, rival)], rival="zeus")
    assert not print_tables([ours, rival], rival="zeus")
    assert "power together" in capsys.readouterr().out
    assert {power_of(board) for board in together_boards()} == {"together"}
    assert {power_of(board) for board in boards(quick=False)} == {"fresh"}


def test_boards_and_windows_are_those_that_the_targets_name():
    specs = boards(quick=False)
    assert {(board.wave, board.counter_ms, board.jitter_ms) for board in specs} == {
        (wave, counter_ms, jitter_ms) for wave in ("square", "ramp", "sine") for counter_ms in (20, 100) for jitter_ms in (0, 2)
    }
    assert len({name_of(board) for board in specs}) == len(specs)
    assert all(board in specs for board in boards(quick=True))
    assert plan_of(3, quick=False) == plan_of(3, quick=False) != plan_of(4, quick=False)
    assert {length_s for _, length_s in plan_of(0, quick=True)} == {0.3, 1.0, 3.0}

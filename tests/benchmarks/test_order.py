"""The designs that `order` compares, on simulated hosts."""

import math
import random
from statistics import fmean

import pytest

from tests.benchmarks.designs import DESIGNS
from tests.benchmarks.order import take
from tests.benchmarks.timeline import START_S, Habits, Timeline

SILENT = Habits(window=0.0, process=0.0)


def errors(habits: Habits, design: str, *, rounds: int = 200, arms: int = 4) -> list[float]:
    dice = random.Random(1)
    host = Timeline(habits, dice)
    return [e for _ in range(rounds) for e in take(host, name="", arms=arms, design=design, window_s=2, dice=dice).errors]


def rms(values: list[float]) -> float:
    return math.sqrt(fmean(value * value for value in values))


@pytest.mark.parametrize("design", DESIGNS)
def test_a_host_without_habits_gives_no_error(design: str) -> None:
    found = errors(SILENT, design, rounds=3)
    assert len(found) == 12
    assert found == pytest.approx([0] * 12)


@pytest.mark.parametrize(
    ("design", "processes"), [("one baseline", 5), ("two brackets", 6), ("two anywhere", 6), ("interleaved", 5)]
)
def test_time_is_that_of_processes_and_windows(design: str, processes: int) -> None:
    dice = random.Random(1)
    found = take(Timeline(SILENT, dice), name="", arms=4, design=design, window_s=2, dice=dice)
    assert found.seconds == pytest.approx(processes * (START_S + 2))


def test_noise_of_processes_is_that_of_arm_and_baselines() -> None:
    noisy = Habits(window=0.0, process=0.02)
    assert rms(errors(noisy, "one baseline")) == pytest.approx(0.02 * math.sqrt(2), rel=0.15)
    assert rms(errors(noisy, "two brackets")) == pytest.approx(0.02 * math.sqrt(1.5), rel=0.15)


def test_only_brackets_misjudge_a_host_that_is_cold_at_first() -> None:
    bias = {design: fmean(errors(Habits(window=0.0, process=0.0, cold=0.05), design)) for design in DESIGNS}
    assert bias.pop("two brackets") > 0.004
    assert max(map(abs, bias.values())) < 0.002


def test_bursts_hit_interleaved_arms_alike() -> None:
    bursts = Habits(burst_every_s=60)
    assert rms(errors(bursts, "interleaved")) < rms(errors(bursts, "two brackets")) / 1.5

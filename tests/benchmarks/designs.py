"""Designs of one round: in which order arms and baselines are measured, and what is compared with what.

Arms are alike, so that what a design answers, a log ratio for each arm, is its error.
"""

import math
import random
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from statistics import fmean

from tests.benchmarks.timeline import Host

SLICES = 4
"""Windows of a process where arms are interleaved; each is that much shorter."""
Design = Callable[[Host, int, float, random.Random], list[float]]


def alone(host: Host, window_s: float) -> float:
    with host.process() as process:
        return process.window(window_s)


def one_baseline(host: Host, arms: int, window_s: float, dice: random.Random) -> list[float]:
    """Log ratios of all arms to one baseline at a random place."""
    order = list(range(arms + 1))
    dice.shuffle(order)
    seconds = {number: alone(host, window_s) for number in order}
    return [math.log(seconds[arm] / seconds[0]) for arm in range(1, arms + 1)]


def two_brackets(host: Host, arms: int, window_s: float, dice: random.Random) -> list[float]:
    """To the mean of a baseline before and one after; arms are alike, so their order is none."""
    opening, *between, closing = [alone(host, window_s) for _ in range(arms + 2)]
    return [math.log(seconds / fmean((opening, closing))) for seconds in between]


def two_anywhere(host: Host, arms: int, window_s: float, dice: random.Random) -> list[float]:
    """To the mean of two baselines that run where chance puts them, as the arms do."""
    seconds = [alone(host, window_s) for _ in range(arms + 2)]
    dice.shuffle(seconds)
    return [math.log(arm / fmean(seconds[:2])) for arm in seconds[2:]]


def interleaved(host: Host, arms: int, window_s: float, dice: random.Random) -> list[float]:
    """To one baseline that is alive together with all arms, in turn."""
    with ExitStack() as alive:
        processes = [alive.enter_context(host.process()) for _ in range(arms + 1)]
        seconds: dict[int, list[float]] = defaultdict(list)
        for _ in range(SLICES):
            for number in dice.sample(range(arms + 1), arms + 1):
                seconds[number].append(processes[number].window(window_s / SLICES))
    return [math.log(fmean(seconds[arm]) / fmean(seconds[0])) for arm in range(1, arms + 1)]


DESIGNS: dict[str, Design] = {
    "one baseline": one_baseline,
    "two brackets": two_brackets,
    "two anywhere": two_anywhere,
    "interleaved": interleaved,
}

"""Traces made from a simulated board, without a library, a clock or a thread."""

import math
import random

import numpy as np

from greenray.power.recorder import STEP
from greenray.power.trace import Readings, readings
from tests.simnvml import Board, power_w, true_energy_j


def made_readings(
    board: Board,
    *,
    seconds: float,
    hz: float = 50.0,
    start_s: float = 1000.0,
    late_s: float = 1e-3,
    seed: int = 0,
    power: bool = True,
    gain: float = 1.0,
    lag_s: float = 0.0,
    renewed_s: float = 0.0,
) -> Readings:
    """What a recorder that is late by `late_s` on average sees of the board; counter jitter is uniform as in simnvml.c.

    The board tells `gain` times the power that it had `lag_s` ago, and renews that reading every `renewed_s`.
    """
    dice = random.Random(seed)
    count = int(seconds * hz / STEP)
    times = np.array([start_s + k * STEP / hz + dice.expovariate(1 / late_s) for k in range(count)])
    times = np.maximum.accumulate(times + np.arange(count) * 1e-9)
    step_s, offset_s = board.counter_ms * 1e-3, board.offset_ms * 1e-3
    first = math.floor((start_s - 1 - offset_s) / step_s)
    steps = range(first, first + math.ceil((seconds + 3) / step_s))
    moments = np.array([offset_s + k * step_s + board.jitter_ms * 1e-3 * dice.uniform(-1, 1) for k in steps])
    values = np.array([math.floor(1000 * true_energy_j(board, start_s - 2, moment)) / 1000 for moment in moments])
    seen = np.searchsorted(moments, times, side="right") - 1
    columns = {"counter_j": 1e6 + values[seen]}
    if power:
        told_s = (np.floor(times / renewed_s) * renewed_s if renewed_s else times) - lag_s
        columns["power_w"] = gain * np.array([power_w(board, float(t)) for t in told_s])
    return readings(times, **columns)

"""Traces made from a simulated board, without a library, a clock or a thread."""

import math
import random

import numpy as np

from greenray.power.recorder import STEP
from greenray.power.renewal import Renewal
from greenray.power.trace import Readings, readings
from tests.simnvml import Board, counter_j, instant_w


def made_readings(
    board: Board,
    *,
    seconds: float,
    hz: float = 50.0,
    start_s: float = 1000.0,
    late_s: float = 1e-3,
    seed: int = 0,
    power: bool = True,
    lag_s: float = 0.0,
    watched: bool = False,
) -> Readings:
    """What a recorder that is late by `late_s` on average sees of the board, the one of index `seed` of its library.

    The board tells its power `lag_s` late. `watched`: there are extra reads around the counter's updates, as the recorder makes.
    """
    dice = random.Random(seed)
    watch = Renewal.worth(period_s=board.counter_ms * 1e-3, jitter_s=board.jitter_ms * 1e-3, sampled_s=STEP / hz)
    watch = watch if watched else None
    times, counter, regular = [], [], 0
    while regular < int(seconds * hz / STEP):
        regular_s, extra_s = start_s + regular * STEP / hz, math.inf if watch is None else watch.due_s()
        regular += regular_s <= extra_s
        time_s = min(regular_s, extra_s) + dice.expovariate(1 / late_s)
        time_s = max(time_s, times[-1] + 1e-9 if times else -math.inf)
        times.append(time_s)
        counter.append(counter_j(board, time_s, index=seed))
        if watch is not None:
            watch.saw(time_s, counter[-1])
    base_j = 1e6 - math.floor(counter[0])
    columns = {"counter_j": base_j + np.array(counter)}
    if power:
        columns["power_w"] = np.array([instant_w(board, time_s - lag_s, index=seed) for time_s in times])
    return readings(times, **columns)

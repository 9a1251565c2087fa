"""How many windows a process is to give, from what windows and processes cost and vary."""

import math
import random

import pytest

from greenray.driver.windows import MOST, Windows
from tests.driver.pretend_pool import fresh, plan_of, result_of

CELLS = [block.bracket(end, visit=1) for block in plan_of(fresh("compile", rounds=200)).blocks for end in ("open", "close")]


def learnt(*, within: float, between: float, process_s: float, windows: int = 2) -> Windows:
    """After 400 processes of one model."""
    chance, found = random.Random(0), Windows()
    for cell in CELLS:
        level = math.exp(chance.gauss(0, between))
        steady = tuple(level * math.exp(chance.gauss(0, within)) for _ in range(windows))
        found.take(cell, result_of(cell, steady_j=steady, steady_s=float(windows), duration_s=process_s + windows))
    return found


@pytest.mark.parametrize(
    ("within", "between", "process_s", "windows"),
    [
        (0.002, 0.05, 1.0, 1),  # windows tell nothing new
        (0.05, 0.0, 1.0, MOST),  # processes do not differ
        (0.02, 0.02, 4.0, 2),  # sqrt(4 / 1 * 1)
        (0.02, 0.02, 400.0, MOST),  # a process costs a hundred times as much as a window
        (0.02, 0.02, 0.25, 1),
    ],
)
def test_as_many_windows_as_make_the_most_of_the_time(within: float, between: float, process_s: float, windows: int) -> None:
    assert learnt(within=within, between=between, process_s=process_s).best("cpu") == windows


def test_nothing_is_said_until_enough_is_known() -> None:
    assert Windows().best("cpu") is None
    assert learnt(within=0.02, between=0.02, process_s=4.0, windows=1).best("cpu") is None  # how windows vary is not known
    assert learnt(within=0.02, between=0.02, process_s=4.0).best("cuda") is None
    unknown = Windows()  # what no steady window tells
    for cell in CELLS:
        unknown.take(cell, result_of(cell))
    assert unknown.best("cpu") is None

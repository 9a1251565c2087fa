"""From a first iteration to a load that may be measured: throughput that is stable, and on a GPU a board that is warm.

What the board's temperature does, the worker knows; the cell asks while its load runs on. A board that has just begun to work
hardly feels it yet, so only what it did over several seconds of load says that it is warm. Where its temperature cannot be read,
or a warm-up may not take that long, throughput decides, and a rise that can be seen all the same.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from greenray.cell.protocol import Warming
from greenray.cell.stages import Load

GROUPS = 5
STABLE_CV = 0.05
WARM_C, WARM_S = 1.0, 5.0
_FIRST_ASKED_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Warmup:
    """How the warm-up ended.

    Attributes:
        variation: coefficient of variation of the last groups' throughput; None if too few.
        rise_c: by how much the board's temperature rose in the last seconds; None where nobody knows.
        end_s: end of its last iteration.
    """

    stable: bool
    variation: float | None
    rise_c: float | None
    end_s: float

    @property
    def warm(self) -> bool | None:
        """Whether the board had stopped heating up; None where nobody knows."""
        return None if self.rise_c is None else self.rise_c < WARM_C


def warm_up(load: Load, *, max_s: float) -> Warmup:
    """Iterate until the throughput of the last 5 groups of iterations varies by less than 5 %, at most `max_s` seconds.

    A group takes a fortieth of the time allowed, so that noise within a group averages out, but half a second at most. On a GPU
    until it has also become warmer by less than 1 C in 5 s.
    """
    group_s = min(max_s / 40, 0.5)
    rates: list[float] = []
    variation: float | None = None
    board = _Board(load, max_s=max_s)
    with load.marker.window("warmup", stage=load.stage.name) as window:
        start_s = now = load.marker.clock()
        while now - start_s < max_s:
            group_start_s, count = now, 0
            while not count or now - group_start_s < group_s:
                now, _ = load.iterate()
                count += 1
            window.iterations += count
            window.samples += count * load.stage.samples
            rates.append(count / (now - group_start_s))
            last = rates[-GROUPS:]
            if len(last) == GROUPS:
                variation = statistics.stdev(last) / statistics.fmean(last)
                if variation < STABLE_CV and board.is_no_obstacle(now - start_s):
                    break
        window.end_s = now  # what comes next begins here
    return Warmup(stable=variation is not None and variation < STABLE_CV, variation=variation, rise_c=board.rise_c, end_s=now)


def how_it_ended(stages: Sequence[Warmup]) -> dict[str, Any]:
    """What the row's settings say of the warm-ups of all stages: of each figure the worst."""
    known = [one.warm for one in stages if one.warm is not None]
    return {
        "warmup_stable": all(one.stable for one in stages),
        "warmup_variation": max((one.variation for one in stages if one.variation is not None), default=None),
        "warmup_warm": all(known) if known else None,
        "warmup_rise_c": max((one.rise_c for one in stages if one.rise_c is not None), default=None),
    }


class _Board:
    """What the worker says of the board's temperature; asked again and again, one question at a time."""

    def __init__(self, load: Load, *, max_s: float) -> None:
        self._marker = load.marker
        self._on_cuda = load.device == "cuda"
        self._needed_s = WARM_S if max_s >= WARM_S else 0.0
        self._asked = False
        self.rise_c: float | None = None

    def is_no_obstacle(self, elapsed_s: float) -> bool:
        """Whether the warm-up may end after so many seconds of load; never waits for the answer."""
        if not self._on_cuda:
            return True
        if self._asked and (answer := self._marker.warmth()) is not None:
            self._asked, self.rise_c = False, answer.rise_c
            if answer.rise_c is None or (answer.rise_c < WARM_C and answer.seconds >= self._needed_s):
                return True
        if not self._asked and elapsed_s >= min(self._needed_s, _FIRST_ASKED_S):
            self._marker.send(Warming(seconds=min(elapsed_s, WARM_S)))
            self._asked = True
        return False

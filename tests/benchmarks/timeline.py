"""Hosts whose speed changes with time, simulated: what a process would be seen to take, on a clock of their own."""

import math
import random
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

START_S = 1.5
"""What a process costs beside its windows: fork, load, warm-up."""
WARM_S = 10.0
"""Time constant with which a host warms up after a pause."""
_STEP_S = 0.25


class Process(Protocol):
    def window(self, seconds: float) -> float:
        """Seconds a pass, over a window of so many seconds."""


class Host(Protocol):
    """Where arms are measured; `process` starts one, warmed up, that ends with the context; `pause` comes before a round."""

    def now_s(self) -> float: ...
    def pause(self) -> None: ...
    def process(self) -> AbstractContextManager[Process]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """How a host's speed varies; shares of the time that a pass takes (0.01 = 1 %).

    Attributes:
        window: standard deviation of a window of 1 s; of a longer one less, by the root of its length.
        process: standard deviation of processes.
        trend: change an hour; `walk`: standard deviation of a random walk after a minute.
        cold: what a pass takes less after a pause, until the host is warm again.
        burst_every_s, burst_s, burst: mean time between two visits of a neighbour, their mean length, what each adds.
    """

    window: float = 0.01
    process: float = 0.005
    trend: float = 0.0
    walk: float = 0.0
    cold: float = 0.0
    burst_every_s: float = math.inf
    burst_s: float = 10.0
    burst: float = 0.2


HOSTS = {
    "quiet": Habits(),
    "processes differ by 2 %": Habits(process=0.02),
    "trend of 30 % an hour": Habits(trend=0.3),
    "random walk, 1 % in a minute": Habits(walk=0.01),
    "random walk, 3 % in a minute": Habits(walk=0.03),
    "cold after a pause, 2 %": Habits(cold=0.02),
    "bursts of 10 s every 2 min, 20 %": Habits(burst_every_s=120),
    "bursts of 3 s every 20 s, 20 %": Habits(burst_every_s=20, burst_s=3),
    "all of it": Habits(process=0.01, trend=0.1, walk=0.02, burst_every_s=120),
}


class Timeline:
    """See `Host`; time passes only while something starts or is measured."""

    def __init__(self, habits: Habits, dice: random.Random) -> None:
        self._habits, self._dice = habits, dice
        self._now_s = self._walked = self._paused_s = 0.0
        self._busy, self._changes_s = False, self._wait(habits.burst_every_s)

    def now_s(self) -> float:
        return self._now_s

    def pause(self) -> None:
        self._paused_s = self._now_s

    @contextmanager
    def process(self) -> Iterator[Process]:
        self.spend(START_S)
        yield _Simulated(self, self._habits, self._dice)

    def spend(self, seconds: float) -> float:
        """Let time pass; mean of the host's level over it, as a natural logarithm."""
        habits, levels = self._habits, []
        steps = max(1, round(seconds / _STEP_S))
        for _ in range(steps):
            self._now_s += seconds / steps
            self._walked += self._dice.gauss(0, habits.walk * math.sqrt(seconds / steps / 60))
            while self._now_s > self._changes_s:
                self._busy = not self._busy
                self._changes_s += self._wait(habits.burst_s if self._busy else habits.burst_every_s)
            levels.append(habits.trend * self._now_s / 3600 + self._walked + math.log1p(habits.burst) * self._busy)
            levels[-1] -= habits.cold * math.exp((self._paused_s - self._now_s) / WARM_S)
        return math.fsum(levels) / steps

    def _wait(self, mean_s: float) -> float:
        return math.inf if math.isinf(mean_s) else self._dice.expovariate(1 / mean_s)


class _Simulated:
    def __init__(self, host: Timeline, habits: Habits, dice: random.Random) -> None:
        self._host, self._habits, self._dice = host, habits, dice
        self._own = dice.gauss(0, habits.process)

    def window(self, seconds: float) -> float:
        noise = self._dice.gauss(0, self._habits.window / math.sqrt(seconds))
        return math.exp(self._host.spend(seconds) + self._own + noise)

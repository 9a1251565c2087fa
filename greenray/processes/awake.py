"""A clock for patience with others: it all but stands still while this process does.

Whoever was stopped (Ctrl-Z), or on a host that was, has not been waiting: on waking up, the answers that came meanwhile are still
to be read, and those who owe one were often stopped as well.
"""

import time
from collections.abc import Callable


class AwakeClock:
    """Seconds, for who asks again and again in a loop: from one time to the next at most `longest_turn_s` are counted."""

    def __init__(self, *, longest_turn_s: float = 5.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._longest_turn_s = longest_turn_s
        self._asked_s = self._counted_s = clock()

    def __call__(self) -> float:
        now = self._clock()
        self._counted_s += min(now - self._asked_s, self._longest_turn_s)
        self._asked_s = now
        return self._counted_s

"""A clock for patience with others: it stands still while this process does.

Whoever was stopped (Ctrl-Z), or on a host that was, has not been waiting: on waking up, the answers that came meanwhile are still
to be read, and those who owe one were often stopped as well.
"""

import time
from collections.abc import Callable

_LONGEST_TURN_S = 5.0


class AwakeClock:
    """Seconds, to be asked for at least once a second or so; a step of more than a few seconds is not counted."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen_s = clock()
        self._missed_s = 0.0

    def __call__(self) -> float:
        now = self._clock()
        if now - self._seen_s > _LONGEST_TURN_S:
            self._missed_s += now - self._seen_s
        self._seen_s = now
        return now - self._missed_s

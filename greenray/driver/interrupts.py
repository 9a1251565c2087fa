"""Ctrl-C once: finish the cells in flight. Twice, or SIGTERM: stop now."""

import signal
from typing import Self


class StopNow(Exception):  # no error: the user asked for it
    """The sweep ends here; what is committed is safe."""


class Interrupts:
    """Counts how often the user asked to stop; SIGTERM counts as two. Enter it after `ray.init`, which replaces handlers."""

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def check(self) -> None:
        """Raise StopNow if that was asked for."""
        if self.count >= 2:
            raise StopNow

    def _note(self, number: int, frame: object) -> None:
        self.count += 2 if number == signal.SIGTERM else 1

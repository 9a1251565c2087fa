"""The cell's side of the conversation with its worker: windows as they end, the wait for idle, verdicts."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from greenray.cell.protocol import Channel, Kind, Settle, Settled, Verdict, Window
from greenray.errors import CellError

_SETTLE_TIMEOUT_S = 60.0


@dataclass(slots=True)
class Draft:
    """What a window turned out to hold; filled in while it runs. `end_s` is set where the end is that of an iteration."""

    samples: int = 0
    iterations: int = 0
    epoch: int | None = None
    loss: float | None = None
    train_accuracy: float | None = None
    rejected: str | None = None
    end_s: float | None = None


class WindowMarker:
    """Marks windows on CLOCK_MONOTONIC and sends them; the one place that talks to the worker while a cell runs."""

    def __init__(self, channel: Channel, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._channel = channel
        self.clock = clock

    @contextmanager
    def window(self, kind: Kind, *, stage: str | None = None) -> Iterator[Draft]:
        """The block inside is a window; it is sent if the block succeeds. The block ends with a synchronised device."""
        draft = Draft()
        start_s = self.clock()
        yield draft
        end_s = self.clock() if draft.end_s is None else draft.end_s
        self._channel.send(Window(**{**asdict(draft), "kind": kind, "stage": stage, "start_s": start_s, "end_s": end_s}))

    def idle(self, seconds: float) -> None:
        """Wait until the board is steady, then hold still for a window.

        Raises:
            CellError: the worker does not answer.
            EOFError: the worker is gone.
        """
        self._channel.send(Settle())
        answer = self._channel.receive(timeout_s=_SETTLE_TIMEOUT_S)
        if not isinstance(answer, Settled):
            raise CellError(f"the worker did not say within {_SETTLE_TIMEOUT_S:g} s whether the board is steady")
        with self.window("idle"):
            time.sleep(seconds)

    def send(self, window: Window) -> None:
        self._channel.send(window)

    def verdict(self, stage: str) -> Verdict | None:
        """The worker's word on a steady window of a stage, if one has arrived; never waits."""
        message: Any = self._channel.receive(timeout_s=0.0)
        # One on the stage before may still be on its way when that had enough windows.
        return message if isinstance(message, Verdict) and message.stage == stage else None

"""Where a wall meter's readings come from: what its three kinds of source share.

Each source runs in the thread of its meter (`greenray.power.wall.meter`) and may take its time. It hands on what it finds as it
finds it, and says in a sentence what it does not find; what a reading means, and whether it can be believed, is not decided here.
"""

import threading
from dataclasses import dataclass
from typing import Any, Protocol

TIMEOUT_S = 10.0
LINE_BYTES = 1 << 16
_LONGEST_PAUSE_S = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One reading as the meter gave it.

    Attributes:
        value: number or text, in the meter's unit.
        stamp: number or text; None where the meter gives no times.
        moment_s: when it was read (CLOCK_MONOTONIC): the middle of the time that the reading took.
        doubt_s: half of that time.
        asked: whether it answers a question. Such a reading may come twice, if the meter is asked more often than it measures.
    """

    value: Any
    stamp: Any
    moment_s: float
    doubt_s: float
    asked: bool


class Receiver(Protocol):
    """Who takes a source's findings."""

    def take(self, found: Found) -> None:
        """One reading."""

    def fail(self, sentence: str) -> None:
        """Why there is none."""


class NoReading(ValueError):
    """An answer without what was looked for; the sentence may be shown as it is."""


class Source:
    """A place where readings come from; `name` is the meter, for people, without credentials.

    Args:
        value: where in a document the reading is, see `at`.
        stamp: where its time is; None where the meter gives no times.
        period_s: how often to ask.
    """

    def __init__(self, name: str, *, value: str | int | None, stamp: str | int | None, period_s: float) -> None:
        self.name = name
        self._value, self._stamp, self._period_s = value, stamp, period_s
        self._pause_s = period_s

    def follow(self, receiver: Receiver, stopping: threading.Event) -> None:
        """Hands on readings until `stopping` is set."""
        raise NotImplementedError

    def close(self) -> None:
        """Ends what `follow` waits for, as far as that is possible from another thread; else it ends by its own time limit."""

    def _found(self, document: Any, *, before_s: float, after_s: float, asked: bool) -> Found:
        """The reading in a document that was asked for at `before_s` and had come by `after_s`.

        Raises:
            NoReading: it is not there.
        """
        return Found(
            value=at(document, self._value),
            stamp=None if self._stamp is None else at(document, self._stamp),
            moment_s=(before_s + after_s) / 2,
            doubt_s=(after_s - before_s) / 2,
            asked=asked,
        )

    def _rest_s(self, *, well: bool) -> float:
        """How long to wait before asking again: one period, and twice as long after each failure in a row."""
        if well:
            self._pause_s = self._period_s
        pause_s = self._pause_s
        if not well:
            self._pause_s = min(2 * pause_s, max(_LONGEST_PAUSE_S, self._period_s))
        return pause_s


class Lines:
    """Whole lines out of pieces of text. `rest` is the one without an end; one that never ends is cut."""

    def __init__(self) -> None:
        self.rest = b""

    def take(self, text: bytes) -> list[str]:
        *whole, rest = (self.rest + text).split(b"\n")
        self.rest = rest[:LINE_BYTES]
        return [line for part in whole if (line := part.decode(errors="replace").strip())]


def at(document: Any, path: str | int | None) -> Any:
    """What a key, or else a dotted path, leads to; numbers in a path count a list's entries from 0.

    Raises:
        NoReading: nowhere.
    """
    if isinstance(document, dict) and path in document:
        parts: list[Any] = [path]
    else:
        parts = [] if path is None else str(path).split(".")
    for part in parts:
        try:
            document = document[int(part)] if isinstance(document, list) else document[part]
        except (LookupError, TypeError, ValueError):
            document = None
    if document is None:
        raise NoReading(f"the wall meter's answer has no {path!r}" if path is not None else "the wall meter's answer is empty")
    return document


def in_words(error: object) -> str:
    """A system error in words, and never the address or the command that it happened with."""
    if isinstance(error, TimeoutError):
        return "timed out"
    text = error.strerror if isinstance(error, OSError) else None
    return text or type(error).__name__

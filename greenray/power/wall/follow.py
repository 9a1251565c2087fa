"""Where a wall meter's readings come from, and the first of three such places: an address that is asked.

Each source runs in the thread of its meter (`greenray.power.wall.meter`) and may take its time. It hands on what it finds as it
finds it, and says in a sentence what it does not find; what a reading means, and whether it can be believed, is not decided here.
"""

import base64
import http.client
import json
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit, urlunsplit

TIMEOUT_S = 10.0
LONGEST_PAUSE_S = 15.0
_ANSWER_BYTES = 1 << 20


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


class Source(Protocol):
    """A place where readings come from."""

    @property
    def name(self) -> str:
        """The meter, for people; without credentials."""

    def follow(self, receiver: Receiver, stopping: threading.Event) -> None:
        """Hands on readings until `stopping` is set."""

    def close(self) -> None:
        """Ends what `follow` waits for, as far as that is possible from another thread."""


class NoReading(ValueError):
    """An answer without what was looked for; the sentence may be shown as it is."""


def found_in(
    document: Any, value: str | int | None, stamp: str | int | None, *, before_s: float, after_s: float, asked: bool
) -> Found:
    """The reading in a document that was asked for at `before_s` and had come by `after_s`.

    Raises:
        NoReading: it is not there.
    """
    return Found(
        value=at(document, value),
        stamp=None if stamp is None else at(document, stamp),
        moment_s=(before_s + after_s) / 2,
        doubt_s=(after_s - before_s) / 2,
        asked=asked,
    )


def at(document: Any, path: str | int | None) -> Any:
    """What a dotted path leads to; numbers in it count a list's entries from 0.

    Raises:
        NoReading: nowhere.
    """
    for part in [] if path is None else str(path).split("."):
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


class HttpSource:
    """An address that answers JSON, asked every `period_s`; asked less and less often while it fails."""

    def __init__(self, url: str, *, value: str | int | None, stamp: str | int | None, period_s: float) -> None:
        parts = urlsplit(url)
        self.name = parts.netloc.rpartition("@")[2]
        self._value, self._stamp, self._period_s = value, stamp, period_s
        self._request = urllib.request.Request(
            urlunsplit(parts._replace(netloc=self.name, fragment="")), headers={"Accept": "application/json"}
        )
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            # Not handed on to wherever an answer may redirect to.
            self._request.add_unredirected_header("Authorization", f"Basic {base64.b64encode(pair.encode()).decode()}")
        # The meter stands in the same network: a proxy for the world outside would not find it.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def follow(self, receiver: Receiver, stopping: threading.Event) -> None:
        due_s, pause_s = time.monotonic(), self._period_s
        while not stopping.wait(max(0.0, due_s - time.monotonic())):
            before_s = time.monotonic()
            try:
                document = self._ask(before_s + TIMEOUT_S)
                after_s = time.monotonic()
                receiver.take(found_in(document, self._value, self._stamp, before_s=before_s, after_s=after_s, asked=True))
                due_s, pause_s = max(due_s + self._period_s, after_s), self._period_s
            except (OSError, ValueError, http.client.HTTPException) as error:
                receiver.fail(_why_no_answer(error))
                due_s = time.monotonic() + pause_s
                pause_s = min(2 * pause_s, max(LONGEST_PAUSE_S, self._period_s))

    def close(self) -> None:
        """The request in flight ends by its own time limit."""

    def _ask(self, deadline_s: float) -> Any:
        with self._opener.open(self._request, timeout=TIMEOUT_S) as answer:
            body = b""
            # The limit of a socket is one of silence: an answer that trickles in needs one of its own.
            while (more := answer.read1(_ANSWER_BYTES)) and len(body) < _ANSWER_BYTES:
                body += more
                if time.monotonic() > deadline_s:
                    raise TimeoutError("timed out")
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            raise NoReading("the wall meter's answer is not JSON") from None


def _why_no_answer(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"the wall meter answers {error.code} {http.client.responses.get(error.code, '')}".rstrip()
    if isinstance(error, NoReading):
        return str(error)
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    return f"the wall meter does not answer ({in_words(reason)})"

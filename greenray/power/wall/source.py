"""Where a wall meter's readings come from: what its sources share, an address that is asked, and a file that grows.

A source is read in the thread of its meter (`greenray.power.wall.meter`) and may take its time. What a reading means, whether it
can be believed, and how long to wait before the next is decided there.
"""

import base64
import contextlib
import csv
import http.client
import io
import json
import math
import os
import threading
import time
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from greenray.config.settings import WallMeter

TIMEOUT_S = 10.0
LINE_BYTES = 1 << 16
_LONGEST_PAUSE_S = 15.0
_ANSWER_BYTES, _TAIL_BYTES = 1 << 20, 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One reading as the meter gave it, in its own unit and with its own stamp, if it has one.

    It was read at `moment_s` (CLOCK_MONOTONIC), give or take `doubt_s`: the middle of the time that it took, and half of it.
    One that is `asked` for may come twice, if the meter is asked more often than it measures.
    """

    value: Any
    stamp: Any
    moment_s: float
    doubt_s: float
    asked: bool


class Source(ABC):
    """A place where readings come from.

    Attributes:
        name: the meter, for people; without credentials.
        trouble: what an error of the system means here; its own words are added.
        lacking: what to say of an answer without the reading; `{}` stands for where it was looked for.
        pause_s: from the beginning of one `read` to that of the next; doubled while it fails, up to `longest_pause_s`.
        stopping: set when no more readings are wanted; a `read` that lasts looks at it.
    """

    name: str
    trouble: str
    lacking: str

    def __init__(self, meter: WallMeter) -> None:
        self.pause_s, self.longest_pause_s = meter.period_s, max(_LONGEST_PAUSE_S, meter.period_s)
        self.stopping = threading.Event()
        self._value, self._stamp = meter.value, meter.time
        self._rest = b""

    @abstractmethod
    def read(self) -> Iterator[Found | str]:
        """One answer, one run of a command or one look at a file: readings as they come, and sentences on what is none."""

    def close(self) -> None:  # noqa: B027  # most hold nothing
        """Gives back what is held from one `read` to the next."""

    def _found(self, document: Any, *, before_s: float, after_s: float, asked: bool = False) -> Found | str:
        """The reading in a document that came between two moments, or the sentence that there is none."""
        value, stamp = at(document, self._value), None if self._stamp is None else at(document, self._stamp)
        if value is None or (stamp is None and self._stamp is not None):
            path = self._value if value is None else self._stamp
            return self.lacking.format("reading" if path is None else repr(path))
        return Found(value=value, stamp=stamp, moment_s=(before_s + after_s) / 2, doubt_s=(after_s - before_s) / 2, asked=asked)

    def _lines(self, text: bytes) -> list[str]:
        """The lines that a piece of text completes; the last one may not be all there yet and is kept for the next piece."""
        *whole, rest = (self._rest + text).split(b"\n")
        self._rest = rest[:LINE_BYTES]
        return [line for part in whole if (line := part.decode(errors="replace").strip())]


def at(document: Any, path: str | int | None) -> Any:
    """What a dotted path leads to, None where nowhere; numbers in it count a list's entries from 0."""
    try:
        for part in [] if path is None else str(path).split("."):
            document = document[int(part)] if isinstance(document, list) else document[part]
    except (LookupError, TypeError, ValueError):
        return None
    return document


def number(value: Any) -> float | None:
    """A finite number, also one that is written as text."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def epoch_s(stamp: Any) -> float | None:
    """Seconds since 1970 of a stamp in seconds, milliseconds or ISO 8601."""
    seconds = number(stamp)
    if seconds is None:
        try:
            return datetime.fromisoformat(stamp).timestamp()
        except (TypeError, ValueError, OverflowError, OSError):
            return None
    seconds = seconds / 1000 if seconds > 1e11 else seconds
    return seconds if 1e9 < seconds < 1e11 else None  # anything else counts from some other beginning


def in_words(error: object) -> str:
    """A system error in words, and never the address or the command that it happened with."""
    if isinstance(error, urllib.error.URLError):
        error = error.reason
    if isinstance(error, TimeoutError):
        return "timed out"
    return (isinstance(error, OSError) and error.strerror) or type(error).__name__


class HttpSource(Source):
    """An address that answers JSON.

    The standard library asks it: unlike `requests` it believes the certificates that this host believes, and logs no address.
    """

    trouble = "the wall meter does not answer"
    lacking = "the wall meter's answer has no {}"

    def __init__(self, meter: WallMeter, *, host: str) -> None:
        super().__init__(meter)
        parts = urlsplit((meter.url or "").replace("{host}", host))
        self.name = parts.netloc.rpartition("@")[2]
        url = urlunsplit(parts._replace(netloc=self.name, fragment=""))
        self._request = urllib.request.Request(url, headers={"Accept": "application/json"})
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            # Not handed on to wherever an answer may redirect to.
            self._request.add_unredirected_header("Authorization", f"Basic {base64.b64encode(pair.encode()).decode()}")
        # The meter stands in the same network: a proxy for the world outside would not find it.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def read(self) -> Iterator[Found | str]:
        before_s, body = time.monotonic(), b""
        try:
            with self._opener.open(self._request, timeout=TIMEOUT_S) as answer:
                # The limit of a socket is one of silence: an answer that trickles in needs one of its own.
                while (more := answer.read1(_ANSWER_BYTES)) and len(body) < _ANSWER_BYTES:
                    body += more
                    if time.monotonic() > before_s + TIMEOUT_S:
                        raise TimeoutError
        except urllib.error.HTTPError as error:
            yield f"the wall meter answers {error.code} {http.client.responses.get(error.code, '')}".rstrip()
            return
        try:
            yield self._found(json.loads(body), before_s=before_s, after_s=time.monotonic(), asked=True)
        except (ValueError, RecursionError):
            yield "the wall meter's answer is not JSON"


class CsvSource(Source):
    """A file that another program appends to: lines that come from now on, and with stamps the last ones before."""

    trouble = "the wall meter's file cannot be read"
    lacking = "the wall meter's file has a line that holds no reading"

    def __init__(self, meter: WallMeter, *, host: str) -> None:
        super().__init__(meter)
        self._path = Path((meter.csv or "").replace("{host}", host)).expanduser()
        self.name = self._path.name
        self.pause_s = self.longest_pause_s = min(meter.period_s / 2, 0.5)
        self._file: io.BufferedReader | None = None
        self._was_there = True  # before us
        self._wanted = (meter.value, meter.time)
        self._headed = False  # the file's first line has been taken in
        self._delimiter: str | None = None
        self._looked_s = 0.0

    def read(self) -> Iterator[Found | str]:
        if self._file is None:
            self._looked_s = time.monotonic()
            try:
                self._file = self._path.open("rb")
            except FileNotFoundError:
                self._was_there = False
                raise
            self._rest, self._headed = b"", False
            if self._was_there:
                self._skip_past(self._file)
                if self._headed and (missing := self._missing()):
                    yield missing
            self._was_there = False
        file, replaced = self._file, self._replaced(self._file)
        if os.fstat(file.fileno()).st_size < file.tell():  # emptied, to be filled anew
            file.seek(0)
            self._rest, self._headed = b"", False
        while text := file.read(LINE_BYTES):
            now_s = time.monotonic()
            for line in self._lines(text):
                if self._headed or not self._is_header(line):
                    yield self._reading(line, before_s=self._looked_s, after_s=now_s)
        self._looked_s = time.monotonic()
        if replaced:  # and nothing more comes from this one
            self.close()

    def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _skip_past(self, file: io.BufferedReader) -> None:
        """Takes in the first line of a file that was there before us, if it is all there, and goes to the last ones."""
        first = file.readline(LINE_BYTES)
        if not first.endswith(b"\n"):
            file.seek(0)
            return
        self._is_header(first.decode(errors="replace").strip())
        start = max(len(first), file.seek(0, io.SEEK_END) - _TAIL_BYTES)
        file.seek(start - 1)
        tail = file.read()
        # Lines without a stamp say nothing of the time before they were seen.
        file.seek(start + (tail.rfind(b"\n") if self._stamp is None else tail.find(b"\n")))

    def _replaced(self, file: io.BufferedReader) -> bool:
        with contextlib.suppress(FileNotFoundError):  # moved away, and its successor is still to come
            return not os.path.samestat(self._path.stat(), os.fstat(file.fileno()))
        return False

    def _is_header(self, line: str) -> bool:
        """Takes a file's first line in: names of columns, or already a reading, in columns that are known by now."""
        self._headed = True
        self._delimiter = next((mark for mark in "\t;," if mark in line), None)
        fields, names = self._fields(line), [column for column in self._wanted if isinstance(column, str)]
        first = self._reading(line)
        is_reading = isinstance(first, Found) and number(first.value) is not None
        if not all(name in fields for name in names) or (is_reading and not names):
            return False
        self._value, self._stamp = (fields.index(name) if isinstance(name, str) else name for name in self._wanted)
        return True

    def _reading(self, line: str, *, before_s: float = math.nan, after_s: float = math.nan) -> Found | str:
        if missing := self._missing():
            return missing
        fields = self._fields(line)
        if self._delimiter == ";":
            fields = [field.replace(",", ".") for field in fields]
        return self._found(fields, before_s=before_s, after_s=after_s)

    def _missing(self) -> str | None:
        column = next((column for column in (self._value, self._stamp) if isinstance(column, str)), None)
        return None if column is None else f"the wall meter's file has no column {column!r}"

    def _fields(self, line: str) -> list[str]:
        if self._delimiter is None:
            return line.split()
        try:
            return [field.strip() for field in next(csv.reader([line], delimiter=self._delimiter), [])]
        except csv.Error:  # two writers at once, a logger that died in the middle: one line is lost, not the meter
            return []

"""A wall meter whose readings another program appends to a file."""

import contextlib
import csv
import io
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path

from greenray.config.settings import WallMeter
from greenray.power.wall.source import LINE_BYTES, Found, Source, number

_TAIL_BYTES = 4096


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
        if self._file is not None:
            self._file.close()
            self._file = None

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

"""A wall meter whose readings another program appends to a file."""

import csv
import io
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from greenray.power.wall.follow import LINE_BYTES, Lines, NoReading, Receiver, Source, in_words


class CsvSource(Source):
    """A file that another program appends to: lines that come from now on, and with stamps the last ones before."""

    def __init__(self, path: Path, *, value: str | int, stamp: str | int | None, period_s: float) -> None:
        super().__init__(path.name, value=value, stamp=stamp, period_s=min(period_s / 2, 0.5))
        self._path = path
        self._columns: list[str] | None = None
        self._delimiter: str | None = None
        self._looked_s = 0.0

    def follow(self, receiver: Receiver, stopping: threading.Event) -> None:
        begun_before = True
        while not stopping.is_set():
            self._looked_s = time.monotonic()
            try:
                with self._path.open("rb") as file:
                    headed = begun_before and self._skip_past(file, receiver)
                    begun_before = False
                    self._read_on(file, receiver, stopping, headed=headed)
            except OSError as error:
                begun_before = begun_before and not isinstance(error, FileNotFoundError)
                receiver.fail(f"the wall meter's file cannot be read ({in_words(error)})")
                stopping.wait(self._period_s)

    def _skip_past(self, file: io.BufferedReader, receiver: Receiver) -> bool:
        """Goes to the last lines of a file that was there before us; whether its first line has been taken in."""
        head = file.readline(LINE_BYTES)
        if not head.endswith(b"\n"):
            file.seek(0)
            return False
        self._is_header(head.decode(errors="replace").strip(), receiver)
        start = max(len(head), file.seek(0, io.SEEK_END) - 4096)
        file.seek(start - 1)
        tail = file.read()
        # Lines without a stamp say nothing of the time before they were seen.
        kept = tail.find(b"\n") if self._stamp is not None else tail.rfind(b"\n")
        file.seek(start + kept)
        return True

    def _read_on(self, file: io.BufferedReader, receiver: Receiver, stopping: threading.Event, *, headed: bool) -> None:
        """Follows one file until another has taken its place and nothing more comes from this one."""
        unended = Lines()
        while not stopping.is_set():
            replaced = self._replaced(file)
            if os.fstat(file.fileno()).st_size < file.tell():  # emptied, to be filled anew
                file.seek(0)
                unended, headed = Lines(), False
            text = file.read(LINE_BYTES)
            now_s = time.monotonic()
            for line in unended.take(text):  # a last line without its end is not all there yet
                if headed or not self._is_header(line, receiver):
                    self._hand_on(line, receiver, before_s=self._looked_s, after_s=now_s)
                headed = True
            if len(text) < LINE_BYTES:
                self._looked_s = now_s
                if replaced:
                    return
                stopping.wait(self._period_s)

    def _replaced(self, file: io.BufferedReader) -> bool:
        try:
            there, here = self._path.stat(), os.fstat(file.fileno())
        except FileNotFoundError:  # moved away, and its successor is still to come
            return False
        return (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino)

    def _is_header(self, line: str, receiver: Receiver) -> bool:
        """Takes the first line in: names of columns, or already a reading."""
        self._delimiter = next((mark for mark in "\t;," if mark in line), None)
        fields = self._split(line)
        names = [name for name in (self._value, self._stamp) if isinstance(name, str)]
        if all(name in fields for name in names) and (names or not _number_like(fields, self._value)):
            self._columns = fields
            return True
        if names and self._columns is None:
            missing = next(name for name in names if name not in fields)
            receiver.fail(f"the wall meter's file has no column {missing!r}")
        return False

    def _hand_on(self, line: str, receiver: Receiver, *, before_s: float, after_s: float) -> None:
        fields = self._split(line)
        named = reversed(list(zip(self._columns or (), fields, strict=False)))  # of two columns of one name the first
        try:
            found = self._found({**dict(enumerate(fields)), **dict(named)}, before_s=before_s, after_s=after_s, asked=False)
        except NoReading:
            receiver.fail("the wall meter's file has a line that holds no reading")
            return
        receiver.take(replace(found, value=found.value.replace(",", ".")) if self._delimiter == ";" else found)

    def _split(self, line: str) -> list[str]:
        if self._delimiter is None:
            return line.split()
        try:
            return [field.strip() for field in next(csv.reader([line], delimiter=self._delimiter), [])]
        except csv.Error:  # two writers at once, a logger that died in the middle: one line is lost, not the meter
            return []


def _number_like(fields: Sequence[str], column: str | int | None) -> bool:
    try:
        float(fields[int(column or 0)].replace(",", "."))
    except (IndexError, ValueError):
        return False
    return True

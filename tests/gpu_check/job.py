"""A job (`tests.gpu_check.jobs`) as the section that started it sees it: its rows, and how it ended."""

import contextlib
import json
import os
import queue
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from greenray.errors import MeasurementError
from tests.support import ROOT


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """The rows of a job, and why there are no more: None when it came to its end."""

    rows: list[dict[str, Any]]
    problem: str | None


class Job:
    """A process that writes rows; it is killed by `close` if it still runs."""

    def __init__(self, command: Sequence[str], environ: Mapping[str, str]) -> None:
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115  # closed with the process
        path = os.pathsep.join(filter(None, [str(ROOT), environ.get("PYTHONPATH")]))
        self._process = subprocess.Popen(
            command,
            env={**environ, "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        self._rows: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def next(self, *, timeout_s: float) -> dict[str, Any] | None:
        """The next row, None after the last. Raises MeasurementError if it fails or nothing comes in time."""
        try:
            line = self._rows.get(timeout=max(0.0, timeout_s))
        except queue.Empty:
            raise MeasurementError(f"the work on the board told nothing more within {timeout_s:.0f} s") from None
        if line is None:
            raise MeasurementError(f"the work on the board ended early: {self._why()}")
        row: dict[str, Any] = json.loads(line)
        if set(row) == {"error"}:
            raise MeasurementError(f"the work on the board failed: {row['error']}")
        return None if row == {"end": True} else row

    def collect(self, *, until_s: float) -> Collected:
        """All rows up to a moment (CLOCK_MONOTONIC)."""
        rows: list[dict[str, Any]] = []
        try:
            while (row := self.next(timeout_s=until_s - time.monotonic())) is not None:
                rows.append(row)
        except MeasurementError as error:
            return Collected(rows=rows, problem=str(error))
        return Collected(rows=rows, problem=None)

    def kill(self) -> None:
        """SIGKILL, as from outside; the process is reaped."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGKILL)
        self._process.wait(30)

    def close(self) -> None:
        """Ends it and gives back what it holds."""
        self.kill()
        self._log.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self._rows.put(line)
        self._rows.put(None)

    def _why(self) -> str:
        if self._log.closed:
            return "it was killed"
        self._log.seek(0)
        lines = self._log.read().strip().splitlines()
        return lines[-1][:300] if lines else "it said nothing"

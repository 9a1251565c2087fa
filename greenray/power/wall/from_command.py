"""A wall meter behind a command that prints its readings."""

import contextlib
import json
import os
import selectors
import shlex
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from greenray.config.settings import without_credentials
from greenray.power.wall.follow import LINE_BYTES, TIMEOUT_S, Lines, Receiver, Source, in_words


class CommandSource(Source):
    """A command that prints a line a reading. Whether it goes on or ends after one is its own affair: it is started again.

    What it starts cannot outlive this process: a guard leads its process group, and kills all of it when the pipe that only
    this process holds is closed, by `close` or by the end of this process.
    """

    def __init__(
        self, command: str | Sequence[str], *, value: str | int | None, stamp: str | int | None, period_s: float
    ) -> None:
        self._command = ["/bin/sh", "-c", command] if isinstance(command, str) else list(command)
        super().__init__(_program(command), value=value, stamp=stamp, period_s=period_s)
        self._guarding = threading.Lock()
        self._guard: subprocess.Popen[bytes] | None = None
        self._closed = False

    def follow(self, receiver: Receiver, stopping: threading.Event) -> None:
        while not stopping.is_set():
            begin_s = time.monotonic()
            try:
                lines, ending = self._run(receiver, stopping, begin_s)
            except (OSError, subprocess.SubprocessError) as error:
                lines, ending = 0, f"the wall meter's command cannot be run ({in_words(error)})"
            if ending is None and not lines:
                ending = "the wall meter's command printed nothing"
            if ending is not None and not stopping.is_set():
                receiver.fail(ending)
            # A command that ends after its reading is on a beat; one that was to go on gets a pause after its end.
            since_s = begin_s if ending is None else time.monotonic()
            stopping.wait(max(0.0, since_s + self._rest_s(well=bool(lines)) - time.monotonic()))

    def close(self) -> None:
        with self._guarding:
            self._closed = True
            self._end_group()

    def _run(self, receiver: Receiver, stopping: threading.Event, begin_s: float) -> tuple[int, str | None]:
        """One run to its end: how many lines it printed, and what was wrong with the end, None if nothing."""
        with self._guarding:
            if self._closed:
                return 0, None
            process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                process_group=self._group(),
            )
        assert process.stdout is not None
        assert process.stderr is not None
        patience_s = max(3 * TIMEOUT_S, 10 * self._period_s)
        lines, said, complaint, heard_s, ended_s = 0, Lines(), b"", begin_s, begin_s
        silent = False
        with process.stdout as out, process.stderr as err, selectors.DefaultSelector() as waiting:
            waiting.register(out, selectors.EVENT_READ)
            waiting.register(err, selectors.EVENT_READ)
            while waiting.get_map() and not stopping.is_set() and not silent:
                for key, _ in waiting.select(timeout=0.5):
                    text = os.read(key.fd, LINE_BYTES)
                    if not text:
                        waiting.unregister(key.fileobj)
                        ended_s = time.monotonic()
                    elif key.fileobj is err:
                        complaint = (complaint + text)[-LINE_BYTES:]  # whole, or what hides credentials would miss their address
                    else:
                        now_s = time.monotonic()
                        for line in said.take(text):
                            # The first line was read between start and now; of the others only the arrival is known.
                            self._hand_on(receiver, line, before_s=now_s if lines else begin_s, after_s=now_s)
                            lines, heard_s = lines + 1, now_s
                silent = time.monotonic() - heard_s > patience_s
        if silent or stopping.is_set():
            with self._guarding:
                self._end_group()
        try:
            code = process.wait(timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:  # it closed its output and goes on
            with self._guarding:
                self._end_group()
            process.kill()
            code = process.wait()
        if silent:
            return lines, f"the wall meter's command was silent for {patience_s:g} s and was ended"
        for line in said.take(b"\n") if code == 0 else []:  # a last line need not end
            self._hand_on(receiver, line, before_s=ended_s if lines else begin_s, after_s=ended_s)
            lines += 1
        if code == 0:
            return lines, None
        last = without_credentials(complaint.decode(errors="replace").strip().rpartition("\n")[2])[:200]
        return lines, f"the wall meter's command ended with code {code}" + (f" ({last})" if last else "")

    def _hand_on(self, receiver: Receiver, line: str, *, before_s: float, after_s: float) -> None:
        document: Any = line
        try:
            if line.startswith(("{", "[")):
                document = json.loads(line)
            elif self._value is not None:
                document = line.replace(",", " ").replace(";", " ").split()
            receiver.take(self._found(document, before_s=before_s, after_s=after_s, asked=before_s < after_s))
        except (ValueError, RecursionError):
            receiver.fail("the wall meter's command printed a line that holds no reading")

    def _group(self) -> int:
        if self._guard is None or self._guard.poll() is not None:
            self._end_group()
            self._guard = subprocess.Popen(
                ["/bin/sh", "-c", "read _; kill -KILL 0"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, process_group=0
            )
        return self._guard.pid

    def _end_group(self) -> None:
        if self._guard is not None:
            assert self._guard.stdin is not None
            with contextlib.suppress(OSError):
                self._guard.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._guard.wait(timeout=TIMEOUT_S)
            self._guard = None


def _program(command: str | Sequence[str]) -> str:
    """The program's name: nothing that is set for it before, and no argument, for either may be secret."""
    try:
        words = shlex.split(command) if isinstance(command, str) else command
    except ValueError:  # quotes that only the shell understands
        words = []
    return next((Path(word).name for word in words if "=" not in word), "command")

"""A wall meter behind a command that prints its readings."""

import json
import os
import selectors
import shlex
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from greenray.config.settings import WallMeter, without_credentials
from greenray.power.wall.source import LINE_BYTES, TIMEOUT_S, Found, Source


class CommandSource(Source):
    """A command that prints a line a reading. Whether it goes on or ends after one is its own affair: it is started again.

    What it starts cannot outlive this process: a guard leads its process group, and kills all of it when the pipe that only
    this process holds is closed, by `close` or by the end of this process.
    """

    trouble = "the wall meter's command cannot be run"
    lacking = "the wall meter's command printed a line that holds no reading"

    def __init__(self, meter: WallMeter, *, host: str) -> None:
        super().__init__(meter)
        command = meter.command or ""
        if isinstance(command, str):
            self._command = ["/bin/sh", "-c", command.replace("{host}", shlex.quote(host))]
        else:
            self._command = [word.replace("{host}", host) for word in command]
        self.name = _program(command)
        self._guard: subprocess.Popen[bytes] | None = None

    def read(self) -> Iterator[Found | str]:
        heard_s = time.monotonic()
        since_s: float | None = heard_s
        patience_s = max(3 * TIMEOUT_S, 10 * self.pause_s)
        process = subprocess.Popen(
            self._command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, process_group=self._group()
        )
        assert process.stdout is not None
        assert process.stderr is not None
        self._rest, complaint = b"", b""
        with process.stdout as out, process.stderr as err, selectors.DefaultSelector() as waiting:
            waiting.register(out, selectors.EVENT_READ)
            waiting.register(err, selectors.EVENT_READ)
            while waiting.get_map() and not self.stopping.is_set() and time.monotonic() <= heard_s + patience_s:
                for key, _ in waiting.select(timeout=0.1):
                    text = os.read(key.fd, LINE_BYTES)
                    if not text:
                        waiting.unregister(key.fileobj)
                    elif key.fileobj is err:
                        complaint = (complaint + text)[-LINE_BYTES:]  # whole, or what hides credentials would miss their address
                    else:
                        for line in self._lines(text):
                            yield self._reading(line, since_s)
                            since_s, heard_s = None, time.monotonic()
            silent = bool(waiting.get_map())
        if silent:
            self.close()
        try:
            code = process.wait(timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:  # it closed its output and goes on
            self.close()
            code = process.wait()
        if self.stopping.is_set():
            return
        if silent:
            yield f"the wall meter's command was silent for {patience_s:g} s and was ended"
        elif code != 0:
            last = without_credentials(complaint.decode(errors="replace").strip().rpartition("\n")[2])[:200]
            yield f"the wall meter's command ended with code {code}" + (f" ({last})" if last else "")
        else:
            for line in self._lines(b"\n"):  # a last line need not end
                yield self._reading(line, since_s)
                since_s = None
            if since_s is not None:
                yield "the wall meter's command printed nothing"

    def close(self) -> None:
        if self._guard is not None:
            self._guard.communicate()  # the end of its input
            self._guard = None

    def _reading(self, line: str, since_s: float | None) -> Found | str:
        """The first line was read between the start and now; of the others only the arrival is known."""
        now_s = time.monotonic()
        document: Any = line
        if line.startswith(("{", "[")):
            try:
                document = json.loads(line)
            except (ValueError, RecursionError):
                document = None
        elif self._value is not None:
            document = line.replace(",", " ").replace(";", " ").split()
        return self._found(document, before_s=since_s or now_s, after_s=now_s, asked=since_s is not None)

    def _group(self) -> int:
        if self._guard is None or self._guard.poll() is not None:
            self._guard = subprocess.Popen(
                ["/bin/sh", "-c", "read _; kill -KILL 0"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, process_group=0
            )
        return self._guard.pid


def _program(command: str | Sequence[str]) -> str:
    """The program's name: nothing that is set for it before, and no argument, for either may be secret."""
    try:
        words = shlex.split(command) if isinstance(command, str) else command
    except ValueError:  # quotes that only the shell understands
        words = []
    return next((Path(word).name for word in words if "=" not in word), "command")

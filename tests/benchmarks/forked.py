"""This host, as `order` asks for it: a fresh process for each arm, forked from one that has imported torch and done nothing."""

import importlib
import multiprocessing
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

from greenray.processes.tree import die_with_parent
from tests.benchmarks.load import Load

WARMUP_S, DEADLINE_S = 0.3, 60.0


class Forked:
    """See `timeline.Host`; every arm is the same model."""

    def __init__(self, architecture: str) -> None:
        for module in ("torch", f"transformers.models.{architecture}.modeling_{architecture}"):
            importlib.import_module(module)
        self._architecture = architecture

    def now_s(self) -> float:
        return time.monotonic()

    def pause(self) -> None:
        """None: rounds follow on one another."""

    @contextmanager
    def process(self) -> Iterator["_Process"]:
        context = multiprocessing.get_context("fork")
        ours, theirs = context.Pipe()
        child = context.Process(target=_serve, args=(self._architecture, theirs, os.getpid()))
        child.start()
        theirs.close()  # the child has its own: when it ends, so does the pipe
        try:
            found = _Process(ours)
            found.answer()
            yield found
        finally:
            child.kill()
            child.join()
            ours.close()


class _Process:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def answer(self) -> float:
        if not self._connection.poll(DEADLINE_S):
            raise RuntimeError(f"a process of the benchmark did not answer within {DEADLINE_S:g} s")
        answer: float = self._connection.recv()
        return answer

    def window(self, seconds: float) -> float:
        self._connection.send(seconds)
        return self.answer()


def _serve(architecture: str, connection: Connection, parent: int) -> None:
    """In the child: warm up, then a window for each number of seconds that comes; answers are seconds a pass."""
    die_with_parent(parent)
    load, wanted_s = Load(architecture), WARMUP_S
    while True:
        passes, seconds = load.run(wanted_s)
        connection.send(seconds / passes)
        wanted_s = connection.recv()

"""Real processes that compute or wait, and what they used."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

# A program that computes until its input ends.
BURN = "import select, sys\nwhile not select.select([sys.stdin], [], [], 0)[0]:\n    sum(range(20000))\n"


@contextmanager
def running(code: str = BURN) -> Iterator[int]:
    """A process that ends with its input; its pid."""
    process = subprocess.Popen([sys.executable, "-S", "-c", code], stdin=subprocess.PIPE, start_new_session=True)
    try:
        yield process.pid
    finally:
        process.communicate(timeout=10)


def used_s(pid: int) -> float:
    """Processor seconds of a process so far, by the kernel's own clock of it."""
    return time.clock_gettime((~pid << 3) | 2)

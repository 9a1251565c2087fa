"""Processes as a test sees them: what they start with, and whether they end."""

import os
import select
import time

from tests.support import ROOT

LIGHT = ("greenray.cell.protocol", "tests.processes.sample_cells")
FOLDER = ROOT / "tests" / "processes"


def wait_until_dead(pid: int, *, timeout_s: float) -> bool:
    """Whether the process, no matter whose child it is, ends in time."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([pidfd], [], [], timeout_s)[0])
    finally:
        os.close(pidfd)


def all_dead(pids: list[int], *, timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    return all(wait_until_dead(pid, timeout_s=max(0.0, deadline - time.monotonic())) for pid in pids)

"""Is somebody else on the GPU?"""

from collections.abc import Callable, Collection
from pathlib import Path

_SLACK_BYTES = 64 << 20  # what a driver may take or give back on its own


def foreign_processes(
    *,
    pids: Collection[int] | None,
    ours: Collection[int],
    uses_gpu: bool,
    memory_before_bytes: int | None,
    memory_level_bytes: int | None,
    exists: Callable[[int], bool] = lambda pid: Path(f"/proc/{pid}").exists(),
) -> int | None:
    """How many other processes are on the GPU, None when that cannot be told.

    Args:
        pids: what the driver lists, in its own pid namespace; None when it does not tell. In a container it may lie.
        ours: pids of the cell's process tree and of the worker.
        uses_gpu: whether the cell holds a context on the GPU.
        memory_before_bytes, memory_level_bytes: its used memory just before the cell started, and when the worker did.
        exists: whether a pid is known here.
    """
    if pids:
        mapped = [pid for pid in pids if pid in ours]
        if mapped or not uses_gpu:
            return len(pids) - len(mapped)
        # Either another namespace, of which one must be the cell, or numbers that happen to exist here too.
        return None if any(exists(pid) for pid in pids) else len(pids) - 1
    if pids is not None and not uses_gpu:
        return 0
    # There is no list, or an empty one that hides the cell. What was on the GPU before the cell is told by its memory.
    if memory_before_bytes is None or memory_level_bytes is None:
        return None
    return int(memory_before_bytes > memory_level_bytes + _SLACK_BYTES)

"""Where a cell that uses a board computes: on the processors of the board's NUMA node.

What it copies to the board then lies in the memory next to it, and cells of several workers are not in each other's way. Cells
that use no board are never bound: they have all of their host.
"""

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from greenray.gpu.base import Gpu
from greenray.processes.cores import physical

_LEAST_CORES = 2
"""Physical cores that a worker gets at least when a node is divided: one to compute with, one to be left over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CellCores:
    """Processors (by number) of one cell; `physical` cores are among them, which `sharing` workers have in common."""

    cores: tuple[int, ...]
    physical: int
    sharing: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardCores:
    """The processors of a board's node that may be used here.

    Attributes:
        groups: its physical cores, each with its processors; empty where cells are not bound, and `reason` says why.
        place: the board's, from 0, among the `boards` of the node.
    """

    groups: tuple[tuple[int, ...], ...] = ()
    place: int = 0
    boards: int = 1
    reason: str | None = None

    def of_cell(self, *, workers_sharing: int) -> CellCores | None:
        """A cell's: the whole node if it has the host to itself, else the board's part if that is enough; None: not bound."""
        if not self.groups:
            return None
        groups, sharing = self.groups, min(workers_sharing, self.boards)
        part = len(groups) // self.boards
        if sharing > 1 and part >= _LEAST_CORES:
            groups, sharing = groups[self.place * part : (self.place + 1) * part], 1
        return CellCores(cores=tuple(sorted(core for group in groups for core in group)), physical=len(groups), sharing=sharing)


def board_cores(gpu: Gpu, *, among: Sequence[Gpu], allowed: Collection[int] | None = None, root: Path = Path("/")) -> BoardCores:
    """The processors of a board's node, `among` all boards that are seen; `allowed` are those that this process may use."""
    close = gpu.cpu_affinity()
    if close is None:
        return BoardCores(reason="the driver does not tell which processors are close to the board")
    usable = set(close).intersection(os.sched_getaffinity(0) if allowed is None else allowed)
    if not usable:
        return BoardCores(reason="none of the processors that are close to the board may be used here")
    node = [other.uuid for other in among if set(other.cpu_affinity() or ()) == set(close)]
    place = node.index(gpu.uuid) if gpu.uuid in node else 0
    return BoardCores(groups=tuple(physical(usable, root=root)), place=place, boards=max(1, len(node)))

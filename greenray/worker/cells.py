"""How a worker's cells are started: what their fork server imports, and on which devices it must not have laid a hand."""

from typing import Literal

from greenray.cell.preload import CELL_TARGET, SETTLE, preload_modules
from greenray.gpu import registry
from greenray.processes.forkserver import Preload, open_launcher
from greenray.processes.launcher import Launcher, Spawn


def cell_preload() -> Preload:
    """Everything that cells import, under an environment in which no GPU is seen."""
    environment, prefixes = registry.preload_environment(), registry.device_prefixes()
    return Preload(modules=preload_modules(), environment=environment, device_prefixes=prefixes, settle=SETTLE)


def open_cell_launcher(kind: Literal["forkserver", "spawn"]) -> Launcher:
    """Where cells come from; `fallback_reason` says why they are spawned where a fork server was wanted.

    Raises:
        LaunchError: this host can start no process at all.
    """
    return Spawn(target=CELL_TARGET) if kind == "spawn" else open_launcher(target=CELL_TARGET, preload=cell_preload())

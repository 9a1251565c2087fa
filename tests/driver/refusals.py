"""Attempts under faults, each committed by the worker's own code: `python -m tests.driver.refusals OUT CONFIG CASE...`.

Run under the simulated NVML, in which the board of case k has number k. The cells are pretended (`pretend_cell.py`), all else is
what a sweep runs: instrument, recorder, supervision, rows, store. Prints the refusals as JSON.
"""

import contextlib
import functools
import json
import math
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from greenray.config.cell import Cell
from greenray.config.load import load
from greenray.config.matrix import expand
from greenray.config.spec import SweepConfig
from greenray.errors import MeasurementError
from greenray.power.activity import HostActivity, TreeActivity
from greenray.power.instrument import Instrument
from greenray.power.sensors import SENSORS, Setup
from greenray.power.sharing import IdlePower
from greenray.processes.launcher import CellProcess, Spawn
from greenray.worker.assignment import Assignment
from greenray.worker.attempt import run_attempt
from greenray.worker.caches import CompileCaches
from greenray.worker.worker import worker_info
from tests.driver.pretend_cell import CONTROL, STRANGER
from tests.driver.pretend_pool import settings_of
from tests.support.burning import running
from tests.support.powercap import AMD, LiveTree, make_tree

IDLE_W, ACTIVE_W = 10.0, 20.0


@dataclass(frozen=True, kw_only=True)
class Case:
    """A fault and what it must lead to, in the last steady window.

    Attributes:
        board: keys of the simulated board; None for a cpu cell on a host without one. NOW stands for the start of the test.
        cell: function of `pretend_cell.py`.
        after: keys of the board that change when the instrument is open and the cell has not begun.
        grade, reasons: what the row must say; `reasons` are beginnings of its sentences, all of them and in order.
        source: of the main meter's energy; None where it must be NULL.
        host: what is done to the host (cpu cells).
    """

    grade: str | None
    reasons: tuple[str, ...] = ()
    source: str | None = "counter"
    board: dict[str, object] | None = field(default_factory=dict)
    cell: str = "quiet"
    after: str = ""
    host: str = ""


def on_host(host: str, grade: str | None, *reasons: str, source: str | None = "rapl", cell: str = "quiet") -> Case:
    return Case(grade=grade, reasons=reasons, source=source, board=None, cell=cell, host=host)


CASES = {
    "nothing": Case(grade="A"),
    "no counter": Case(grade="C", reasons=("the board has no energy counter",), source="power", board={"no_counter": 1}),
    "no permission": Case(grade="C", reasons=("no permission to read the board's",), source="power", board={"no_permission": 1}),
    "averaged power": Case(
        grade="C",
        reasons=("the board has no energy counter", "power is a 1 s average"),
        source="power",
        board={"no_counter": 1, "no_instant": 1},
    ),
    "no instant power": Case(grade="B", reasons=("no instant power to compare",), board={"no_instant": 1}),
    "module scope": Case(grade="B", reasons=("instant power is that of the whole module",), board={"module_scope": 1}),
    "a little apart": Case(grade="B", reasons=("counter and power integral are 7 % apart",), board={"gain": 1.07}),
    "far apart": Case(grade="C", reasons=("counter and power integral are 20 % apart",), board={"gain": 1.2}),
    "throttling": Case(
        grade="B",
        reasons=("the board was slowed down: too hot for its hardware (hw_thermal_slowdown)",),
        board={"throttle": 0x44},
    ),
    "power cap": Case(grade="A", board={"throttle": 0x04}),
    "heating": Case(grade="B", reasons=("temperature went from",), board={"heating_c_per_s": 8, "heating_from": "NOW"}),
    "too few updates": Case(grade="B", reasons=("only 2",), board={"counter_ms": 100}),
    "several": Case(
        grade="C", reasons=("no instant power", "the board was slowed down"), board={"no_instant": 1, "throttle": 0x08}
    ),
    "stranger by pid": Case(grade="B", reasons=("other processes on the board: 1",), cell="joined"),
    "stranger by memory": Case(
        grade="B", reasons=("other processes on the board: 1",), board={"no_processes": 1}, after="memory_used=4000000000"
    ),
    "pids of another namespace": Case(grade="B", reasons=("other processes on the board cannot be told",), cell="unlisted"),
    "frozen counter": Case(grade=None, reasons=("the energy counter did not move",), source=None, board={"frozen_from": 0.001}),
    "counter reset": Case(grade=None, reasons=("the energy counter went backwards",), source=None, cell="reset"),
    "lost board": Case(grade=None, reasons=("the board is lost",), source=None, cell="lost"),
    "MIG": Case(grade=None, board={"mig": 1}),
    "another board": Case(grade=None, cell="elsewhere"),
    "host to itself": on_host("alone", "A", cell="busy"),
    "busy neighbour": on_host("neighbour", "B", "neighbours kept ", "used all the same: none of "),
    "shared host": on_host("alone, two workers", "B", "apportioned between 2 workers"),
    "idle never read": on_host("alone, no idle", "B", "idle power was not measured"),
    "neighbours that are cells": on_host("neighbour beside, two workers", "B", "apportioned between 2 workers"),
    "all of it": on_host(
        "neighbour, no idle", "C", "idle power was not measured", "neighbours kept ", "used all the same: none of "
    ),
    "no RAPL": on_host("none", "D", "processor energy is modelled from CPU time (no RAPL package under ", source="modelled"),
    "RAPL denied": on_host(
        "denied",
        "D",
        "processor energy is modelled from CPU time (RAPL cannot be read: no permission for intel-rapl:0); 1.5 W idle and 6 W",
        source="modelled",
    ),
    "RAPL vanishes": on_host(
        "vanishes", None, "rapl:package-0: RAPL zone package-0 cannot be read any more", source=None, cell="unmetered"
    ),
}
REFUSED_AT_ONCE, REFUSED_LATER = "MIG", "another board"


def number_of(case: str) -> int:
    return list(CASES).index(case)


def cell_of(config: SweepConfig, case: str) -> Cell:
    """Each case is a batch size, one above its number."""
    cells = [cell for block in expand(config, auto_device="cpu") for cell in block.cells]
    device = "cpu" if CASES[case].board is None else "cuda"
    return next(cell for cell in cells if cell.batch_size == number_of(case) + 1 and cell.device == device)


class Told(Spawn):
    """Tells whom it concerns which process the cell is."""

    def __init__(self, *, target: str, environment: dict[str, str | None], tell: Callable[[int], None]) -> None:
        super().__init__(target=target, environment=environment)
        self._tell = tell

    def start(self, *, env: Mapping[str, str | None], log_path: Path) -> CellProcess:
        process = super().start(env=env, log_path=log_path)
        self._tell(process.pid)
        return process


class Host(HostActivity):
    """A host on which nobody works but one cell and, if asked for, neighbours: its processor seconds are theirs."""

    def __init__(self, *, neighbours: Sequence[int]) -> None:
        super().__init__()
        self._trees = [TreeActivity() for _ in (0, *neighbours)]
        for tree, pid in zip(self._trees[1:], neighbours, strict=True):
            tree.follow(pid)
        self.cell = self._trees[0].follow

    def sample_slow(self) -> tuple[float, float, float]:
        used = [tree.sample()[0] for tree in self._trees]
        return (sum(one for one in used if one == one), math.nan, math.nan)


_opening = threading.Lock()
_found: list[Host] = []


def open_activity(setup: Setup) -> list[Host]:
    """In the registry of sensors: the host on which the next instrument is opened."""
    return [*_found]


def run(name: str, *, out: Path, config: SweepConfig, trees: Mapping[str, Path], neighbours: Sequence[int]) -> str | None:
    """One attempt; returns why its board was refused, None if it was not."""
    case, number = CASES[name], number_of(name)
    root = trees.get(case.host.partition(",")[0], trees["alone"])
    host = Host(neighbours=neighbours if case.host.startswith("neighbour") else ())
    with _opening:
        os.environ["GREENRAY_POWERCAP_ROOT"] = str(root)
        _found[:] = [host]
        try:
            instrument = Instrument(
                accelerator=None if case.board is None else str(number),
                hz=config.measure.sampling_hz,
                cpu_model=config.host.cpu_model,
            )
        except MeasurementError as error:
            return str(error)
    if case.after:
        with Path(os.environ[CONTROL]).open("a") as control:
            control.write(f"{number}.{case.after}\n")
    idle = IdlePower(cpu_w=IDLE_W, source="modelled" if "no idle" in case.host else "rapl", seconds=5)
    instrument.share_host(idle=idle, workers=2 if "two workers" in case.host else 1)
    target = f"tests.driver.pretend_cell:{case.cell}"
    with (
        Told(target=target, environment={"GREENRAY_POWERCAP_ROOT": str(root)}, tell=host.cell) as launcher,
        CompileCaches() as caches,
    ):
        result = run_attempt(
            Assignment(cell=cell_of(config, name), attempt=1, visit=None, order_in_visit=None, workers_sharing=1),
            settings=settings_of(out, config),
            info=worker_info(instrument, uses_cuda=instrument.gpu is not None, sees_store=True),
            instrument=instrument,
            launcher=launcher,
            caches=caches,
            memory_limit_bytes=1 << 34,
        )
    instrument.close()
    return result.gpu_lost


def main() -> None:
    out, names = Path(sys.argv[1]), sys.argv[3:]
    config = load(Path(sys.argv[2]))
    SENSORS["activity"] = f"{__name__}:open_activity"
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="green__ray_")))
        roots = {host: make_tree(folder / host, AMD) for host in ("alone", "denied", "vanishes")}
        for host in ("alone", "vanishes"):
            stack.enter_context(LiveTree(roots[host], idle_w=IDLE_W, active_w=ACTIVE_W))
        (roots["denied"] / "intel-rapl:0" / "energy_uj").write_text("denied")
        os.environ[STRANGER] = str(stack.enter_context(running("input()")))
        crowd = 2 if any(CASES[name].host.startswith("neighbour") for name in names) else 0
        neighbours = [stack.enter_context(running()) for _ in range(crowd)]
        trees = {**roots, "neighbour": roots["alone"], "none": folder / "none"}
        pool = stack.enter_context(ThreadPoolExecutor(max_workers=4 if crowd else 1))
        work = functools.partial(run, out=out, config=config, trees=trees, neighbours=neighbours)
        print(json.dumps(dict(zip(names, pool.map(work, names), strict=True))))


if __name__ == "__main__":
    main()

"""A sweep on a terminal: a line for each worker and one for the whole; plain lines where there is no terminal."""

import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from greenray.cli.console import make_console
from greenray.config.cell import Cell
from greenray.config.settings import Limits
from greenray.driver.pool import Starting
from greenray.driver.progress import Snapshot, Watcher, cell_label
from greenray.tasks.registry import task_class
from greenray.worker.assignment import AttemptResult

_STARTING_S = 20.0  # what takes longer is said where there is no terminal, and again at twice, four, eight times as long
_STATUS_STYLE = {"ok": "green", "unsupported": "yellow", "not_applied": "yellow"}


@contextmanager
def terminal_kept(log: Path) -> Iterator[Console]:
    """Keep the terminal for us: libraries that write to stdout and stderr (Ray does, from C++) write to a log instead."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        with os.fdopen(os.dup(kept[0]), "w", encoding="utf-8") as stream:
            yield make_console(stream)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, original in zip((1, 2), kept, strict=True):
            os.dup2(original, number)
            os.close(original)
        os.close(descriptor)


class PlainWatcher(Watcher):
    """Lines only."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._count = 0
        self._waits: set[str] = set()  # of hosts whose workers wait, as last seen
        self._told_s = 0.0  # how long workers had been starting when that was last said

    def say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def starting(self, workers: Sequence[Starting]) -> None:
        if not workers:
            self._told_s = 0.0
        elif (so_far_s := max(worker.since_s for worker in workers)) >= max(_STARTING_S, 2 * self._told_s):
            self._told_s = so_far_s
            self.say(waiting_for(workers))

    def finished(self, cell: Cell, result: AttemptResult) -> None:
        self._count += 1
        line = Text(f"{self._count:>4} ")
        line.append(f"{result.status:<11} ", style=_STATUS_STYLE.get(result.status, "red"))
        line.append(f"{cell_label(cell)}  {result.duration_s:.1f} s")
        if result.energy_j is not None:
            line.append(f"  {result.energy_j:.0f} J")
        if (joules := result.j_per_sample) is not None:
            unit = task_class(cell.task).unit
            line.append(f"  {joules:.3g} J/{unit}" if joules >= 1 else f"  {joules * 1000:.3g} mJ/{unit}")
        if result.error:
            line.append(f"  {result.error}", style="dim")
        self._console.print(line, highlight=False, soft_wrap=True)

    def update(self, snapshot: Snapshot) -> None:
        waits = {worker.host: worker.live.waiting for worker in snapshot.workers if worker.live.waiting is not None}
        for host in waits.keys() - self._waits:
            self.say(f"{host} waits for a quiet host: {waits[host]}")
        self._waits = set(waits)


class LiveWatcher(PlainWatcher):
    """The same lines, and below them what goes on right now."""

    def __init__(self, live: Live, *, limits: Limits) -> None:
        super().__init__(live.console)
        self._live, self._limits = live, limits
        self._begun = False
        self._starting: Sequence[Starting] = ()
        self._began_s = time.monotonic()

    def starting(self, workers: Sequence[Starting]) -> None:
        self._starting = workers
        if workers and not self._begun:
            self._live.update(Text(waiting_for(workers)))

    def update(self, snapshot: Snapshot) -> None:
        self._begun = True
        grid = Table(box=None, pad_edge=False, show_header=False)
        for worker in snapshot.workers:
            power = f"{worker.live.power_w:.0f} W" if worker.live.power_w is not None else ""
            heat = f"{worker.live.temperature_c:.0f} C" if worker.live.temperature_c is not None else ""
            doing = f"{worker.cell}  {worker.elapsed_s:.0f} s" if worker.cell else "idle"
            if worker.cell and worker.live.waiting is not None:
                doing = f"{worker.cell}  waits for a quiet host: {worker.live.waiting}"
            grid.add_row(f"{worker.host} {worker.gpu or 'CPU'}", Text(doing), power, heat)
        eta = f"about {_duration(snapshot.eta_s)} left" if snapshot.eta_s is not None else "time left unknown yet"
        failed = f", {snapshot.failed} failed" if snapshot.failed else ""
        so_far = _duration(time.monotonic() - self._began_s)
        whole = Text(f"{snapshot.done} of {snapshot.total} cells done{failed}, {so_far} so far, {eta}")
        most = _duration(self._limits.cell_timeout_s)
        stop = Text(f"Ctrl-C finishes the cells in flight (at most {most}), twice stops now", style="dim")
        coming = [Text(waiting_for(self._starting))] if self._starting else []
        self._live.update(Group(grid, *coming, whole, stop))


@contextmanager
def watching(console: Console, *, limits: Limits) -> Iterator[PlainWatcher]:
    """A live display where there is a terminal, lines elsewhere."""
    if not console.is_terminal:
        yield PlainWatcher(console)
        return
    with Live(Text("starting workers ..."), console=console, refresh_per_second=4, transient=True) as live:
        yield LiveWatcher(live, limits=limits)


def waiting_for(workers: Sequence[Starting]) -> str:
    """How many workers are still starting, on which hosts, since when."""
    hosts = Counter(worker.host for worker in workers)
    where = ", ".join(host if number == 1 else f"{host} ({number})" for host, number in sorted(hosts.items()))
    many = "s" if len(workers) > 1 else ""
    so_far = _duration(max(worker.since_s for worker in workers))
    return f"waiting for {len(workers)} worker{many} to start, {so_far} so far: {where}"


def _duration(seconds: float | None) -> str:
    return str(timedelta(seconds=round(seconds or 0.0)))

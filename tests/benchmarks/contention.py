"""How far neighbours move the figures of a load on one thread, beside what the kernel tells of them.

    python -m tests.benchmarks.contention [--window-s 2] [--rounds 6]

Each window beside neighbours (busy programs at a share of the time, or copying memory) stands between two quiet ones, and is held
against their mean: wall time and CPU time a pass. CPUs that others kept busy, stolen time and pressure stall are of that window,
and how often the rule of greenray/power/contention.py refuses it. Its thresholds rest on this: what the smallest neighbour is
that moves a figure by more than the 2 % that are aimed at, and what of it can be seen. Not part of `make bench`: minutes, and
there is no target.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import fmean, median

from greenray.power import contention
from greenray.power.activity import HostActivity
from tests.benchmarks.load import MODELS, Load

# Busy for a share of every 20 ms; says so when it begins.
_NEIGHBOUR = """
import sys, time
share, kind, period = float(sys.argv[1]), sys.argv[2], 0.02
if kind == "memory":
    import numpy
    first, second = numpy.zeros(8_000_000), numpy.zeros(8_000_000)
print("ready", flush=True)
while True:
    begin = time.monotonic()
    while time.monotonic() - begin < share * period:
        if kind == "memory":
            numpy.copyto(first, second)
    if share < 1:
        time.sleep((1 - share) * period)
"""
Neighbour = tuple[float, str]
CASES: tuple[tuple[Neighbour, ...], ...] = (
    (),
    *(((share, "spin"),) for share in (0.1, 0.25, 0.5, 1.0)),
    *(((share, "spin"),) * 2 for share in (0.25, 0.5, 1.0)),
    *(((share, "memory"),) for share in (0.25, 1.0)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """One window of the load, and what the kernel tells of others over it.

    Attributes:
        wall_s, cpu_s: time a pass.
        neighbours, steal: processors that others kept busy, and that the hypervisor took away.
        pressure: share of the time in which some task waited for a processor.
        refused: why the rule refuses it, if so.
    """

    wall_s: float
    cpu_s: float
    neighbours: float
    steal: float
    pressure: float
    refused: str | None


def look(load: Load, host: HostActivity, seconds: float) -> Window:
    """Take one window."""
    before, own_s = host.sample_slow(), time.process_time()
    passes, wall_s = load.run(seconds)
    own_s, after = time.process_time() - own_s, host.sample_slow()
    busy, steal, pressure = ((end - begin) / wall_s for begin, end in zip(before, after, strict=True))
    neighbours, own_busy = busy - own_s / wall_s, own_s / wall_s
    refused = contention.contention(
        neighbours_busy=neighbours,
        steal=steal,
        cpu_pressure=pressure,
        logical_cores=os.cpu_count() or 1,
        workers_sharing=1,
        own_busy=own_busy,
    )
    return Window(
        wall_s=wall_s / passes, cpu_s=own_s / passes, neighbours=neighbours, steal=steal, pressure=pressure, refused=refused
    )


@contextmanager
def beside(neighbours: Sequence[Neighbour]) -> Iterator[None]:
    """These programs run, from here to the end of the context."""
    programs = []
    try:
        for neighbour in neighbours:
            command = [sys.executable, "-c", _NEIGHBOUR, *map(str, neighbour)]
            programs.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        for program in programs:
            if program.stdout is None or program.stdout.readline() != "ready\n":
                raise RuntimeError("a neighbour did not start")
        yield
    finally:
        for program in programs:
            program.kill()
            program.communicate()


def compare(load: Load, host: HostActivity, neighbours: Sequence[Neighbour], seconds: float) -> tuple[Window, float, float]:
    """The window beside these neighbours; by how much wall and CPU time a pass exceed those without (0.02 = 2 %)."""
    before = look(load, host, seconds)
    with beside(neighbours):
        found = look(load, host, seconds)
    after = look(load, host, seconds)
    wall, cpu = (getattr(found, name) / fmean((getattr(before, name), getattr(after, name))) - 1 for name in ("wall_s", "cpu_s"))
    return found, wall, cpu


def row(case: Sequence[Neighbour], rounds: Sequence[tuple[Window, float, float]]) -> str:
    """Medians over rounds, the range of the wall time, and how often the rule refused the window."""
    windows, wall, cpu = zip(*rounds, strict=True)
    name = f"{len(case)} x {case[0][0]:.0%} {case[0][1]}" if case else "none"
    span = f"{min(wall) * 100:+.1f} to {max(wall) * 100:+.1f}"
    busy, steal, pressure = (median(getattr(one, name) for one in windows) for name in ("neighbours", "steal", "pressure"))
    refused = sum(one.refused is not None for one in windows) / len(windows)
    shown = f"{name:20}{median(wall) * 100:+8.1f}{span:>18}{median(cpu) * 100:+8.1f}"
    return f"{shown}{busy:8.2f}{steal:8.3f}{pressure:10.3f}{refused:9.0%}"


def main() -> int:
    """Print the table over rounds in which the cases take turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--window-s", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--models", default="vit,resnet", help=f"of {','.join(MODELS)}  [default: %(default)s]")
    options = parser.parse_args()
    host = HostActivity()
    titles = f"{'model':10}{'neighbours':20}{'time %':>8}{'range':>18}{'CPU %':>8}"
    print(f"{titles}{'busy':>8}{'stolen':>8}{'pressure':>10}{'refused':>9}")
    for model in options.models.split(","):
        load = Load(model)
        load.run(options.window_s)
        turns = [[compare(load, host, case, options.window_s) for case in CASES] for _ in range(options.rounds)]
        for case, rounds in zip(CASES, zip(*turns, strict=True), strict=True):
            print(f"{model:10}{row(case, rounds)}", flush=True)
    host.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())

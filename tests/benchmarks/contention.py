"""How far neighbours move the figures of a load on one thread, beside what the kernel tells of them.

    python -m tests.benchmarks.contention [--window-s 2] [--rounds 6]

Each window beside neighbours (busy programs at a share of the time, or copying memory) stands between two quiet ones, and is held
against their mean: wall time and CPU time a pass. CPUs that others kept busy, stolen time and pressure stall are of that window.
Thresholds of the rule in greenray/power/contention.py rest on this: what the smallest neighbour is that moves a figure by more
than the 2 % that are aimed at, and what of it can be seen. Not part of `make bench`: minutes, and there is no target.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median

from greenray.power.activity import HOST_STEP_S
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
    """Wall and CPU time a pass, in seconds; what the kernel tells of others, as CPUs, of pressure as a share of the time."""

    wall_s: float
    cpu_s: float
    neighbours: float
    steal: float
    pressure: float


def look(load: Load, seconds: float) -> Window:
    """One window of the load."""
    host, own_s = _host(), time.process_time()
    passes, wall_s = load.run(seconds)
    own_s = time.process_time() - own_s
    busy_s, stolen_s, stalled_s = (after - before for before, after in zip(host, _host(), strict=True))
    return Window(
        wall_s=wall_s / passes,
        cpu_s=own_s / passes,
        neighbours=(busy_s - own_s) / wall_s,
        steal=stolen_s / wall_s,
        pressure=stalled_s / wall_s,
    )


def _host() -> tuple[float, float, float]:
    """Seconds since boot: processors busy, processors stolen, some task waiting for a processor (NaN where not told)."""
    ticks = [int(text) for text in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    try:
        stalled_s = int(Path("/proc/pressure/cpu").read_text().split("total=")[1].split()[0]) / 1e6
    except OSError:
        stalled_s = float("nan")
    return sum(ticks[i] for i in (0, 1, 2, 5, 6)) * HOST_STEP_S, ticks[7] * HOST_STEP_S, stalled_s


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


def compare(load: Load, neighbours: Sequence[Neighbour], seconds: float) -> tuple[Window, float, float]:
    """The window beside these neighbours; by how much wall and CPU time a pass exceed those without (0.02 = 2 %)."""
    before = look(load, seconds)
    with beside(neighbours):
        found = look(load, seconds)
    after = look(load, seconds)
    wall, cpu = (getattr(found, name) / fmean(getattr(one, name) for one in (before, after)) - 1 for name in ("wall_s", "cpu_s"))
    return found, wall, cpu


def main() -> int:
    """Print medians, and the range of the wall time, over rounds in which the cases take turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--window-s", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--models", default="vit,resnet", help=f"of {','.join(MODELS)}  [default: %(default)s]")
    options = parser.parse_args()
    print(f"{'model':10}{'neighbours':22}{'time %':>8}{'range':>18}{'CPU time %':>12}{'busy':>8}{'stolen':>8}{'pressure':>10}")
    for model in options.models.split(","):
        load = Load(model)
        load.run(options.window_s)
        turns = [[compare(load, case, options.window_s) for case in CASES] for _ in range(options.rounds)]
        for case, rounds in zip(CASES, zip(*turns, strict=True), strict=True):
            windows, wall, cpu = zip(*rounds, strict=True)
            busy, stolen, pressure = (
                median(getattr(one, name) for one in windows) for name in ("neighbours", "steal", "pressure")
            )
            name = f"{len(case)} x {case[0][0]:.0%} {case[0][1]}" if case else "none"
            span = f"{min(wall) * 100:+.1f} to {max(wall) * 100:+.1f}"
            print(
                f"{model:10}{name:22}{median(wall) * 100:+8.1f}{span:>18}{median(cpu) * 100:+12.1f}"
                f"{busy:8.2f}{stolen:8.3f}{pressure:10.3f}",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())

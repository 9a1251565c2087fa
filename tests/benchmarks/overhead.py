"""What `greenray measure` costs the command that it runs.

    python -m tests.benchmarks.overhead [--pairs 12] [--seconds 40]

The command hashes blocks; one simulated board and a RAPL tree are measured. Two ways, each with one thread (a core is left for
the meter) and with a thread a core (the meter has to take its time from the command):

- Pairs of whole runs, with the meter and without, in alternating order: the command reports the time from its own start to its
  own end for a fixed number of blocks, so that starting the meter does not count.
- One long run whose meter is stopped and continued in turn, 80 ms each: a finer look at the same cost once it runs. The verdict
  is upon this one; pairs of runs tell half a per cent on a very quiet machine only.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

from tests.benchmarks.paired import MISSED, UNRESOLVED, Neighbours, Ratio, TooBusyError, rates, ratio_of, switch, verdict
from tests.simnvml import Board, build, environment
from tests.support.powercap import INTEL, make_tree

TARGET, SLICE_S = 1.005, 0.08

# Hashing holds neither the interpreter's lock nor much memory: the threads run as a workload's would. Ends after so many blocks,
# or, where a file is named for the moments at which blocks ended, after so many seconds.
_BURN = """
import array, hashlib, json, sys, threading, time
threads, amount, path = int(sys.argv[1]), float(sys.argv[2]), (sys.argv[3:] or [None])[0]
block, ended = bytes(1 << 18), [array.array("d") for _ in range(threads)]
def burn(ended):
    digest, end_s = hashlib.sha256(), time.monotonic() + amount
    while time.monotonic() < end_s if path else len(ended) < amount:
        digest.update(block)
        ended.append(time.monotonic())
start_s, used_s = time.monotonic(), time.process_time()
others = [threading.Thread(target=burn, args=[each]) for each in ended[1:]]
for other in others:
    other.start()
burn(ended[0])
for other in others:
    other.join()
print(json.dumps([time.monotonic() - start_s, time.process_time() - used_s]), flush=True)
if path:
    with open(path, "wb") as file:
        for each in ended:
            each.tofile(file)
"""
_MEASURE = [sys.executable, "-m", "greenray.cli.app", "measure", "--"]
_BURNING = [sys.executable, "-S", "-c", _BURN]


def burn(*, threads: int, blocks: int, env: dict[str, str], measured: bool) -> tuple[float, float]:
    """Wall seconds and CPU seconds that the command reports of itself."""
    command = [*(_MEASURE if measured else ()), *_BURNING, str(threads), str(blocks)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=True)
    wall_s, used_s = json.loads(done.stdout)
    return wall_s, used_s


def whole_runs(*, threads: int, blocks: int, pairs: int, env: dict[str, str]) -> tuple[Ratio, Ratio]:
    """Ratios, with the meter to without, of run times and of CPU seconds."""
    runs: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
    for number in range(pairs):
        for measured in (False, True) if number % 2 else (True, False):
            runs[measured].append(burn(threads=threads, blocks=blocks, env=env, measured=measured))
    plain, metered = (list(zip(*runs[measured], strict=True)) for measured in (False, True))
    return ratio_of(plain[0], metered[0]), ratio_of(plain[1], metered[1])


def switched(*, threads: int, seconds: float, env: dict[str, str], folder: Path) -> Ratio:
    """Ratio of the command's throughput with the meter stopped to that with the meter running."""
    path = folder / "ended"
    command = [*_MEASURE, *_BURNING, str(threads), str(seconds + 2), str(path)]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as meter:
        try:
            deadline_s = time.monotonic() + 60
            while not psutil.Process(meter.pid).children() and meter.poll() is None and time.monotonic() < deadline_s:
                time.sleep(0.05)
            time.sleep(1.0)
            slices = switch(meter.pid, seconds=seconds, slice_s=SLICE_S)
            meter.communicate(timeout=60)
        finally:
            meter.kill()
    off, on = rates(np.fromfile(path), slices)
    return ratio_of(on, off)


def compare(*, threads: int, blocks: int, pairs: int, seconds: float, env: dict[str, str], folder: Path) -> int:
    """Look both ways and print the ratios; the verdict's exit code."""
    neighbours = Neighbours()
    run_time, used = whole_runs(threads=threads, blocks=blocks, pairs=pairs, env=env)
    try:
        ratio = switched(threads=threads, seconds=seconds, env=env, folder=folder)
    except TooBusyError as error:
        print(f"{threads} thread(s): {error}")
        return UNRESOLVED
    others = neighbours.cores()
    code, words = verdict(ratio, at_most=TARGET, others_cores=others)
    print(f"{threads} thread(s) on {os.cpu_count()} cores; others kept {others:.2f} cores busy")
    print(f"  run time, with / without        {run_time}")
    print(f"  CPU seconds, with / without     {used}")
    print(f"  throughput, meter off / on      {ratio}; target <= {TARGET}, {words}")
    return code


def main() -> int:
    """Print both cases; the worst verdict."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=12, help="pairs of whole runs")
    parser.add_argument("--seconds", type=float, default=40.0, help="length of the long run")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        boards = [Board(wave="square", low_w=80, high_w=620, period_s=0.7, duty=0.4)]
        root = make_tree(folder, INTEL)
        env = {**os.environ, **environment(build(folder), boards=boards), "GREENRAY_POWERCAP_ROOT": str(root)}
        trial = 1000
        wall_s, _ = burn(threads=1, blocks=trial, env=env, measured=False)
        blocks = max(1, round(trial / wall_s))  # a run of about a second
        burn(threads=1, blocks=1, env=env, measured=True)  # the file cache is warm from here on
        counts = sorted({1, os.cpu_count() or 1})
        given = {"blocks": blocks, "pairs": options.pairs, "seconds": options.seconds, "env": env, "folder": folder}
        codes = [compare(threads=threads, **given) for threads in counts]
    return MISSED if MISSED in codes else max(codes)


if __name__ == "__main__":
    sys.exit(main())

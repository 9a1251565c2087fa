"""What `greenray measure` costs the command that it runs: the command's own run time with and without it, in pairs.

    python -m tests.benchmarks.overhead [--pairs 14] [--seconds 1]

The command hashes a fixed number of blocks and reports the time from its own start to its own end: starting the meter does not
count. One board (simulated) and a RAPL tree are measured. The order within pairs alternates. With one thread, a core is left for
the meter; with a thread a core, the meter has to take its time from the command.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.paired import MISSED, Neighbours, ratio_of, verdict
from tests.power.powercap import INTEL, make_tree
from tests.simnvml import Board, build, environment

TARGET = 1.005

# Hashing holds neither the interpreter's lock nor much memory: the threads run as a workload's would.
_BURN = """
import hashlib, json, sys, threading, time
threads, blocks = int(sys.argv[1]), int(sys.argv[2])
block = bytes(1 << 16)
def burn():
    digest = hashlib.sha256()
    for _ in range(blocks):
        digest.update(block)
start_s, used_s = time.monotonic(), time.process_time()
others = [threading.Thread(target=burn) for _ in range(threads - 1)]
for other in others:
    other.start()
burn()
for other in others:
    other.join()
print(json.dumps([time.monotonic() - start_s, time.process_time() - used_s]))
"""
_MEASURE = [sys.executable, "-m", "greenray.cli.app", "measure", "--"]


def burn(*, threads: int, blocks: int, env: dict[str, str], measured: bool) -> tuple[float, float]:
    """Wall seconds and CPU seconds that the command reports of itself."""
    command = [*(_MEASURE if measured else ()), sys.executable, "-S", "-c", _BURN, str(threads), str(blocks)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=True)
    wall_s, used_s = json.loads(done.stdout)
    return wall_s, used_s


def compare(*, threads: int, blocks: int, pairs: int, env: dict[str, str]) -> int:
    """Run the pairs and print the ratios; the verdict's exit code."""
    neighbours = Neighbours()
    runs: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
    for number in range(pairs):
        for measured in (False, True) if number % 2 else (True, False):
            runs[measured].append(burn(threads=threads, blocks=blocks, env=env, measured=measured))
    plain, metered = ([list(column) for column in zip(*runs[measured], strict=True)] for measured in (False, True))
    ratio = ratio_of(plain[0], metered[0])
    others = neighbours.cores()
    code, words = verdict(ratio, at_most=TARGET, others_cores=others)
    print(
        f"{threads} thread(s) on {os.cpu_count()} cores, {_mean(plain[0]):.2f} s without the meter; "
        f"others kept {others:.2f} cores busy"
    )
    print(f"  run time, with / without       {ratio}; target <= {TARGET}, {words}")
    print(f"  CPU seconds, with / without    {ratio_of(plain[1], metered[1])}")
    return code


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def main() -> int:
    """Print both cases; the worst verdict."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=14)
    parser.add_argument("--seconds", type=float, default=1.0, help="how long the command runs, about")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        boards = [Board(wave="square", low_w=80, high_w=620, period_s=0.7, duty=0.4)]
        root = make_tree(folder, INTEL)
        env = {**os.environ, **environment(build(folder), boards=boards), "GREENRAY_POWERCAP_ROOT": str(root)}
        trial = 4000
        wall_s, _ = burn(threads=1, blocks=trial, env=env, measured=False)
        blocks = max(1, round(trial * options.seconds / wall_s))
        burn(threads=1, blocks=1, env=env, measured=True)  # the file cache is warm from here on
        codes = [compare(threads=threads, blocks=blocks, pairs=options.pairs, env=env) for threads in (1, os.cpu_count() or 1)]
    return MISSED if MISSED in codes else max(codes)


if __name__ == "__main__":
    sys.exit(main())

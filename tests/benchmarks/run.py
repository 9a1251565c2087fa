"""`make bench`: every benchmark in turn. A missed target is said and does not end the run; machines are noisy.

    python -m tests.benchmarks.run

Not among them, because they take many minutes of a machine that does nothing else:

    python -m tests.benchmarks.repeat       the quickstart several times, also beside a busy program: do the answers agree?
    python -m tests.benchmarks.order        in which order arms are best measured, here and on simulated hosts
    python -m tests.benchmarks.contention   how far neighbours move time per sample, and what the kernel tells of them
"""

import subprocess
import sys

from tests.benchmarks.paired import MET, MISSED, UNRESOLVED
from tests.support import ROOT

BENCHMARKS = (
    ("start of a cell process", "start"),
    ("an attempt outside its windows", "attempt"),
    ("coverage of 95 % intervals, simulated", "coverage"),
    ("the recorder", "recorder"),
    ("meters side by side on simulated boards", "meters"),
    ("what measuring costs the command", "overhead"),
    ("what recording costs the work", "throughput"),
    ("the command", "help"),
)


def main() -> int:
    """Run them all; 1 if one could not be run or missed its target."""
    ends: dict[int, list[str]] = {MISSED: [], UNRESOLVED: []}
    for title, module in BENCHMARKS:
        print(f"== {title}", flush=True)
        command = [sys.executable, "-m", f"tests.benchmarks.{module}"]
        code = subprocess.run(command, cwd=ROOT, timeout=1800, check=False).returncode
        if code != MET:
            ends[code if code in ends else MISSED].append(title)
    if ends[UNRESOLVED]:
        print(f"== not resolved on this machine: {', '.join(ends[UNRESOLVED])}")
    if ends[MISSED]:
        print(f"== target missed, or not run: {', '.join(ends[MISSED])}")
    if not any(ends.values()):
        print("== every target is met")
    return 1 if ends[MISSED] else 0


if __name__ == "__main__":
    sys.exit(main())

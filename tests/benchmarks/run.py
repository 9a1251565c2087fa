"""`make bench`: every benchmark in turn. A missed target is said and does not end the run; machines are noisy.

python -m tests.benchmarks.run
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
BENCHMARKS = (
    ("start of a cell process", "start"),
    ("an attempt outside its windows", "attempt"),
    ("the recorder", "recorder"),
    ("the command", "help"),
)


def main() -> int:
    """Run them all; 1 if one could not be run or missed its target."""
    missed = []
    for title, module in BENCHMARKS:
        print(f"== {title}", flush=True)
        command = [sys.executable, "-m", f"tests.benchmarks.{module}"]
        if subprocess.run(command, cwd=ROOT, timeout=1800, check=False).returncode != 0:
            missed.append(title)
    print("== every target is met" if not missed else f"== target missed, or not run: {', '.join(missed)}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())

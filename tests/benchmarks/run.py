"""`make bench`: every benchmark in turn. A missed target is said and does not end the run; machines are noisy.

python -m tests.benchmarks.run
"""

import subprocess
import sys
from pathlib import Path

BENCHMARKS = (
    ("start of a cell process", "start.py"),
    ("an attempt outside its windows", "attempt.py"),
    ("the recorder", "recorder.py"),
    ("the command", "help.py"),
)


def main() -> int:
    """Run them all; 1 if one could not be run or missed its target."""
    missed = []
    for title, script in BENCHMARKS:
        print(f"== {title}", flush=True)
        if subprocess.run([sys.executable, str(Path(__file__).with_name(script))], timeout=1800, check=False).returncode != 0:
            missed.append(title)
    print("== every target is met" if not missed else f"== target missed, or not run: {', '.join(missed)}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())

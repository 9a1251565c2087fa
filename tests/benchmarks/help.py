"""How long `greenray --help` takes, as a whole process.

python -m tests.benchmarks.help [--runs 9]
"""

import argparse
import statistics
import subprocess
import sys
import time

TARGET_S = 0.5


def main() -> int:
    """Print the median; 0 if the target is met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=9)
    runs = parser.parse_args().runs
    seconds = []
    for _ in range(runs + 1):
        begin_s = time.monotonic()
        subprocess.run([sys.executable, "-m", "greenray.cli.app", "--help"], stdout=subprocess.DEVNULL, timeout=60, check=True)
        seconds.append(time.monotonic() - begin_s)
    median_s = statistics.median(seconds[1:])
    print(f"greenray --help                {median_s:7.2f} s  (median of {runs}; target <= {TARGET_S} s)")
    return 0 if median_s <= TARGET_S else 1


if __name__ == "__main__":
    sys.exit(main())

"""How long a cell process takes from the asking until its first message: forked from the server, and spawned.

    python -m tests.benchmarks.start [--runs 7]

Both are measured with everything imported that a cell needs (`preload_modules`), which the server does once and
a spawned cell each time.
"""

import argparse
import importlib
import socket
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from greenray.cell.preload import preload_modules
from greenray.cell.protocol import Channel, Ready
from greenray.processes.forkserver import ForkServer
from greenray.processes.launcher import Launcher, LaunchError, Spawn
from greenray.worker.worker import cell_preload

TARGET_S = 0.5
TARGET_RATIO = 10.0


def report_ready(connection: socket.socket) -> int:
    """The measured cell: has all imports, says so, ends."""
    for module in preload_modules():
        importlib.import_module(module)
    Channel(connection).send(Ready())
    return 0


def start_s(launcher: Launcher, *, log_path: Path) -> float:
    """Seconds from the asking for a process until its first message."""
    start = time.monotonic()
    process = launcher.start(env={}, log_path=log_path)
    try:
        if Channel(process.socket).receive(timeout_s=120) is None:
            raise LaunchError("the cell did not answer within 120 s")
        return time.monotonic() - start
    finally:
        process.close()


def median_start_s(launcher: Launcher, *, runs: int) -> float:
    """The median of `runs` starts, after one that warms the file cache."""
    with tempfile.TemporaryDirectory() as folder:
        times = [start_s(launcher, log_path=Path(folder) / "cell.log") for _ in range(runs + 1)]
    return statistics.median(times[1:])


def main() -> int:
    """Print the medians; 0 if the targets are met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=7, help="starts of each kind (default 7)")
    runs = parser.parse_args().runs
    target = f"{Path(__file__).stem}:report_ready"
    sys.path.insert(0, str(Path(__file__).parent))

    opening = time.monotonic()
    preload = cell_preload()
    with ForkServer(target=target, preload=replace(preload, modules=(*preload.modules, Path(__file__).stem))) as server:
        server_s = time.monotonic() - opening
        forked_s = median_start_s(server, runs=runs)
    with Spawn(target=target) as spawn:
        spawned_s = median_start_s(spawn, runs=runs)

    ratio = spawned_s / forked_s
    met = forked_s <= TARGET_S and ratio >= TARGET_RATIO
    print(f"start of a cell process, median of {runs}")
    print(f"  forked   {forked_s:8.3f} s   (target <= {TARGET_S:g} s; the server itself took {server_s:.1f} s, once)")
    print(f"  spawned  {spawned_s:8.3f} s   ({ratio:.0f} times as long; target >= {TARGET_RATIO:g} times)")
    print(f"  targets {'met' if met else 'missed'}")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())

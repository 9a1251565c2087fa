"""What an attempt costs beside its windows: process, device, checks, Parquet. The peer does the same job in its own process.

    python -m tests.benchmarks.attempt [--runs 5]

Both run one inference benchmark of the same tiny ViT (fresh weights, batch of 8) on the CPU in a process of its own. Counted is
the wall time of the whole attempt less the time that the tool itself reports as measured work (for GreenRay: its windows).
The peer is optimum-benchmark 0.6 in process isolation, in a virtual environment of its own (`.venv-peers`).
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from greenray.config.load import build
from greenray.config.matrix import expand
from greenray.config.settings import CpuModel, Measure, Trust
from greenray.store import reader
from greenray.worker.assignment import Assignment, WorkerSettings
from greenray.worker.worker import Worker
from tests.benchmarks import peers
from tests.support import ROOT

TARGET_S = 0.5
PEERS = ROOT / ".venv-peers"
PEER_PACKAGES = ("torch==2.13.0", "optimum-benchmark==0.6.0", "transformers<5", "pillow")
MEASURE = Measure(window_s=0.5, min_windows=2, max_windows=2, idle_s=0.2, warmup_max_s=0.5, target_ci=0.5, quiet_wait_s=0)


def ours(runs: int) -> list[float]:
    """Seconds outside windows of each of `runs` attempts, after one that is not counted."""
    model = {"architecture": "vit", "preset": "tiny"}
    experiment = {
        "name": "e",
        "phase": "inference",
        "models": [model],
        "datasets": [{"id": "digits", "samples": 32}],
        "batch_sizes": [8],
    }
    cell = expand(build({"name": "bench", "experiments": [experiment]}), auto_device="cpu")[0].cells[0]
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        settings = WorkerSettings(
            out=folder,
            probe=None,
            sweep="bench",
            measure=MEASURE,
            cpu_model=CpuModel(),
            cell_timeout_s=120,
            cell_memory_bytes=None,
            trust=Trust(),
        )
        worker = Worker(settings, from_ray=False)
        try:
            for attempt in range(1, runs + 2):
                assignment = Assignment(cell=cell, attempt=attempt, visit=None, order_in_visit=None, workers_sharing=1)
                begin_s = time.monotonic()
                result = worker.run(assignment)
                elapsed_s = time.monotonic() - begin_s
                if result.status != "ok":
                    raise RuntimeError(result.error)
                windows = reader.scan(Path(folder), table="windows").collect()
                measured_s = windows.filter(windows["attempt"] == attempt)["duration_s"].sum()
                seconds.append(elapsed_s - measured_s)
        finally:
            worker.close()
    return seconds[1:]


def peer(runs: int) -> list[float] | str:
    """The same of the peer, or why it cannot be run."""
    problem = peers.install(PEERS, PEER_PACKAGES)
    if problem is not None:
        return problem
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        script = Path(__file__).with_name("peer_optimum.py")
        for _ in range(runs + 1):
            begin_s = time.monotonic()
            done = subprocess.run(
                [str(peers.python_of(PEERS)), str(script), folder],
                capture_output=True,
                text=True,
                timeout=300,
                check=False,
                cwd=folder,
                env={**os.environ, "HF_HUB_OFFLINE": "1"},
            )
            elapsed_s = time.monotonic() - begin_s
            if done.returncode != 0:
                return (done.stderr.strip().splitlines() or ["it failed without a word"])[-1]
            figures = json.loads((Path(folder) / "figures.json").read_text())
            # Starting the script that asks is not the peer's fault: only its own launch counts.
            seconds.append(min(elapsed_s, figures["launch_s"]) - figures["measured_s"])
    return seconds[1:]


def main() -> int:
    """Print the medians and their ratio; 0 if the target is met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    seconds = ours(runs)
    median_s = statistics.median(seconds)
    print(f"GreenRay, outside windows      {median_s:7.2f} s a cell  (median of {runs}; target <= {TARGET_S} s)")
    theirs = peer(min(runs, 3))
    if isinstance(theirs, str):
        print(f"optimum-benchmark 0.6          not run: {theirs}")
    else:
        peer_s = statistics.median(theirs)
        print(f"optimum-benchmark 0.6          {peer_s:7.2f} s a cell  (median of {len(theirs)})")
        print(f"ratio                          {peer_s / median_s:7.1f} x")
    return 0 if median_s <= TARGET_S else 1


if __name__ == "__main__":
    sys.exit(main())

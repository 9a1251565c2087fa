"""What the recorder costs the work beside it: throughput of a small torch model with the recorder on and off, slice by slice.

    python -m tests.benchmarks.throughput [--seconds 100] [--threads 1]

One process runs a model's forward pass over and over and notes when each ended. Another records eight simulated boards at 50 Hz
and is stopped and continued in turn, 80 ms each. A slice's throughput is that of the passes that ended in it.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from tests.benchmarks.paired import UNRESOLVED, Neighbours, TooBusyError, rates, ratio_of, switch, verdict
from tests.simnvml import Board, build, environment

BOARDS, HZ, SLICE_S = 8, 50.0, 0.08
TARGET = 1.005

_WORK = """
import sys, threading, time
import numpy, torch
torch.set_num_threads(int(sys.argv[1]))
torch.manual_seed(0)
width = 256
layers = [layer for _ in range(4) for layer in (torch.nn.Linear(width, width), torch.nn.ReLU())]
model, batch = torch.nn.Sequential(*layers).eval(), torch.randn(64, width)
ended, done = [], threading.Event()
with torch.inference_mode():
    for _ in range(500):
        model(batch)
    print("ready", flush=True)
    threading.Thread(target=lambda: (sys.stdin.readline(), done.set()), daemon=True).start()
    while not done.is_set():
        model(batch)
        ended.append(time.monotonic())
numpy.save(sys.argv[2], numpy.array(ended))
"""

_RECORD = """
import sys
from greenray.gpu import registry
from greenray.power.activity import TreeActivity
from greenray.power.recorder import Recorder
from greenray.power.sensors import Setup, open_sensors
hz, pid = float(sys.argv[1]), int(sys.argv[2])
tree = TreeActivity()
tree.follow(pid)
recorder = Recorder([*open_sensors(Setup(gpus=registry.gpus(), hz=hz)), tree], hz=hz)
recorder.start()
print("ready", flush=True)
sys.stdin.readline()
recorder.stop()
"""


def started(*command: object, env: dict[str, str]) -> "subprocess.Popen[str]":
    """A Python script that has said that it is ready; a line ends it."""
    words = [sys.executable, "-c", *map(str, command)]
    process = subprocess.Popen(words, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    if process.stdout is None or process.stdout.readline() != "ready\n":
        process.kill()
        process.communicate()
        raise RuntimeError("a process of the benchmark did not start")
    return process


def throughputs(*, seconds: float, threads: int) -> tuple[list[float], list[float]]:
    """Passes per second of each pair's slice without and with the recorder."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "ended.npy"
        env = {**os.environ, **environment(build(folder), boards=[Board(wave="square", jitter_ms=1.0)] * BOARDS)}
        with started(_WORK, threads, path, env=env) as work:
            try:
                with started(_RECORD, HZ, work.pid, env=env) as recorder:
                    try:
                        slices = switch(recorder.pid, seconds=seconds, slice_s=SLICE_S)
                        recorder.communicate("\n", timeout=60)
                    finally:
                        recorder.kill()
                work.communicate("\n", timeout=60)
            finally:
                work.kill()
        return rates(np.load(path), slices)


def main() -> int:
    """Print the ratio, its interval and the verdict."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=100.0, help="how long to look, half of it with the recorder")
    parser.add_argument("--threads", type=int, default=1, help="threads of the workload")
    options = parser.parse_args()
    neighbours = Neighbours()
    try:
        off, on = throughputs(seconds=options.seconds, threads=options.threads)
    except TooBusyError as error:
        print(f"{options.threads} thread(s): {error}")
        return UNRESOLVED
    others = neighbours.cores()
    ratio = ratio_of(on, off)
    code, words = verdict(ratio, at_most=TARGET, others_cores=others)
    print(
        f"{options.threads} thread(s) on {os.cpu_count()} cores, {np.mean(off):.0f} passes a second without the recorder; "
        f"others kept {others:.2f} cores busy"
    )
    print(f"  without / with it ({BOARDS} boards, {HZ:.0f} Hz)  {ratio}; target <= {TARGET}, {words}")
    return code


if __name__ == "__main__":
    sys.exit(main())

"""What the recorder costs the work beside it: throughput of a small torch model with the recorder on and off, second by second.

    python -m tests.benchmarks.throughput [--slices 320] [--threads 1]

One process runs a model's forward pass over and over and notes the time of each. Another switches the recorder (50 Hz, eight
simulated boards) on and off, a quarter of a second each, the order changing from pair to pair: what else the machine does then
falls on both alike. Both processes see the same clock; a slice's throughput is that of the passes that ended in it.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from tests.benchmarks.paired import Neighbours, ratio_of, verdict
from tests.simnvml import Board, build, environment

BOARDS, HZ, SLICE_S, EDGE_S = 8, 50.0, 0.25, 0.005
TARGET = 1.005

_WORK = """
import sys, time
import numpy, torch
threads, path = int(sys.argv[1]), sys.argv[2]
torch.set_num_threads(threads)
torch.manual_seed(0)
width = 256
layers = [layer for _ in range(4) for layer in (torch.nn.Linear(width, width), torch.nn.ReLU())]
model, batch = torch.nn.Sequential(*layers).eval(), torch.randn(64, width)
ended = []
with torch.inference_mode():
    for _ in range(500):
        model(batch)
    print("ready", flush=True)
    import threading
    done = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.readline(), done.set()), daemon=True).start()
    while not done.is_set():
        model(batch)
        ended.append(time.monotonic())
numpy.save(path, numpy.array(ended))
"""

# One recorder a slice: as in a sweep, where each attempt has its own.
_RECORD = """
import json, os, sys, time
from greenray.power import nvml
from greenray.power.activity import TreeActivity
from greenray.power.recorder import Recorder
from greenray.power.sensors import Setup, open_sensors
slices, hz, slice_s, pid = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
assert nvml.start() is None
sensors = open_sensors(Setup(boards=nvml.boards(), hz=hz))
found = []
for pair in range(slices // 2):
    for on in ((True, False) if pair % 2 else (False, True)):
        recorder = None
        if on:
            tree = TreeActivity()
            tree.follow(pid)
            recorder = Recorder([*sensors, tree], hz=hz)
        start_s = time.monotonic()
        if recorder is not None:
            recorder.start()
        time.sleep(slice_s)
        end_s = time.monotonic()
        if recorder is not None:
            recorder.stop()
        found.append((on, start_s, end_s))
print(json.dumps(found))
"""


def slices_of(*, slices: int, threads: int) -> tuple[list[float], list[float]]:
    """Passes per second of each pair's slice without and with the recorder."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "ended.npy"
        env = {**os.environ, **environment(build(folder), boards=[Board(wave="square", jitter_ms=1.0)] * BOARDS)}
        command = [sys.executable, "-c", _WORK, str(threads), str(path)]
        with subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as work:
            try:
                assert work.stdout is not None
                if work.stdout.readline() != "ready\n":
                    raise RuntimeError("the workload did not start")
                command = [sys.executable, "-c", _RECORD, str(slices), str(HZ), str(SLICE_S), str(work.pid)]
                limit_s = slices * SLICE_S * 1.5 + 60
                done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=limit_s, check=True)
                work.communicate("\n", timeout=60)
            finally:
                work.kill()
        ended_s = np.load(path)
    rates: dict[bool, list[float]] = {False: [], True: []}
    for on, start_s, end_s in json.loads(done.stdout):
        # From the first pass that ends in the slice to the last: whole passes over the time that they took.
        inside = ended_s[(ended_s >= start_s + EDGE_S) & (ended_s <= end_s - EDGE_S)]
        rates[on].append(float((len(inside) - 1) / (inside[-1] - inside[0])))
    return rates[False], rates[True]


def main() -> int:
    """Print the ratio, its interval and the verdict."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=320, help="slices, half of them with the recorder")
    parser.add_argument("--threads", type=int, default=1, help="threads of the workload")
    options = parser.parse_args()
    neighbours = Neighbours()
    off, on = slices_of(slices=options.slices, threads=options.threads)
    ratio = ratio_of(on, off)
    others = neighbours.cores()
    code, words = verdict(ratio, at_most=TARGET, others_cores=others)
    print(
        f"{options.threads} thread(s) on {os.cpu_count()} cores, {np.mean(off):.0f} passes a second without the recorder; "
        f"others kept {others:.2f} cores busy"
    )
    print(f"  without / with it ({BOARDS} boards, {HZ:.0f} Hz)  {ratio}; target <= {TARGET}, {words}")
    return code


if __name__ == "__main__":
    sys.exit(main())

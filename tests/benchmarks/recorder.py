"""CPU of the recorder at 50 Hz, as a share of one core: `python -m tests.benchmarks.recorder`.

Over eight simulated boards, and over one that renews its readings so unsteadily that it is read more often.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.simnvml import Board, build, environment

RUNS, BOARDS, HZ, SECONDS = 5, 8, 50.0, 4.0
TARGET = 0.03
STEADY = Board(wave="square", jitter_ms=1.0)
UNSTEADY = Board(wave="square", counter_ms=100, jitter_ms=20, instant_in_step=True, instant_mean_ms=25)
"""A board around whose updates the recorder reads more often."""
TARGET_UNSTEADY = 0.01

# Runs by itself: NVML is loaded once a process. The thread's time is all that the process uses meanwhile.
_RECORD = """
import json, os, sys, time
from greenray.gpu import registry
from greenray.power.activity import TreeActivity
from greenray.power.gpu_reading import GpuSensor, calibrate
from greenray.power.recorder import Recorder
from greenray.power.sensors import Setup, open_sensors
hz, seconds = float(sys.argv[1]), float(sys.argv[2])
sensors = open_sensors(Setup(gpus=registry.gpus(), hz=hz))
calibrate([sensor for sensor in sensors if isinstance(sensor, GpuSensor)])
tree = TreeActivity()
tree.follow(os.getpid())
recorder = Recorder([*sensors, tree], hz=hz)
recorder.start()
time.sleep(0.2)
start_s, used_s = time.monotonic(), time.process_time()
time.sleep(seconds)
used_s, length_s = time.process_time() - used_s, time.monotonic() - start_s
recorder.stop()
samples = sum(len(series.fast.times) for series in recorder.trace().of_part("gpu"))
print(json.dumps({"share": used_s / length_s, "samples": samples}))
"""


def recorder_share(
    *, board: Board = STEADY, runs: int = RUNS, boards: int = BOARDS, hz: float = HZ, seconds: float = SECONDS
) -> float:
    """Median share of one core that the recorder takes."""
    with tempfile.TemporaryDirectory() as folder:
        env = {**os.environ, **environment(build(Path(folder)), boards=[board] * boards)}
        shares = []
        for _ in range(runs):
            command = [sys.executable, "-c", _RECORD, str(hz), str(seconds)]
            result = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=True)
            shares.append(json.loads(result.stdout)["share"])
    return statistics.median(shares)


def main() -> int:
    """Prints the figure beside its target; 0 if it is met."""
    missed = False
    for name, board, boards, target in (("", STEADY, BOARDS, TARGET), (" of 100 +-20 ms", UNSTEADY, 1, TARGET_UNSTEADY)):
        share = recorder_share(board=board, boards=boards)
        verdict = f"target {target:.0%}, {'ok' if share <= target else 'MISSED'}"
        print(f"recorder, {boards} boards{name} at {HZ:.0f} Hz: {share:.2%} of one core (median of {RUNS} runs; {verdict})")
        missed |= share > target
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())

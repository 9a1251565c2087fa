"""CPU of the recorder at 50 Hz over eight simulated boards, as a share of one core: `python -m tests.benchmarks.recorder`."""

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

# Runs by itself: NVML is loaded once a process. The thread's time is all that the process uses meanwhile.
_RECORD = """
import json, os, sys, time
from greenray.gpu import registry
from greenray.power.activity import TreeActivity
from greenray.power.recorder import Recorder
from greenray.power.sensors import Setup, open_sensors
hz, seconds = float(sys.argv[1]), float(sys.argv[2])
sensors = open_sensors(Setup(gpus=registry.gpus(), hz=hz))
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


def recorder_share(*, runs: int = RUNS, boards: int = BOARDS, hz: float = HZ, seconds: float = SECONDS) -> float:
    """Median share of one core that the recorder takes."""
    with tempfile.TemporaryDirectory() as folder:
        simulated = [Board(wave="square", jitter_ms=1.0)] * boards
        env = {**os.environ, **environment(build(Path(folder)), boards=simulated)}
        shares = []
        for _ in range(runs):
            command = [sys.executable, "-c", _RECORD, str(hz), str(seconds)]
            result = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=True)
            shares.append(json.loads(result.stdout)["share"])
    return statistics.median(shares)


def main() -> int:
    """Prints the figure beside its target; 0 if it is met."""
    share = recorder_share()
    verdict = f"target {TARGET:.0%}, {'ok' if share <= TARGET else 'MISSED'}"
    print(f"recorder, {BOARDS} boards at {HZ:.0f} Hz: {share:.2%} of one core (median of {RUNS} runs; {verdict})")
    return 0 if share <= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())

"""GreenRay's side of meters.py: the instrument as a sweep's worker uses it, over windows that another process marks.

    python -m tests.benchmarks.own_meter

Writes `ready`, then for a line of JSON [[start_s, end_s], ...] (CLOCK_MONOTONIC) a line [[energy_j, error_j, reasons], ...].
"""

import json
import os
import sys

from greenray.config.settings import CpuModel
from greenray.power.instrument import Instrument


def main() -> None:
    instrument = Instrument(accelerator="0", hz=50.0, cpu_model=CpuModel())
    recording = instrument.record()
    recording.follow(os.getpid())
    print("ready", flush=True)
    windows = json.loads(sys.stdin.readline() or "[]")
    rows = [recording.read(start_s=start_s, end_s=end_s, device="cuda").row() for start_s, end_s in windows]
    recording.stop()
    instrument.close()
    print(json.dumps([[row[name] for name in ("gpu_energy_j", "gpu_energy_error_j", "grade_reasons")] for row in rows]))


if __name__ == "__main__":
    main()

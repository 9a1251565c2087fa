"""Extra reads around a counter's updates, and boards that renew what they tell."""

import json
import math
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from greenray.power.estimate.grid import changes
from greenray.power.gpu_reading import GpuFacts, GpuSensor
from greenray.power.recorder import STEP, Recorder
from greenray.power.renewal import EXTRA_HZ, Renewal
from tests.simnvml import Board, build, counter_j, environment, instant_w
from tests.support.made import made_readings

UNSTEADY = Board(wave="square", low_w=80, high_w=620, period_s=0.7, counter_ms=100, jitter_ms=20)


@pytest.mark.parametrize(
    ("period_s", "jitter_s", "worth"),
    [
        (0.1, 0.02, True),
        (0.1, 0.01, True),
        (0.1, 0.002, False),
        (0.02, 0.004, False),
        (None, 0.0, False),
        (math.nan, 0.02, False),
    ],
)
def test_extra_reads_are_for_counters_whose_updates_nobody_can_foretell(period_s, jitter_s, worth):
    assert (Renewal.worth(period_s=period_s, jitter_s=jitter_s, sampled_s=STEP / 50) is not None) == worth


def test_updates_are_seen_closely_at_few_extra_reads():
    plain, watched = (made_readings(UNSTEADY, seconds=20, watched=watched) for watched in (False, True))
    brackets = [until - after for after, until, _ in (changes(one.times, one.column("counter_j")) for one in (plain, watched))]
    assert np.median(brackets[1]) < np.median(brackets[0]) / 2
    assert len(watched.times) - len(plain.times) < 1.2 * EXTRA_HZ * 20


def test_who_lost_the_updates_finds_them_again():
    """A gap of many periods, and a period that is not quite what was told."""
    watch, read_s, moved = Renewal(period_s=0.101, jitter_s=0.02), 0.0, []
    while read_s < 30:
        count = read_s // 0.1
        watch.saw(read_s, count)
        step_s = min(watch.due_s() - read_s, 0.0195)
        following_s = read_s + max(step_s, 1e-4) + (5.03 if 10 <= read_s < 10.02 else 0.0)
        if following_s // 0.1 != count:
            moved.append(following_s - read_s)
        read_s = following_s
    assert np.median(moved[-50:]) < 0.007


def test_a_gpu_s_sensor_expects_what_calibration_found():
    class Made:
        uuid = "made"

        def meter(self):
            return Made

        power_source, counter_missing, sample, sample_slow, close = "gpu", None, None, None, None

    sensor = GpuSensor(Made())
    assert sensor.renewal(sampled_s=STEP / 50) is None
    sensor.facts = GpuFacts(period_s=0.1, jitter_s=0.02)
    assert isinstance(sensor.renewal(sampled_s=STEP / 50), Renewal)


def test_the_recorder_reads_whenever_a_reading_is_due():
    class Eager:
        name, part, fast, slow, range_j, fault = "wall:eager", "wall", ("counter_j",), (), math.nan, None

        def __init__(self):
            self.count, self.often = 0, threading.Event()

        def renewal(self, *, sampled_s):
            return self

        def sample(self):
            self.count += 1
            if self.count == 100:
                self.often.set()
            return (float(self.count),)

        def sample_slow(self):
            return ()

        def saw(self, time_s, counter):
            self.seen = counter

        def due_s(self):
            return math.inf if self.often.is_set() else -math.inf

    sensor = Eager()
    recorder = Recorder([sensor], hz=0.1)
    recorder.start()
    assert sensor.often.wait(20)  # of regular samples there were three by then
    recorder.stop()
    assert sensor.seen == sensor.count
    assert len(recorder.trace().series["wall:eager"].fast.times) >= 100


READ = """
import ctypes, json, sys, time
library = ctypes.CDLL(sys.argv[1])
class Field(ctypes.Structure):
    _fields_ = [("field", ctypes.c_uint), ("scope", ctypes.c_uint), ("timestamp", ctypes.c_int64), ("latency", ctypes.c_int64),
                ("type", ctypes.c_uint), ("state", ctypes.c_int), ("value", ctypes.c_uint64)]
assert library.nvmlInit_v2() == 0
energy, field, rows, until_s = ctypes.c_ulonglong(), Field(field=186, scope=0), [], time.monotonic() + 0.7
while time.monotonic() < until_s:
    for board in range(int(sys.argv[2])):
        handle = ctypes.c_void_p(board + 1)
        times = [time.monotonic()]
        library.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(energy))
        times.append(time.monotonic())
        library.nvmlDeviceGetFieldValues(handle, 1, ctypes.byref(field))
        times.append(time.monotonic())
        rows.append([board, times, energy.value / 1000, (field.value & 0xFFFFFFFF) / 1000])
    time.sleep(0.002)
print(json.dumps(rows))
"""


def test_the_simulated_board_tells_what_its_closed_form_says(tmp_path: Path):
    told = {"wave": "sine", "low_w": 80, "high_w": 620, "period_s": 0.3, "counter_ms": 50, "jitter_ms": 10, "offset_ms": 3}
    boards = [
        Board(**told, instant_in_step=True, instant_mean_ms=25, gain=1.02),
        Board(**told, instant_ms=40, instant_jitter_ms=8, instant_offset_ms=5, instant_mean_ms=10),
        Board(**told, instant_ms=25),
        Board(**told),
    ]
    library = build(tmp_path)
    env = {**os.environ, **environment(library, boards=boards)}
    command = [sys.executable, "-S", "-c", READ, str(library), str(len(boards))]
    rows = json.loads(subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=True).stdout)
    assert len({row[2] for row in rows if row[0] == 0}) > 5
    base_j = 1e6
    for index, (before_s, between_s, after_s), energy_j, power_w in rows:
        board = boards[index]
        # Read at some moment of the call: what was told lies between what it would be at both ends.
        low_j, high_j = (base_j + counter_j(board, moment_s, index=index) for moment_s in (before_s, between_s))
        assert low_j - 2e-3 <= energy_j <= high_j + 2e-3
        if index < 3:
            told_w = [instant_w(board, moment_s, index=index) for moment_s in (between_s, after_s)]
            assert min(abs(power_w - each) for each in told_w) <= 2e-3 or after_s - between_s > 0.03
        else:
            assert power_w == pytest.approx(instant_w(board, between_s), abs=6000 * (after_s - between_s) + 0.01)

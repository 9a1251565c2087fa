"""The sampling thread and the activity sensors, on a host without boards."""

import math
import os
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from greenray.config.settings import CpuModel
from greenray.power.activity import HostActivity, TreeActivity
from greenray.power.gpu_reading import GpuSensor, calibrate
from greenray.power.instrument import Instrument
from greenray.power.recorder import STEP, Recorder
from greenray.power.sensors import SENSORS, Setup, open_sensors


class Meter:
    """A sensor that counts its readings, fails on request and tells when it was read often enough."""

    name = "wall:made"
    part = "wall"
    fast = ("counter_j",)
    slow = ("temperature_c",)
    range_j = math.nan

    def __init__(self, enough: int) -> None:
        self.count = 0
        self.failing = False
        self.fault: str | None = None
        self.enough = threading.Event()
        self._wanted = enough

    def sample(self):
        self.count += 1
        if self.count >= self._wanted:
            self.enough.set()
        self.fault = "the meter fell silent" if self.failing else None
        return (math.nan if self.failing else float(self.count),)

    def sample_slow(self):
        return (20.0,)

    def close(self) -> None:
        self.closed = True


def test_samples_keep_their_rate_and_a_fault_is_noted_once():
    meter = Meter(enough=40)
    recorder = Recorder([meter], hz=200)
    recorder.start()
    assert meter.enough.wait(10)
    meter.failing = True
    meter.enough.clear()
    assert meter.enough.wait(10)
    recorder.stop()
    series = recorder.trace().series["wall:made"]
    assert not recorder.running()
    assert [text for _, text in series.faults] == ["the meter fell silent"]
    assert len(series.fast.times) == pytest.approx(meter.count, rel=0.2)  # an interrupted reading is taken again
    assert (series.fast.times[1:] > series.fast.times[:-1]).all()
    # Absolute deadlines: late samples come and go, but the whole stays on the grid.
    grid = (series.fast.times[:-1] - series.fast.times[0]) / (STEP / 200)
    assert grid[-1] >= len(grid) - 2
    rows = recorder.trace().rows()
    assert rows["counter_j"][0] == 1.0
    assert None in rows["counter_j"]
    assert 20.0 in rows["temperature_c"]


def test_a_first_reading_that_was_interrupted_is_taken_again():
    class Interrupted(Meter):
        def sample(self):
            if self.count == 0:
                time.sleep(0.3)  # as if stopped
            return super().sample()

    meter = Interrupted(enough=2)
    recorder = Recorder([meter], hz=50)
    recorder.start()
    assert meter.enough.wait(10)
    recorder.stop()
    assert recorder.trace().series["wall:made"].fast.column("counter_j")[0] == 2


def test_what_always_takes_long_is_not_read_twice():
    """While a driver is busy every call is slow: compared with those of late, none of them was interrupted."""

    class Slow(Meter):
        def sample(self):
            if self.count >= 20:
                time.sleep(0.003)
            return super().sample()

    meter = Slow(enough=300)
    recorder = Recorder([meter], hz=200)
    recorder.start()
    assert meter.enough.wait(20)
    recorder.stop()
    taken = len(recorder.trace().series["wall:made"].fast.times)
    # The first ones are read again, until half of those that are remembered took as long.
    assert meter.count - taken < 90


def test_who_was_stopped_looks_again_before_it_gives_up_on_the_samples():
    class Stopped(Recorder):
        looks = 0

        def running(self) -> bool:
            return True

        def last_s(self) -> float:
            self.looks += 1
            if self.looks > 1:
                return math.inf
            time.sleep(0.3)  # as if stopped, beyond the limit
            return -math.inf

    recorder = Stopped([], hz=50)
    recorder.wait_past(time.monotonic(), limit_s=0.2)
    assert recorder.looks == 2


def test_a_counter_s_period_is_found_although_its_first_reading_took_long():
    class Meter:
        power_source, counter_missing, fault, sample_slow, close = "gpu", None, None, None, None
        read = 0

        def sample(self):
            self.read += 1
            if self.read == 2:
                time.sleep(1.3)  # as if stopped, for all the time that there was
            return (time.monotonic() // 0.02, 100.0)

    sensor = GpuSensor(SimpleNamespace(uuid="made", meter=Meter))
    calibrate([sensor])
    assert sensor.facts.period_s == pytest.approx(0.02, rel=0.2)


def test_a_sensor_needs_one_file_and_one_line(tmp_path, monkeypatch):
    source = "from tests.power.test_recorder import Meter\n\n\ndef open_sensors(setup):\n    return [Meter(enough=1)]\n"
    (tmp_path / "made_wall.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(SENSORS, "wall", "made_wall:open_sensors")
    assert "wall:made" in [sensor.name for sensor in open_sensors(Setup())]
    instrument = Instrument(accelerator=None, hz=50, cpu_model=CpuModel())
    recording = instrument.record()
    recording.follow(os.getpid())
    start_s = time.monotonic()
    assert recording.settled()
    time.sleep(0.3)
    reading = recording.read(start_s=start_s, end_s=start_s + 0.25, device="cpu").row()
    read = recording.stop().series["wall:made"].fast
    instrument.close()
    before_j, after_j = np.interp([start_s, start_s + 0.25], read.times, read.column("counter_j"))  # it counts its readings
    assert after_j > before_j
    assert reading["wall_energy_j"] == pytest.approx(after_j - before_j, abs=2)


def test_a_host_without_board_measures_its_processors():
    instrument = Instrument(accelerator=None, hz=50, cpu_model=CpuModel(idle_w_per_core=2, active_w_per_core=10))
    instrument.share_host(idle=instrument.measure_idle(5), workers=1)  # modelled: answers at once
    recording = instrument.record()
    recording.follow(os.getpid())
    start_s, used_s = time.monotonic(), time.process_time()
    while time.process_time() - used_s < 1.0:  # long against a sampling period, which is what an edge may be off by
        pass
    end_s, used_s = time.monotonic(), time.process_time() - used_s
    reading = SimpleNamespace(**recording.read(start_s=start_s, end_s=end_s, device="cpu").row())
    recording.stop()
    instrument.close()
    idle_j = 2 * instrument.host.logical_cores * (end_s - start_s)
    assert instrument.energy_scope == reading.energy_scope == "cpu"
    assert reading.cpu_seconds == pytest.approx(used_s, rel=0.1)
    assert reading.cpu_energy_j == pytest.approx(idle_j + 8 * reading.cpu_seconds, rel=0.01)
    assert reading.total_energy_j == reading.modelled_energy_j == reading.cpu_energy_j
    assert reading.gpu_uuid is None
    assert reading.gpu_energy_j is None
    assert reading.grade == "D"


BURN = "import time\nwhile time.process_time() < {seconds}: pass\n"


def test_a_tree_counts_children_also_when_they_have_ended():
    code = (
        "import subprocess, sys\n"
        f"subprocess.run([sys.executable, '-c', {BURN.format(seconds=0.3)!r}])\n"
        "print('ready', flush=True)\nsys.stdin.readline()\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        tree = TreeActivity()
        assert math.isnan(tree.sample()[0])
        tree.follow(child.pid)
        assert child.stdout.readline() == "ready\n"
        tree.sample_slow()
        assert 0.28 < tree.sample()[0] < 1.0
        assert child.pid in tree.pids()
        before = tree.sample()[0]
    finally:
        child.communicate("\n", timeout=10)
    assert tree.sample()[0] >= before


def test_the_host_is_at_least_as_busy_as_this_process():
    activity = HostActivity()
    before = activity.sample_slow()[0]
    used_s = time.process_time()
    while time.process_time() - used_s < 1.0:  # long against a sampling period, which is what an edge may be off by
        pass
    assert activity.sample_slow()[0] - before > 0.2
    activity.close()

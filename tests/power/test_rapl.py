"""RAPL trees as Intel and AMD lay them out, and what happens when they cannot be read."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from greenray.config.settings import CpuModel
from greenray.power.cpu_reading import HostShare, idle_of, read_cpu
from greenray.power.instrument import Instrument
from greenray.power.rapl import open_sensors, open_zones, powercap_root, survey
from greenray.power.recorder import Recorder
from greenray.power.sensors import Setup
from greenray.power.sharing import IdlePower
from greenray.power.trace import Series, Trace, readings
from tests.support.powercap import AMD, INTEL, LiveTree, make_tree, set_counter

DIES = {
    "intel-rapl:0": "package-0-die-0",
    "intel-rapl:0/intel-rapl:0:0": "dram",
    "intel-rapl:1": "package-0-die-1",
    "intel-rapl:1/intel-rapl:1:0": "dram",
}
MEMORY_MAPPED = {"intel-rapl-mmio:0": "package-0", "intel-rapl-mmio:0/intel-rapl-mmio:0:0": "dram", "intel-rapl:1": "psys"}


@pytest.mark.parametrize(
    ("layout", "zones"),
    [
        (INTEL, {"package-0": "cpu", "package-1": "cpu", "dram-0": "dram", "dram-1": "dram", "psys": "platform"}),
        (AMD, {"package-0": "cpu"}),
        (DIES, {"package-0-die-0": "cpu", "package-0-die-1": "cpu", "dram-0": "dram", "dram-1": "dram"}),
        (MEMORY_MAPPED, {"package-0": "cpu", "dram-0": "dram", "psys": "platform"}),
    ],
    ids=["Intel", "AMD", "dies", "memory-mapped"],
)
def test_packages_and_dram_are_taken_once_and_never_what_is_nested(tmp_path, layout, zones):
    found = survey(make_tree(tmp_path, layout))
    assert found.problem is None
    assert {zone.domain: zone.part for zone in found.zones} == zones


def test_a_package_in_both_interfaces_is_read_by_register(tmp_path):
    root = make_tree(tmp_path, INTEL)
    assert [zone.path.name for zone in survey(root).zones if zone.domain == "package-0"] == ["intel-rapl:0"]
    # ... and memory-mapped where only that can be read.
    (root / "intel-rapl:0" / "energy_uj").write_text("denied")
    found = survey(root)
    assert found.problem is None
    assert [zone.path.name for zone in found.zones if zone.domain == "package-0"] == ["intel-rapl-mmio:0"]


def test_half_a_host_is_no_host(tmp_path):
    root = make_tree(tmp_path, INTEL)
    (root / "intel-rapl:1" / "energy_uj").write_text("denied")  # as unreadable to root as a mode of 000 is to others
    found = survey(root)
    assert "intel-rapl:1" in found.problem
    assert "cpu" not in {zone.part for zone in found.zones}


def test_a_package_that_vanishes_before_it_is_opened_takes_the_other_with_it(tmp_path):
    zones = survey(make_tree(tmp_path, INTEL)).zones
    (tmp_path / "powercap" / "intel-rapl:1" / "energy_uj").unlink()
    sensors = open_zones(zones)
    assert {sensor.name for sensor in sensors} == {"rapl:dram-0", "rapl:dram-1", "rapl:psys"}
    for sensor in sensors:
        sensor.close()


def test_no_tree_is_a_problem_in_words(tmp_path):
    assert "no RAPL package" in survey(tmp_path / "nothing").problem
    assert "no RAPL package" in survey(make_tree(tmp_path, {"intel-rapl:0": "psys"})).problem
    assert powercap_root({"GREENRAY_POWERCAP_ROOT": "/there"}) == Path("/there")
    assert powercap_root({}) == Path("/sys/class/powercap")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that any user may enter."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


# Everything is imported before the privileges go: the checkout may lie where only its owner can look.
AS_ORDINARY_USER = """
import importlib, os, sys, time
from pathlib import Path
from greenray.config.settings import CpuModel
from greenray.power.instrument import Instrument
from greenray.power.rapl import survey
from greenray.power.sensors import SENSORS
for target in SENSORS.values():
    importlib.import_module(target.partition(":")[0])
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
print(survey(Path(sys.argv[1])).problem)
os.environ["GREENRAY_POWERCAP_ROOT"] = sys.argv[1]
instrument = Instrument(accelerator=None, hz=50, cpu_model=CpuModel(idle_w_per_core=2, active_w_per_core=9))
recording = instrument.record()
recording.follow(os.getpid())
start_s = time.monotonic()
time.sleep(0.2)
reading = recording.read(start_s=start_s, end_s=start_s + 0.15, device="cpu")
recording.stop()
row = reading.row()
print(row["cpu_energy_source"], row["grade"], *row["grade_reasons"], sep="|")
"""


def test_an_ordinary_user_may_not_read_and_is_told(open_folder, python):
    root = make_tree(open_folder, INTEL)
    for counter in root.rglob("energy_uj"):
        counter.chmod(0o000)  # the kernel's are 0o400 since 5.10, and root's
    problem, row = python(AS_ORDINARY_USER, root).splitlines()
    names = "intel-rapl-mmio:0, intel-rapl:0, intel-rapl:0:2, intel-rapl:1, intel-rapl:1:0"
    assert problem == f"RAPL cannot be read: no permission for {names}"
    assumed = "2 W idle and 9 W active a core were assumed"
    # Of a busy host it says that too.
    assert row.startswith(f"modelled|D|processor energy is modelled from CPU time ({problem}); {assumed}; CPU time cannot tell")


def test_a_zone_that_vanishes_reads_nan_and_says_so(tmp_path):
    root = make_tree(tmp_path, AMD)
    (sensor,) = open_sensors(Setup(powercap_root=root))
    assert sensor.sample() == (1.0,)
    (root / "intel-rapl:0" / "energy_uj").write_text("")
    assert np.isnan(sensor.sample()[0])
    assert "package-0" in sensor.fault
    (root / "intel-rapl:0" / "energy_uj").write_text("3000000\n")
    assert sensor.sample() == (3.0,)
    assert sensor.fault is None
    sensor.close()


def trace_of(root: Path, *, steps: int = 6) -> Trace:
    """A real recording of the tree while every package climbs by 1 J a step of 50 ms."""
    sensors = open_sensors(Setup(powercap_root=root))
    recorder = Recorder(sensors, hz=50)
    recorder.start()
    zones = survey(root).zones
    for step in range(steps):
        for zone in zones:
            set_counter(zone.path, 1_000_000 * (1 + step))
        time.sleep(0.05)
    recorder.stop()
    for sensor in sensors:
        sensor.close()
    return recorder.trace()


def test_psys_is_recorded_beside_the_packages_and_not_added(tmp_path):
    trace = trace_of(make_tree(tmp_path, INTEL))
    assert {series.sensor for series in trace.of_part("platform")} == {"rapl:psys"}
    idle = idle_of(trace)
    first = trace.series["rapl:package-0"].fast
    climbed_j = float(first.column("counter_j")[-1] - first.column("counter_j")[0])
    seconds = float(first.times[-1] - first.times[0])
    assert climbed_j > 0
    assert idle.cpu_w == pytest.approx(2 * climbed_j / seconds, rel=0.2)  # two packages
    assert idle.dram_w == pytest.approx(2 * climbed_j / seconds, rel=0.2)  # two of memory, beside them


def test_memory_without_a_known_idle_power_has_no_active_energy(tmp_path, monkeypatch):
    """Its power at rest is unknown and not 0 W: all of its energy would pass for the work's."""
    root = make_tree(tmp_path, {"intel-rapl:0": "package-0", "intel-rapl:0/intel-rapl:0:0": "dram"})
    monkeypatch.setenv("GREENRAY_POWERCAP_ROOT", str(root))
    with LiveTree(root, idle_w=30, active_w=20):
        instrument = Instrument(accelerator=None, hz=50, cpu_model=CpuModel())
        recording = instrument.record()
        recording.follow(os.getpid())
        start_s = time.monotonic()
        time.sleep(0.5)
        reading = recording.read(start_s=start_s, end_s=time.monotonic(), device="cpu").row()
        recording.stop()
        instrument.close()
    assert reading["dram_energy_j"] is not None
    assert reading["active_energy_j"] is None
    assert any(reason.startswith("dram: its idle power is unknown") for reason in reading["grade_reasons"])


def made_trace(counter_j: np.ndarray, *, range_j: float) -> Trace:
    times = np.arange(0, 10, 0.02)
    busy = {"cpu:host": 2.0, "cpu:cell": 1.0}
    series = {
        name: Series(sensor=name, part="activity", fast=readings(times, cpu_seconds=rate * times)) for name, rate in busy.items()
    }
    package = Series(sensor="rapl:package-0", part="cpu", fast=readings(times, counter_j=counter_j), range_j=range_j)
    return Trace(hz=50, series={"rapl:package-0": package, **series})


SHARE = HostShare(logical_cores=4, model=CpuModel(), idle=IdlePower(cpu_w=20, source="rapl"))


def test_a_wrap_is_undone_where_the_range_is_known_and_unknown_where_it_is_not():
    counter_j = 70 * np.arange(0, 10, 0.02) % 262.0
    known = read_cpu(made_trace(counter_j, range_j=262.0), SHARE, start_s=2, end_s=7)
    assert known.host.energy_j == pytest.approx(350)
    assert known.energy.energy_j == pytest.approx(100 + 250 / 2)
    lost = read_cpu(made_trace(counter_j, range_j=float("nan")), SHARE, start_s=2, end_s=7)
    assert (lost.energy.energy_j, lost.source) == (None, None)
    assert lost.energy.reason == "rapl:package-0: the RAPL counter went backwards and its range is not known"
    assert idle_of(made_trace(counter_j, range_j=float("nan"))) is None


def test_a_counter_that_stands_still_is_unknown_and_not_nought():
    still = read_cpu(made_trace(np.full(500, 77.0), range_j=262.0), SHARE, start_s=2, end_s=7)
    assert (still.energy.energy_j, still.host.energy_j, still.source) == (None, None, None)
    assert still.energy.reason == "rapl:package-0: the counter did not move"


def test_a_missing_range_is_read_as_unknown(tmp_path):
    root = make_tree(tmp_path, AMD)
    (root / "intel-rapl:0" / "max_energy_range_uj").unlink()
    (zone,) = survey(root).zones
    assert np.isnan(zone.range_j)

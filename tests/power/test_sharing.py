"""The sharing rule, and RAPL over a made powercap tree."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenray.config import CpuModel
from greenray.power.company import foreign_processes
from greenray.power.instrument import idle_of
from greenray.power.rapl import open_sensors, powercap_root, survey
from greenray.power.reading import Household, read_cpu
from greenray.power.sensors import Setup
from greenray.power.sharing import IdlePower, share_j
from greenray.power.trace import Series, Trace, readings
from tests.power.powercap import AMD, INTEL, make_tree

watts = st.floats(0, 500)
seconds = st.floats(0.01, 100)


@given(idle_w=watts, active_w=watts, duration=seconds, busy=st.lists(st.floats(0, 50), min_size=1, max_size=6))
def test_shares_conserve_energy(idle_w, active_w, duration, busy):
    host_s = sum(busy)
    host_j = idle_w * duration + active_w * host_s
    shares = [
        share_j(host_j=host_j, idle_w=idle_w, duration_s=duration, workers=len(busy), cell_s=one, host_s=host_s) for one in busy
    ]
    assert sum(shares) == pytest.approx(host_j, rel=1e-9, abs=1e-9)


@given(cell_s=st.floats(0.1, 10), neighbour_s=st.floats(0, 10))
def test_a_neighbour_does_not_change_a_cells_share(cell_s, neighbour_s):
    def share(host_s: float) -> float:
        return share_j(host_j=20 * 10 + 5 * host_s, idle_w=20, duration_s=10, workers=2, cell_s=cell_s, host_s=host_s)

    assert share(cell_s + neighbour_s) == pytest.approx(share(cell_s))


def host_trace(*, package_w: float, cell: float, host: float, wall_w: float | None = None) -> Trace:
    times = np.arange(0, 10, 0.02)
    series = {
        "rapl:package-0": Series(
            sensor="rapl:package-0", part="cpu", fast=readings(times, counter_j=package_w * times % 262_143), range_j=262_143
        ),
        "cpu:host": Series(sensor="cpu:host", part="activity", fast=readings(times, cpu_seconds=100 + host * times)),
        "cpu:cell": Series(sensor="cpu:cell", part="activity", fast=readings(times, cpu_seconds=cell * times)),
    }
    if not package_w:
        del series["rapl:package-0"]
    return Trace(hz=50, series=series)


def test_rapl_is_shared_by_the_rule():
    household = Household(logical_cores=8, model=CpuModel(), idle=IdlePower(cpu_w=40, source="rapl"), workers=4)
    cpu = read_cpu(host_trace(package_w=100, cell=1, host=3), household, start_s=2, end_s=7)
    assert (cpu.source, cpu.host.energy_j) == ("rapl", pytest.approx(500))
    assert cpu.energy.energy_j == pytest.approx(40 * 5 / 4 + (500 - 200) / 3)
    assert cpu.neighbours_busy == pytest.approx(2)
    assert 0 < cpu.energy.error_j < 5


def test_without_rapl_the_same_rule_is_modelled():
    household = Household(logical_cores=8, model=CpuModel(idle_w_per_core=1.5, active_w_per_core=6), workers=2)
    cpu = read_cpu(host_trace(package_w=0, cell=1, host=3), household, start_s=2, end_s=7)
    assert cpu.source == "modelled"
    assert cpu.host.energy_j == pytest.approx(1.5 * 8 * 5 + 4.5 * 15)
    assert cpu.energy.energy_j == pytest.approx(1.5 * 8 * 5 / 2 + 4.5 * 5)
    assert cpu.energy.error_j is None


def test_a_cell_that_nobody_follows_is_unknown():
    trace = host_trace(package_w=100, cell=1, host=3)
    del trace.series["cpu:cell"]
    cpu = read_cpu(trace, Household(logical_cores=8, model=CpuModel()), start_s=2, end_s=7)
    assert (cpu.energy.energy_j, cpu.source) == (None, None)
    assert cpu.host.energy_j == pytest.approx(500)


def test_idle_power_is_the_mean_over_the_interval():
    assert idle_of(host_trace(package_w=30, cell=0, host=0)).cpu_w == pytest.approx(30)
    assert idle_of(host_trace(package_w=0, cell=0, host=0)) is None


def test_intel_tree_takes_packages_and_dram_and_never_what_is_nested(tmp_path):
    found = survey(make_tree(tmp_path, INTEL))
    assert found.problem is None
    assert {zone.domain: zone.part for zone in found.zones} == {
        "package-0": "cpu",
        "package-1": "cpu",
        "dram-0": "dram",
        "dram-1": "dram",
        "psys": "platform",
    }


def test_amd_tree_has_packages_only(tmp_path):
    assert [zone.domain for zone in survey(make_tree(tmp_path, AMD)).zones] == ["package-0"]


def test_half_a_host_is_no_host(tmp_path):
    root = make_tree(tmp_path, INTEL)
    (root / "intel-rapl:1" / "energy_uj").write_text("denied")  # as unreadable to root as a mode of 000 is to others
    found = survey(root)
    assert "intel-rapl:1" in found.problem
    assert "cpu" not in {zone.part for zone in found.zones}


def test_no_tree_is_a_problem_in_words(tmp_path):
    assert "no RAPL package" in survey(tmp_path / "nothing").problem
    assert powercap_root({"GREENRAY_POWERCAP_ROOT": "/there"}) == Path("/there")
    assert powercap_root({}) == Path("/sys/class/powercap")


def test_a_zone_that_vanishes_reads_nan_and_says_so(tmp_path):
    root = make_tree(tmp_path, AMD)
    (sensor,) = open_sensors(Setup(powercap_root=root))
    assert sensor.sample() == (1.0,)
    (root / "intel-rapl:0" / "energy_uj").write_text("")
    assert np.isnan(sensor.sample()[0])
    assert "package-0" in sensor.fault
    sensor.close()


@pytest.mark.parametrize(
    ("case", "count"),
    [
        ({"pids": [1, 2], "ours": {2}, "uses_board": True}, 1),
        ({"pids": [2], "ours": {2}, "uses_board": True}, 0),
        ({"pids": [1], "ours": {2}, "uses_board": False}, 1),
        ({"pids": [], "ours": {2}, "uses_board": False}, 0),
        ({"pids": [7, 8], "ours": {2}, "uses_board": True, "exists": lambda pid: False}, 1),
        ({"pids": None, "ours": {2}, "uses_board": True}, None),
        ({"pids": [], "ours": {2}, "uses_board": True, "memory_before_bytes": 1 << 30, "memory_level_bytes": 0}, 1),
        ({"pids": [], "ours": {2}, "uses_board": True, "memory_before_bytes": 100, "memory_level_bytes": 0}, 0),
    ],
)
def test_foreign_processes(case, count):
    arguments = {"memory_before_bytes": None, "memory_level_bytes": None, **case}
    assert foreign_processes(**arguments) == count


def test_a_list_of_live_strangers_says_nothing_about_the_cell():
    nothing = {"memory_before_bytes": None, "memory_level_bytes": None}
    assert foreign_processes(pids=[os.getpid()], ours=set(), uses_board=True, **nothing) is None

"""The sharing rule as arithmetic; under real loads: test_shared_host.py."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenray.config.settings import CpuModel
from greenray.power.cpu_reading import HostShare, idle_of, read_cpu
from greenray.power.sharing import IdlePower, share_j
from greenray.power.trace import Series, Trace, readings

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
    host_share = HostShare(logical_cores=8, model=CpuModel(), idle=IdlePower(cpu_w=40, source="rapl"), workers=4)
    cpu = read_cpu(host_trace(package_w=100, cell=1, host=3), host_share, start_s=2, end_s=7)
    assert (cpu.source, cpu.host.energy_j) == ("rapl", pytest.approx(500))
    assert cpu.energy.energy_j == pytest.approx(40 * 5 / 4 + (500 - 200) / 3)
    assert cpu.neighbours_busy == pytest.approx(2)
    assert 0 < cpu.energy.error_j < 5


def test_without_rapl_the_same_rule_is_modelled():
    host_share = HostShare(logical_cores=8, model=CpuModel(idle_w_per_core=1.5, active_w_per_core=6), workers=2)
    cpu = read_cpu(host_trace(package_w=0, cell=1, host=3), host_share, start_s=2, end_s=7)
    assert cpu.source == "modelled"
    assert cpu.host.energy_j == pytest.approx(1.5 * 8 * 5 + 4.5 * 15)
    assert cpu.energy.energy_j == pytest.approx(1.5 * 8 * 5 / 2 + 4.5 * 5)
    assert cpu.energy.error_j is None


def test_a_cell_that_nobody_follows_is_unknown():
    trace = host_trace(package_w=100, cell=1, host=3)
    del trace.series["cpu:cell"]
    cpu = read_cpu(trace, HostShare(logical_cores=8, model=CpuModel()), start_s=2, end_s=7)
    assert (cpu.energy.energy_j, cpu.source) == (None, None)
    assert cpu.host.energy_j == pytest.approx(500)


def test_idle_power_is_the_mean_over_the_interval():
    assert idle_of(host_trace(package_w=30, cell=0, host=0)).cpu_w == pytest.approx(30)
    assert idle_of(host_trace(package_w=0, cell=0, host=0)) is None

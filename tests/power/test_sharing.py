"""The sharing rule as arithmetic; under real loads: test_shared_host.py."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenray.config.settings import CpuModel
from greenray.power.cpu_reading import HostShare, idle_of, read_cpu
from greenray.power.grade import grade_cpu
from greenray.power.sharing import CoreShare, IdlePower, core_share, share_j
from greenray.power.trace import Series, Trace, readings
from greenray.power.window import WindowReading

AT = {"start_s": 2.0, "end_s": 7.0}
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


@pytest.mark.parametrize(
    ("case", "cores", "by"),
    [
        ({}, 256, "host"),
        ({"boards": (1, 8)}, 32, "boards"),  # a pod with one GPU
        ({"boards": (1, 8), "workers": 8}, 256, "boards"),  # eight of them, each in a pod of its own: 32 for each
        ({"boards": (8, 8), "workers": 8}, 256, "host"),
        ({"boards": (4, 8), "workers": 4}, 128, "boards"),
        ({"boards": (1, 8), "allotted": 16}, 16, "allotted"),  # what is allotted is surer
        ({"boards": (1, 8), "allotted": 16, "workers": 2}, 32, "allotted"),
        ({"boards": (8, 8), "allotted": 128, "workers": 8}, 128, "allotted"),
        ({"allotted": 2.5}, 2.5, "allotted"),
        ({"boards": (0, 8)}, 256, "host"),
    ],
)
def test_a_model_counts_the_cores_that_are_the_sweeps(case, cores, by):
    given_ = {"logical_cores": 256, "allotted": 256, "boards": (0, 0), "workers": 1, **case}
    assert core_share(**given_) == CoreShare(cores=cores, by=by)


def test_a_pod_with_one_gpu_is_not_charged_for_the_whole_node():
    share = core_share(logical_cores=256, allotted=256, boards=(1, 8), workers=1)
    cpu = read_cpu(host_trace(package_w=0, cell=1, host=90), HostShare(logical_cores=256, model=CpuModel(), modelled=share), **AT)
    assert cpu.energy.energy_j == pytest.approx(1.5 * 32 * 5 + 4.5 * 5)
    assert cpu.idle.cpu_w == 48
    _, (reason,) = grade_cpu(replace(cpu, contention=None))
    assert "for 32 of 256 cores: the share of the host's GPUs that is seen from here" in reason


def test_a_meter_is_never_mixed_with_an_assumed_idle_power():
    """A host that draws 70 W, and a command that sleeps: it gets all but what the others' seconds cost."""
    cpu = read_cpu(host_trace(package_w=70, cell=0.001, host=0.02), HostShare(logical_cores=2, model=CpuModel()), **AT)
    assert cpu.energy.energy_j == pytest.approx(70 * 5 - 4.5 * 0.019 * 5, rel=1e-3)
    assert cpu.idle.source == "inferred"
    row = WindowReading(device="cpu", duration_s=5, energy_scope="cpu", cpu=cpu).row()
    assert (row["cpu_idle_w"], row["cpu_active_energy_j"], row["modelled_cores"]) == (None, None, None)
    assert any("idle power was not measured" in reason for reason in row["grade_reasons"])


def test_a_cell_that_nobody_follows_is_unknown():
    trace = host_trace(package_w=100, cell=1, host=3)
    del trace.series["cpu:cell"]
    cpu = read_cpu(trace, HostShare(logical_cores=8, model=CpuModel()), start_s=2, end_s=7)
    assert (cpu.energy.energy_j, cpu.source) == (None, None)
    assert cpu.host.energy_j == pytest.approx(500)


def stopped(trace: Trace, begin_s: float, end_s: float, *, works_from_s: float) -> Trace:
    """The same, its recorder stopped for a while; the cell does nothing until it works."""
    series = {}
    for name, one in trace.series.items():
        columns = dict(one.fast.columns)
        if name == "cpu:cell":
            columns["cpu_seconds"] = np.maximum(one.fast.times - works_from_s, 0.0)
        kept = (one.fast.times < begin_s) | (one.fast.times > end_s)
        fast = readings(one.fast.times[kept], **{column: values[kept] for column, values in columns.items()})
        series[name] = replace(one, fast=fast)
    return replace(trace, series=series)


@pytest.mark.parametrize("package_w", [0, 100])
def test_what_the_recorder_missed_at_an_edge_is_not_made_up(package_w):
    host_share = HostShare(logical_cores=8, model=CpuModel(), idle=IdlePower(cpu_w=20, source="rapl"))
    made = host_trace(package_w=package_w, cell=1, host=1)
    began_in_it = read_cpu(stopped(made, 2, 5, works_from_s=4.5), host_share, start_s=4.5, end_s=5.5)
    assert began_in_it.energy.energy_j is None
    assert began_in_it.source is None
    assert began_in_it.energy.reason == "the recorder missed 3.04 s at an edge of the window"
    goes_on = read_cpu(stopped(made, 2, 5, works_from_s=-1), host_share, start_s=4.5, end_s=5.5)
    undisturbed = read_cpu(made, host_share, start_s=4.5, end_s=5.5)
    assert goes_on.energy.energy_j == pytest.approx(undisturbed.energy.energy_j)
    inside = read_cpu(stopped(made, 2, 5, works_from_s=3), host_share, start_s=1.5, end_s=5.5)
    assert inside.energy.energy_j is not None


def test_idle_power_is_the_mean_over_the_interval():
    idle = idle_of(host_trace(package_w=30, cell=0, host=1.5))
    assert (idle.cpu_w, idle.busy) == (pytest.approx(30), pytest.approx(1.5))
    assert idle_of(host_trace(package_w=0, cell=0, host=0)) is None

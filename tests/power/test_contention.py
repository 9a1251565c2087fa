"""The rule of contention: pure; and what a window knows of it, read off made traces and this host."""

import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenray.config.settings import CpuModel
from greenray.power.activity import HostActivity
from greenray.power.contention import NEIGHBOURS_CPUS, NEIGHBOURS_SHARE, PRESSURE, STEAL_SHARE, contention
from greenray.power.cpu_reading import HostShare, read_cpu
from greenray.power.trace import TRACE_COLUMNS, Series, Trace, readings
from greenray.power.window import WindowReading
from tests.support.burning import running

QUIET: dict[str, Any] = {
    "neighbours_busy": 0.03,
    "steal": 0.0,
    "cpu_pressure": 0.02,
    "logical_cores": 2,
    "workers_sharing": 1,
    "own_busy": 1.0,
}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, None),
        ({"neighbours_busy": NEIGHBOURS_CPUS}, None),
        ({"neighbours_busy": 1.02}, "neighbours kept 1.02 of 2 processors busy"),
        ({"neighbours_busy": 1.02, "logical_cores": 64}, None),  # of many processors a few are nobody's loss
        ({"neighbours_busy": 64 * NEIGHBOURS_SHARE + 0.1, "logical_cores": 64}, "neighbours kept 3.30 of 64 processors busy"),
        ({"neighbours_busy": 1.5, "workers_sharing": 2}, None),  # other cells, as it is meant to be
        ({"cpu_pressure": 0.9}, None),  # the cell's own threads wait for each other too
        ({"cpu_pressure": 0.9, "workers_sharing": 2}, "tasks waited for a processor in 90% of the time"),
        ({"cpu_pressure": PRESSURE, "workers_sharing": 2}, None),
        ({"steal": 0.2}, "the hypervisor took 0.20 processors away"),
        ({"steal": 0.2, "workers_sharing": 2}, "the hypervisor took 0.20 processors away"),
        ({"steal": 0.2, "own_busy": 10.0}, None),
        ({"steal": STEAL_SHARE, "own_busy": None}, None),
        (
            {"steal": 0.2, "neighbours_busy": 0.5},
            "neighbours kept 0.50 of 2 processors busy and the hypervisor took 0.20 processors away",
        ),
        ({"neighbours_busy": None, "steal": None, "cpu_pressure": None, "own_busy": None}, None),
    ],
)
def test_others_matter_from_the_thresholds_on(change: dict[str, Any], said: str | None) -> None:
    assert contention(**QUIET | change) == said


@given(busy=st.floats(0, 8), more=st.floats(0, 8), cores=st.integers(1, 64), workers=st.integers(1, 4))
def test_more_of_the_same_never_makes_a_host_quieter(busy: float, more: float, cores: int, workers: int) -> None:
    given_ = {**QUIET, "logical_cores": cores, "workers_sharing": workers}
    if contention(**given_ | {"neighbours_busy": busy, "steal": busy, "cpu_pressure": min(busy, 1.0)}) is not None:
        total = busy + more
        assert contention(**given_ | {"neighbours_busy": total, "steal": total, "cpu_pressure": min(total, 1.0)}) is not None


def host_trace(**rates: float) -> Trace:
    """Ten seconds of a host, whose counters grow so many seconds a second."""
    times = np.arange(0, 10, 0.02)
    columns = {name: 100 + rate * times for name, rate in rates.items()}
    cell = Series(sensor="cpu:cell", part="activity", fast=readings(times, cpu_seconds=1.0 * times))
    return Trace(
        hz=50, series={"cpu:host": Series(sensor="cpu:host", part="activity", fast=readings(times, **columns)), "cpu:cell": cell}
    )


def window(trace: Trace, *, device: str = "cpu", workers: int = 1) -> WindowReading:
    share = HostShare(logical_cores=2, model=CpuModel(), workers=workers)
    cpu = read_cpu(trace, share, start_s=2, end_s=7)
    return WindowReading(device=device, duration_s=5.0, energy_scope="cpu", cpu=cpu)


def test_a_window_knows_who_took_what() -> None:
    row = window(host_trace(cpu_seconds=1.8, steal_seconds=0.3, pressure_seconds=0.4)).row()
    assert row["neighbours_busy"] == pytest.approx(0.8)
    assert (row["steal"], row["cpu_pressure"]) == (pytest.approx(0.3), pytest.approx(0.4))
    assert row["contention"] == "neighbours kept 0.80 of 2 processors busy and the hypervisor took 0.30 processors away"
    # Modelled energy cannot be worse than D, and says why it is doubtful only once.
    assert row["grade"] == "D"
    assert row["grade_reasons"].count(row["contention"]) == 1
    assert sum("neighbours" in reason for reason in row["grade_reasons"]) == 1


def test_what_the_kernel_hides_is_unknown_and_not_zero() -> None:
    row = window(host_trace(cpu_seconds=1.0, steal_seconds=math.nan, pressure_seconds=math.nan)).row()
    assert (row["steal"], row["cpu_pressure"], row["contention"]) == (None, None, None)
    assert (window(host_trace(cpu_seconds=1.0)).row()["steal"], row["neighbours_busy"]) == (None, pytest.approx(0.0))


def test_pressure_is_a_share_though_two_clocks_were_read() -> None:
    assert window(host_trace(cpu_seconds=1.0, pressure_seconds=1.01)).cpu.cpu_pressure == 1.0


def test_the_trace_table_stays_as_small_as_it_was() -> None:
    rows = host_trace(cpu_seconds=1.8, steal_seconds=0.3, pressure_seconds=0.4).rows()
    assert set(rows) == {"monotonic_s", "sensor", *TRACE_COLUMNS}


def kernel(folder: Path, *, stat: str = "cpu  100 0 50 900 10 0 5 25 7 0\n", pressure: str | None = None) -> Path:
    folder.mkdir()
    (folder / "stat").write_text(stat)
    if pressure is not None:
        (folder / "pressure").mkdir()
        (folder / "pressure/cpu").write_text(pressure)
    return folder


@pytest.mark.parametrize(
    ("files", "sampled"),
    [
        (
            {"pressure": "some avg10=1.49 avg60=0.67 avg300=2.67 total=7009917681\nfull avg10=0 total=3\n"},
            (1.55, 0.25, 7009.917681),
        ),
        ({}, (1.55, 0.25, None)),
        ({"pressure": ""}, (1.55, 0.25, None)),  # a kernel that is told not to look answers with an error
        ({"stat": "cpu  100 0 50 900 10 0 5\n"}, (1.55, None, None)),
        ({"stat": "nonsense\n"}, (None, None, None)),
    ],
)
def test_the_kernels_files_are_read_as_far_as_they_are_there(
    tmp_path: Path, files: dict[str, str], sampled: tuple[float | None, ...]
) -> None:
    activity = HostActivity(proc=kernel(tmp_path / "proc", **files))
    found = activity.sample_slow()
    activity.close()
    assert [None if math.isnan(value) else pytest.approx(value) for value in found] == list(sampled)
    assert (activity.fault is None) == (sampled[0] is not None)


@pytest.mark.timeout(30)
def test_this_host_counts_a_busy_program() -> None:
    activity = HostActivity()
    with running():
        before, begin_s = activity.sample_slow(), time.monotonic()
        while time.monotonic() - begin_s < 20 and activity.sample_slow()[0] - before[0] < 0.3:
            time.sleep(0.02)
        after = activity.sample_slow()
    activity.close()
    assert after[0] - before[0] >= 0.3
    for now, then in zip(after[1:], before[1:], strict=True):
        assert math.isnan(now) == math.isnan(then)
        assert math.isnan(now) or now >= then

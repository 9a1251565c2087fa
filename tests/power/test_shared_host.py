"""The sharing rule under real loads: a powercap tree that follows /proc/stat, children that burn, several instruments.

Other people's work on the host is part of every figure here: it is the rest of the host, which the rule must leave out.
"""

import contextlib
import itertools
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from greenray.config.settings import CpuModel
from greenray.power.activity import HostActivity
from greenray.power.instrument import Instrument, Recording
from greenray.power.sharing import TOLERANCE, IdlePower
from tests.support.burning import running, used_s
from tests.support.powercap import AMD, INTEL, LiveTree, make_tree, set_counter

IDLE_W, ACTIVE_W = 30.0, 20.0
WINDOW_S = 2.0
pytestmark = [pytest.mark.timeout(90), pytest.mark.alone]


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One window: what each cell's worker read, and what the clocks say."""

    duration_s: float
    readings: list[SimpleNamespace]  # rows of `windows`
    cells_s: list[float]
    host_s: float


@contextlib.contextmanager
def workers(tree: LiveTree, monkeypatch: pytest.MonkeyPatch, *, cells: int, of: int) -> Iterator["Workers"]:
    """`cells` burning cells, each under an instrument of its own, on a host with `of` workers."""
    monkeypatch.setenv("GREENRAY_POWERCAP_ROOT", str(tree.root))
    with contextlib.ExitStack() as stack:
        pids = [stack.enter_context(running()) for _ in range(cells)]
        instruments = [Instrument(accelerator=None, hz=50, cpu_model=CpuModel()) for _ in pids]
        for instrument in instruments:
            stack.callback(instrument.close)
            idle = IdlePower(cpu_w=IDLE_W, dram_w=0.1 * IDLE_W, source="rapl", seconds=5)
            instrument.share_host(idle=idle, workers=of)
        recordings = [instrument.record() for instrument in instruments]
        for recording, pid in zip(recordings, pids, strict=True):
            stack.callback(recording.stop)
            recording.follow(pid)
        yield Workers(pids=pids, recordings=recordings)


@dataclass(frozen=True, kw_only=True)
class Workers:
    pids: list[int]
    recordings: list

    def window(self) -> Seen:
        host = HostActivity()
        start_s, host_s, cells_s = time.monotonic(), host.sample_slow()[0], [used_s(pid) for pid in self.pids]
        time.sleep(WINDOW_S)
        end_s, host_s = time.monotonic(), host.sample_slow()[0] - host_s
        cells_s = [used_s(pid) - before for pid, before in zip(self.pids, cells_s, strict=True)]
        host.close()
        readings = [row_of(recording, start_s=start_s, end_s=end_s) for recording in self.recordings]
        return Seen(duration_s=end_s - start_s, readings=readings, cells_s=cells_s, host_s=host_s)


def row_of(recording: Recording, *, start_s: float, end_s: float) -> SimpleNamespace:
    return SimpleNamespace(**recording.read(start_s=start_s, end_s=end_s, device="cpu").row())


def test_shares_idle_parts_and_the_rest_add_up_to_the_host(tmp_path, monkeypatch):
    root = make_tree(tmp_path, INTEL)
    with (
        LiveTree(root, idle_w=IDLE_W, active_w=ACTIVE_W) as tree,
        workers(tree, monkeypatch, cells=2, of=3) as staff,
        running(),  # nobody's cell
    ):
        seen = staff.window()
    host_j = tree.true_j(duration_s=seen.duration_s, busy_s=seen.host_s)
    shares_j = [reading.cpu_energy_j for reading in seen.readings]
    idle_worker_j = IDLE_W * seen.duration_s / 3
    rest_j = ACTIVE_W * (seen.host_s - sum(seen.cells_s))
    assert rest_j > 0.2 * ACTIVE_W * WINDOW_S
    assert sum(shares_j) + idle_worker_j + rest_j == pytest.approx(host_j, rel=TOLERANCE)
    for reading, cell_s in zip(seen.readings, seen.cells_s, strict=True):
        assert reading.host_cpu_energy_j == pytest.approx(host_j, rel=TOLERANCE)
        assert reading.cpu_energy_j == pytest.approx(idle_worker_j + ACTIVE_W * cell_s, rel=TOLERANCE)
        # Memory by the same rule: two domains, each a tenth of a package.
        assert reading.dram_energy_j == pytest.approx(reading.cpu_energy_j / 10, rel=0.02)
        assert reading.total_energy_j == pytest.approx(reading.cpu_energy_j + reading.dram_energy_j)
        assert reading.cpu_energy_source == "rapl"
        assert any("apportioned between 3 workers" in reason for reason in reading.grade_reasons)


def test_a_neighbour_that_comes_and_goes_leaves_the_cells_figure_alone(tmp_path, monkeypatch):
    with (
        LiveTree(make_tree(tmp_path, AMD), idle_w=IDLE_W, active_w=ACTIVE_W) as tree,
        workers(tree, monkeypatch, cells=1, of=2) as staff,
    ):
        alone = staff.window()
        with running(), running(), running():
            beside_three = staff.window()
        again = staff.window()
    for seen in (alone, beside_three, again):
        (reading,), (cell_s,) = seen.readings, seen.cells_s
        own_j = IDLE_W * seen.duration_s / 2 + ACTIVE_W * cell_s
        assert reading.cpu_energy_j == pytest.approx(own_j, rel=TOLERANCE)
    # With the neighbours there, an undivided figure would have been far off.
    (reading,) = beside_three.readings
    assert reading.neighbours_busy > 0.5
    assert reading.host_cpu_energy_j > 1.5 * reading.cpu_energy_j


def test_a_busy_neighbour_costs_a_grade_and_is_named(tmp_path, monkeypatch):
    with (
        LiveTree(make_tree(tmp_path, AMD), idle_w=IDLE_W, active_w=ACTIVE_W) as tree,
        workers(tree, monkeypatch, cells=1, of=1) as staff,
        running(),
    ):
        (reading,) = staff.window().readings
    assert reading.grade == "B"
    (reason,) = reading.grade_reasons
    assert reason == reading.contention
    assert reason.startswith(f"neighbours kept {reading.neighbours_busy:.2f} of ")


def test_counters_that_wrap_many_times_in_a_window_change_nothing(tmp_path, monkeypatch):
    wrap_j = 8.0  # a wrap every 0.3 s or so
    with (
        LiveTree(make_tree(tmp_path, INTEL), idle_w=IDLE_W, active_w=ACTIVE_W, wrap_j=wrap_j) as tree,
        workers(tree, monkeypatch, cells=1, of=1) as staff,
    ):
        seen = staff.window()
    (reading,) = seen.readings
    assert reading.host_cpu_energy_j > 2 * wrap_j * 2
    assert reading.host_cpu_energy_j == pytest.approx(tree.true_j(duration_s=seen.duration_s, busy_s=seen.host_s), rel=TOLERANCE)


@pytest.mark.parametrize("happens", ["its file goes blank", "access is taken away"])
def test_rapl_that_vanishes_in_a_window_makes_it_unknown_and_not_the_one_before(tmp_path, monkeypatch, happens):
    root = make_tree(tmp_path, AMD)
    monkeypatch.setenv("GREENRAY_POWERCAP_ROOT", str(root))
    counter = root / "intel-rapl:0" / "energy_uj"
    with own_recording() as recording:
        edges = [time.monotonic()]
        for number in range(6):
            set_counter(counter.parent, 10_000_000 + 1_000_000 * number)
            time.sleep(0.1)
            if number == 2:
                edges.append(time.monotonic())
            if number == 4:
                counter.write_text("" if "blank" in happens else "-\n")
                break
        time.sleep(0.1)
        edges.append(time.monotonic())
        before, during = (row_of(recording, start_s=a, end_s=b) for a, b in itertools.pairwise(edges))
    assert before.cpu_energy_j is not None
    assert during.cpu_energy_j is None
    assert during.total_energy_j is None
    assert during.cpu_energy_source is None
    assert (during.grade, during.grade_reasons) == (None, ["rapl:package-0: RAPL zone package-0 cannot be read any more"])


@contextlib.contextmanager
def own_recording():
    instrument = Instrument(accelerator=None, hz=50, cpu_model=CpuModel())
    recording = instrument.record()
    recording.follow(os.getpid())
    try:
        yield recording
    finally:
        recording.stop()
        instrument.close()


def test_an_idle_reading_tells_whether_the_host_was_idle(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with LiveTree(make_tree(tmp_path, AMD), idle_w=IDLE_W, active_w=ACTIVE_W) as tree, running():
        monkeypatch.setenv("GREENRAY_POWERCAP_ROOT", str(tree.root))
        instrument = Instrument(accelerator=None, hz=50, cpu_model=CpuModel())
        idle = instrument.measure_idle(1.0)
        instrument.close()
    assert idle.busy is not None
    assert idle.cpu_w == pytest.approx(IDLE_W + ACTIVE_W * idle.busy, rel=0.1)
    assert idle.busy > 0.3

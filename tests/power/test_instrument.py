"""The whole instrument on simulated boards, each in a process of its own."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from greenray.power.grade import contended
from greenray.store.schema import columns
from tests.simnvml import Board, environment, true_energy_j, uuid_of, write_control
from tests.support import ROOT
from tests.support.starved import starved

# Arguments: accelerator, number of windows, their length, optionally a control file and what to write there in the last.
READ_WINDOWS = """
import json, os, sys, time
from greenray.config.settings import CpuModel
from greenray.power.instrument import Instrument
from tests.support.starved import starved
accelerator, count, length_s = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
instrument = Instrument(accelerator=accelerator, hz=50, cpu_model=CpuModel())
instrument.share_host(idle=instrument.measure_idle(0.2), workers=1)
recording = instrument.record()
recording.follow(os.getpid())
settled = recording.settled(1.5) if "settle" in sys.argv else None
windows = []
tries = 0
while len(windows) < count:
    number, start_s, tries = len(windows), time.monotonic(), tries + 1
    if faulty := number == count - 1 and len(sys.argv) > 5:
        from pathlib import Path
        from tests.simnvml import write_control
        time.sleep(length_s / 2)
        write_control(Path(sys.argv[4]), **json.loads(sys.argv[5].replace("NOW", repr(time.monotonic()))))
        time.sleep(length_s / 2)
    else:
        time.sleep(length_s * (1 + 0.037 * number))
    end_s = time.monotonic()
    reading = recording.read(start_s=start_s, end_s=end_s, device="cuda", gpu_idle_w=80.0)
    row = reading.row()
    if faulty or not starved(row["grade_reasons"]) or tries > 5 * count:  # a fault comes once
        windows.append((start_s, end_s, row))
rows = recording.stop().rows()
instrument.close()
period_s = instrument.counter_period_s
print(json.dumps({"windows": windows, "scope": instrument.energy_scope, "period_s": period_s, "settled": settled,
                  "columns": list(rows), "sensors": sorted(set(rows["sensor"])), "lengths": [len(v) for v in rows.values()],
                  "sample_s": [t for t, s in zip(rows["monotonic_s"], rows["sensor"]) if s == "cpu:cell"]}))
"""


def measured(python, simnvml, boards, *arguments, control=None):
    return json.loads(python(READ_WINDOWS, *arguments, env=environment(simnvml, boards=boards, control=control)))


def test_four_boards_at_once_are_read_within_the_targets(simnvml, python):
    boards = [
        Board(wave="square", low_w=80, high_w=620, period_s=0.7, duty=0.4, jitter_ms=1.5, offset_ms=3),
        Board(wave="sine", low_w=80, high_w=620, period_s=0.5, jitter_ms=1.5, offset_ms=9),
        Board(wave="ramp", low_w=100, high_w=500, period_s=1.3, jitter_ms=1.5, offset_ms=13),
        Board(wave="const", high_w=300, jitter_ms=1.5, offset_ms=1),
    ]
    with ThreadPoolExecutor() as pool:
        results = list(pool.map(lambda number: measured(python, simnvml, boards, number, 5, 1.0), range(4)))
    errors, covered = [], []
    for board, result in zip(boards, results, strict=True):
        for start_s, end_s, window in result["windows"]:
            truth = true_energy_j(board, start_s, end_s)
            errors.append(abs(window["gpu_energy_j"] - truth) / truth)
            covered.append(abs(window["gpu_energy_j"] - truth) <= window["gpu_energy_error_j"])
    assert np.median(errors) <= 0.01
    assert np.quantile(errors, 0.95) <= 0.04
    assert max(errors) <= 0.15
    assert np.mean(covered) >= 0.8, list(zip(errors, covered, strict=True))


def test_a_good_window_has_every_figure(simnvml, python):
    result = measured(python, simnvml, [Board(), Board(high_w=250)], uuid_of(1), 1, 1.6, "settle")
    start_s, end_s, window = result["windows"][0]
    assert result["settled"] is True
    assert result["scope"] == "gpu+cpu"
    assert result["period_s"] == pytest.approx(0.02, rel=0.02)
    assert set(window) <= {column.column for column in columns("windows")}
    assert window["gpu_uuid"] == uuid_of(1)
    assert window["gpu_energy_j"] == pytest.approx(250 * (end_s - start_s), rel=0.01)
    assert window["gpu_power_energy_j"] == pytest.approx(window["gpu_energy_j"], rel=0.02)
    assert window["gpu_active_energy_j"] == pytest.approx(170 * (end_s - start_s), rel=0.02)
    assert window["total_energy_j"] == pytest.approx(window["gpu_energy_j"] + window["cpu_energy_j"])
    assert window["modelled_energy_j"] == window["cpu_energy_j"]
    assert (window["cpu_energy_source"], window["gpu_energy_source"]) == ("modelled", "counter")
    assert (window["sm_clock_mhz"], window["gpu_utilization"]) == (1980, pytest.approx(0.9))
    assert window["foreign_processes"] == 0
    assert (window["grade"], window["grade_reasons"]) == contended("A", [], window["contention"])
    assert result["columns"] == [column.column for column in columns("trace")[3:]]
    assert len(set(result["lengths"])) == 1
    assert result["sensors"] == ["cpu:cell", "cpu:host", f"gpu:{uuid_of(1)}"]
    gaps = np.diff(result["sample_s"])
    assert np.median(gaps) == pytest.approx(0.02, rel=0.05)
    if not starved(window["grade_reasons"]) and not window["contention"]:  # who is held up takes fewer
        assert len(gaps) / (result["sample_s"][-1] - result["sample_s"][0]) == pytest.approx(50, rel=0.1)


DOWNGRADES = {
    "no counter": ({"no_counter": 1}, "power", "C", "no energy counter"),
    "no permission": ({"no_permission": 1}, "power", "C", "no permission"),
    "no instant power": ({"no_instant": 1}, "counter", "B", "no instant power"),
    "module scope": ({"module_scope": 1}, "counter", "B", "whole module"),
    "averaged power": ({"no_counter": 1, "no_instant": 1}, "power", "C", "1 s average"),
    "throttling": ({"throttle": 0x40}, "counter", "B", "hw_thermal_slowdown"),
    "strangers": ({"processes": "1:5000"}, "counter", "B", "cannot be told"),
    "disagreement": ({"gain": 1.2}, "counter", "C", "apart"),
    "heating": ({"heating_c_per_s": 20, "heating_from": 1}, "counter", "B", "temperature went"),
    "slow counter": ({"counter_ms": 100}, "counter", "B", "counter updates"),
    "frozen counter": ({"frozen_from": 0.001}, None, None, "did not move"),
}


@pytest.fixture(scope="module")
def downgraded(simnvml, python):
    """A window of each of these boards, all measured at once."""
    boards = [Board(more=more) for more, _, _, _ in DOWNGRADES.values()]
    with ThreadPoolExecutor(max_workers=6) as pool:
        results = pool.map(lambda index: measured(python, simnvml, boards, index, 1, 1.6), range(len(boards)))
        return dict(zip(DOWNGRADES, (result["windows"][0] for result in results), strict=True))


@pytest.mark.parametrize("name", DOWNGRADES)
def test_every_downgrade_is_in_the_row(downgraded, name):
    _, source, grade, word = DOWNGRADES[name]
    start_s, end_s, window = downgraded[name]
    if window["gpu_energy_j"] is not None:  # where others use the processors, as other tests do, it is one worse still
        grade, _ = contended(grade, [], window["contention"])
    assert (window["gpu_energy_source"], window["grade"]) == (source, grade), window["grade_reasons"]
    assert any(word in reason for reason in window["grade_reasons"]), window["grade_reasons"]
    if source is None:
        assert (window["gpu_energy_j"], window["total_energy_j"]) == (None, None)
    else:
        assert window["gpu_energy_j"] == pytest.approx(300 * (end_s - start_s), rel=0.03)


@pytest.fixture(scope="module")
def stories(simnvml, python, tmp_path_factory):
    """Boards that fail in the middle of their second window, and one whose power swings, all at once."""

    def story(name):
        if name == "swings":
            return measured(python, simnvml, [Board(wave="square", period_s=0.5)], 0, 1, 0.3, "settle")
        control = tmp_path_factory.mktemp(name) / "control"
        write_control(control)
        change = json.dumps({f"0.{name}": "NOW"}).replace('"NOW"', "NOW")
        return measured(python, simnvml, [Board()], 0, 2, 0.6, control, change, control=control)

    names = ("reset_at", "lost_from", "swings")
    with ThreadPoolExecutor() as pool:
        return dict(zip(names, pool.map(story, names), strict=True))


@pytest.mark.parametrize(("fault", "word"), [("reset_at", "backwards"), ("lost_from", "lost")])
def test_a_fault_in_a_window_makes_only_that_window_unknown(stories, fault, word):
    (_, _, before), (_, _, during) = stories[fault]["windows"]
    assert before["gpu_energy_j"] is not None
    assert during["gpu_energy_j"] is None
    assert during["gpu_energy_source"] is None
    assert during["total_energy_j"] is None
    assert any(word in reason for reason in during["grade_reasons"])


def test_a_power_that_swings_never_settles(stories):
    assert stories["swings"]["settled"] is False


REFUSED = """
import sys
from greenray.config.settings import CpuModel
from greenray.errors import MeasurementError
from greenray.power.instrument import Instrument
try:
    Instrument(accelerator=sys.argv[1], hz=50, cpu_model=CpuModel())
except MeasurementError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("accelerator", "more", "word"),
    [("0", {"mig": 1}, "MIG"), ("5", {}, "no board matches"), ("0", {"lost_from": 0.001}, "board 0 is lost")],
)
def test_a_board_is_refused_with_the_reason(simnvml, python, accelerator, more, word):
    assert word in python(REFUSED, accelerator, env=environment(simnvml, boards=[Board(more=more)]))


def test_ray_sees_the_boards(simnvml):
    code = (
        "from ray._private.accelerators.nvidia_gpu import NvidiaGPUAcceleratorManager as manager;"
        "print(manager.get_current_node_num_accelerators(), manager.get_current_node_accelerator_type())"
    )
    env = {**os.environ, **environment(simnvml, boards=3)}
    result = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert result.stdout.split() == ["3", "SIM100"]

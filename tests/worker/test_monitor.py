"""The worker's side of a cell on simulated boards: settling, idle power, and windows in which the clock moves."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from tests import simnvml
from tests.support import ROOT
from tests.support.starved import starved

WINDOWS, MOST = 3, 5
DEADLINE_S = 90.0

# A cell of 2 s windows as its worker hears it. Arguments: what happens, a control file, the library. NVML is loaded once a
# process. The story begins on a line of input, when all others do little but wait; what the board does is set ahead of its time,
# which no busy host delays. So long a window has enough readings of the clock that some may be late.
CELL = """
import json, os, sys, time
from pathlib import Path
from greenray.config.settings import CpuModel
from greenray.power.instrument import Instrument
from greenray.worker.monitor import CellMonitor
from greenray.cell.protocol import Ready, Settle, Warming, Window
from tests.simnvml import Board, environment, uuid_of, write_control

story, control, library = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
window_s = 2.0
print("here", flush=True)
sys.stdin.readline()
work_s = time.monotonic() + 6.0
board = {
    # 80 W until work begins, then 300 W; it heats up all the while.
    "step": Board(
        wave="square",
        high_w=300,
        period_s=600,
        phase_s=-work_s % 600,
        more={"heating_c_per_s": 4, "heating_from": time.monotonic()},
    ),
    "clock moves once": Board(more={"clock2_mhz": 1410}),
    "clock never holds": Board(more={"clock2_mhz": 1410, "clock_period_s": 2 * window_s}),
    "never settles": Board(wave="square", period_s=0.5),
    "settles later": Board(wave="square", period_s=0.5),
}[story]
write_control(control)
os.environ.update(environment(library, boards=[board], control=control))
instrument = Instrument(accelerator="0", hz=50, cpu_model=CpuModel())
instrument.share_host(idle=instrument.measure_idle(1), workers=2)
recording = instrument.record()
recording.follow(os.getpid())
monitor = CellMonitor(device="cuda", windows=3, most_windows=5, gpu=instrument.gpu, recording=recording,
                      settle_s=4.0 if story == "never settles" else 30.0)
begin_s = time.monotonic()
monitor.handle(Ready(gpu_uuid=uuid_of(0).removeprefix("GPU-")))

def window(kind, seconds, **fields):
    start_s = time.monotonic()
    time.sleep(seconds)
    return monitor.handle(Window(kind=kind, start_s=start_s, end_s=time.monotonic(), **fields))

window("load", 0.1)
asked_s = time.monotonic()
changed_s = None
if story == "settles later":
    import threading
    changed_s = asked_s + 2.0
    threading.Timer(2.0, write_control, [control], {"0.wave": "const"}).start()  # from 80 and 300 W to 300 W
answer = monitor.handle(Settle())
settled_s = time.monotonic()
window("idle", 0.4)
verdicts = []
if "settle" not in story:
    if story == "step":
        time.sleep(max(0.0, work_s + 0.3 - time.monotonic()))
    start_s = time.monotonic()
    if story == "clock never holds":  # the clock changes in the middle of every window
        start_s += (window_s / 2 - start_s) % (2 * window_s)
    if story == "clock moves once":  # in the middle of the second window
        write_control(control, **{"0.clock2_from": start_s + 1.5 * window_s})
    while not (verdicts and verdicts[-1]):
        end_s = start_s + window_s
        time.sleep(max(0.0, end_s - time.monotonic()))
        heard = monitor.handle(Window(kind="steady", start_s=start_s, end_s=end_s, samples=4, iterations=1))
        verdicts.append(heard.enough)
        start_s = end_s
warmths = [monitor.handle(Warming(seconds=seconds)).rise_c for seconds in (2.0, 500.0)]
rows, attempt = monitor.read_all(begin_s=begin_s, end_s=time.monotonic())
recording.stop()
instrument.close()
print(json.dumps({"rows": rows, "attempt": attempt.row(), "verdicts": verdicts, "steady": answer.steady,
                  "warmths": warmths,
                  "waited_s": settled_s - asked_s, "after_change_s": changed_s and settled_s - changed_s}, default=str))
"""
STORIES = ("step", "clock moves once", "clock never holds", "never settles", "settles later")


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, Any]]:
    """Every story at once, each in a process of its own; once all of them have begun they mostly wait."""
    folder = tmp_path_factory.mktemp("monitor")
    library = simnvml.build(folder / "lib")
    everyone = threading.Barrier(len(STORIES), timeout=DEADLINE_S)

    def run(story: str) -> dict[str, Any]:
        command = [sys.executable, "-c", CELL, story, str(folder / story.replace(" ", "-")), str(library)]
        env = {**os.environ, "PYTHONPATH": str(ROOT), "LD_LIBRARY_PATH": str(library.parent)}
        pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        with subprocess.Popen(command, env=env, text=True, **pipes) as process:
            overdue = threading.Timer(DEADLINE_S, process.kill)
            overdue.start()
            assert process.stdout is not None
            process.stdout.readline()
            everyone.wait()
            out, err = process.communicate("\n")
            overdue.cancel()
        assert process.returncode == 0, err
        return dict(json.loads(out))

    with ThreadPoolExecutor(len(STORIES)) as pool:
        stories: dict[str, Future[dict[str, Any]]] = {story: pool.submit(run, story) for story in STORIES}
    return lambda story: stories[story].result()


def steady(story: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for row in story["rows"] if row["kind"] == "steady"]


def expected(story: dict[str, Any], *, rejected: Collection[int] = ()) -> list[bool]:
    """The verdicts on windows of which these are rejected, and those that other load on this host has spoiled."""
    said, usable = [], 0
    for number, row in enumerate(steady(story)):
        usable += number not in rejected and row["contention"] is None and row["total_energy_j"] is not None
        said.append(usable == WINDOWS or number + 1 == MOST)
    return said


def test_active_is_gross_less_idle(told: Callable[[str], dict[str, Any]]) -> None:
    story = told("step")
    assert story["steady"] is True
    assert story["verdicts"] == expected(story)
    for row in story["rows"]:
        assert row["gpu_idle_w"] == pytest.approx(80, rel=0.03)
        assert row["gpu_idle_settled"] is True
    readable = [row for row in steady(story) if not starved(row["grade_reasons"])]
    assert readable
    for row in readable:
        duration_s = row["duration_s"]
        assert row["gpu_energy_j"] == pytest.approx(300 * duration_s, rel=0.03)
        assert row["gpu_active_energy_j"] == pytest.approx(220 * duration_s, rel=0.04)
        # Of the host's idle power a worker of two answers for half.
        assert row["cpu_energy_j"] - row["cpu_active_energy_j"] == pytest.approx(row["cpu_idle_w"] / 2 * duration_s)
        assert row["active_energy_j"] == pytest.approx(row["gpu_active_energy_j"] + row["cpu_active_energy_j"])
        assert 0 < row["active_energy_j"] < row["total_energy_j"]
    assert story["attempt"]["active_energy_j"] < story["attempt"]["total_energy_j"]


def test_a_cell_that_asks_is_told_how_fast_its_board_heats_up(told: Callable[[str], dict[str, Any]]) -> None:
    rise_c, longer_than_recorded = told("step")["warmths"]
    assert rise_c == pytest.approx(8, abs=2.5)  # whole degrees, five times a second
    assert longer_than_recorded is None
    assert told("clock moves once")["warmths"] == [0.0, None]


def test_a_change_of_clock_rejects_its_window_and_one_more_is_taken(told: Callable[[str], dict[str, Any]]) -> None:
    story = told("clock moves once")
    changed = "the SM clock went from 1980 to 1410 MHz inside the window"
    assert story["verdicts"] == expected(story, rejected={1})
    assert len(story["verdicts"]) >= 4
    assert [row["clock_change"] for row in steady(story)][:4] == [None, changed, None, None]
    assert steady(story)[1]["rejected"] in (changed, steady(story)[1]["contention"])
    extremes = [(row["sm_clock_min_mhz"], row["sm_clock_max_mhz"]) for row in steady(story)]
    assert extremes[:4] == [(1980, 1980), (1410, 1980), (1410, 1410), (1410, 1410)]
    assert not any("clock" in reason for row in steady(story) for reason in row["grade_reasons"])


def test_a_clock_that_never_holds_ends_at_the_most_windows_with_a_figure(told: Callable[[str], dict[str, Any]]) -> None:
    story = told("clock never holds")
    assert story["verdicts"] == [False] * (MOST - 1) + [True]
    rows = [row for row in steady(story) if not starved(row["grade_reasons"])]
    assert rows
    for row in rows:
        assert row["rejected"] in (None, row["contention"])
        assert row["total_energy_j"] is not None
        assert row["grade"] in ("B", "C")
        assert row["contention"] or any("SM clock went from" in reason and "0 of 5" in reason for reason in row["grade_reasons"])


def test_idle_waits_until_power_has_been_steady_for_a_second(told: Callable[[str], dict[str, Any]]) -> None:
    story = told("settles later")
    assert story["steady"] is True
    assert story["after_change_s"] >= 0.75  # four fifths of a second's samples are enough
    assert {row["gpu_idle_settled"] for row in story["rows"]} == {True}


def test_idle_is_taken_in_the_end_all_the_same_and_says_so(told: Callable[[str], dict[str, Any]]) -> None:
    story = told("never settles")
    assert story["steady"] is False
    assert 4.0 <= story["waited_s"] < 7.0
    assert {row["gpu_idle_settled"] for row in story["rows"]} == {False}
    assert {row["gpu_idle_w"] is not None for row in story["rows"]} == {True}

"""Every way in which a cell can end costs only the cell, ends in time, and is told truthfully."""

import os
import re
import select
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from greenray.cell.protocol import AnyMessage, Done, Message, Ready, Settle, Settled, Window
from greenray.processes.launcher import CellProcess, Launcher
from greenray.processes.tree import is_alive, marked
from greenray.processes.watchdog import MemoryMeter
from greenray.worker.supervise import Outcome, supervise
from tests.support.processes import all_dead, wait_until

MIB = 2**20
Launch = Callable[[str], Launcher]


def start(launcher: Launcher, tmp_path: Path, *, has_spoken: bool = False) -> CellProcess:
    """A cell process; if asked for, one that is as far as its first message."""
    process = launcher.start(env={}, log_path=tmp_path / "cell.log")
    assert not has_spoken or select.select([process.socket], [], [], 60)[0]
    return process


def run(
    launcher: Launcher,
    tmp_path: Path,
    *,
    has_spoken: bool = False,
    deadline_s: float = 30.0,
    limit: int | None = None,
    exit_s: float = 10.0,
) -> Outcome:
    process = start(launcher, tmp_path, has_spoken=has_spoken)
    outcome = supervise(process, deadline_s=deadline_s, memory_limit_bytes=limit, exit_s=exit_s, handle=lambda message: None)
    assert not is_alive(process.pid)
    assert marked(launcher.mark) in ([], [getattr(launcher, "pid", None)])
    return outcome


def test_a_result_and_a_clean_exit_are_ok(launch: Launch, tmp_path: Path) -> None:
    outcome = run(launch("returns"), tmp_path)
    assert (outcome.status, outcome.error, outcome.error_kind) == ("ok", None, None)
    assert outcome.done == Done(accuracy=0.5)
    assert "all is well" in (tmp_path / "cell.log").read_text()


@pytest.mark.parametrize(
    ("function", "status", "kind", "error"),
    [
        ("raises", "crashed", "exception", "the cell exited with code 1 without a last word"),
        ("leaves", "crashed", "exception", "the cell exited with code 1 without a last word"),
        ("exits_with_3", "crashed", "exception", "the cell exited with code 3 without a last word"),
        ("segfaults", "crashed", "signal", "the cell ended by SIGSEGV without a last word"),
        ("ends_by_sigkill", "crashed", "signal", "the cell ended by SIGKILL without a last word; not by GreenRay.*"),
        ("crashes_after_its_result", "crashed", "signal", "the cell ended by SIGBUS after it had given its result"),
        ("fails", "unsupported", "exception", "this tactic needs a board"),
        ("has_no_model", "failed", "resource", "model a/b is gone"),
        ("may_not_have_its_model", "failed", "withheld", "model a/b is gated"),
        ("fails_and_crashes", "oom", "exception", "out of memory"),
        ("sends_nonsense", "crashed", "exception", "the cell sent something that is no message: .*"),
    ],
)
def test_how_a_cell_ended_is_told(launch: Launch, tmp_path: Path, function: str, status: str, kind: str, error: str) -> None:
    outcome = run(launch(function), tmp_path)
    assert (outcome.status, outcome.error_kind) == (status, kind)
    assert outcome.error is not None
    assert re.fullmatch(error, outcome.error)


def test_the_log_holds_the_traceback_and_the_stack_of_a_fault(launch: Launch, tmp_path: Path) -> None:
    run(launch("raises"), tmp_path)
    assert "ValueError: no such luck" in (tmp_path / "cell.log").read_text()
    run(launch("segfaults"), tmp_path)
    assert "Segmentation fault" in (tmp_path / "cell.log").read_text()


@pytest.mark.parametrize("function", ["hangs", "ignores_sigterm", "holds_the_gil", "stops_itself"])
def test_a_cell_that_never_ends_is_killed_at_its_deadline(launch: Launch, tmp_path: Path, function: str) -> None:
    outcome = run(launch(function), tmp_path, has_spoken=True, deadline_s=0.2)
    assert (outcome.status, outcome.error_kind) == ("timeout", "deadline")
    assert outcome.error == "the cell did not end within 0.2 s"


@pytest.mark.parametrize(
    ("function", "status", "error"),
    [("returns", "ok", None), ("crashes_after_its_result", "crashed", "the cell ended by SIGBUS after it had given its result")],
)
def test_a_cell_that_had_ended_is_not_said_to_have_been_killed(
    launch: Launch, tmp_path: Path, function: str, status: str, error: str | None
) -> None:
    def look_late(message: AnyMessage) -> None:
        for watchdog in [thread for thread in threading.enumerate() if thread.name == "greenray-watchdog"]:
            watchdog.join(30)

    process = start(launch(function), tmp_path)
    wait_until(lambda: not is_alive(process.pid), timeout_s=60, what="the end of the cell")
    outcome = supervise(process, deadline_s=0.0, memory_limit_bytes=None, handle=look_late)
    assert (outcome.status, outcome.error) == (status, error)


def test_a_cell_that_lingers_after_its_result_is_killed(launch: Launch, tmp_path: Path) -> None:
    outcome = run(launch("lingers_after_its_result"), tmp_path, exit_s=0.2)
    assert (outcome.status, outcome.error) == ("timeout", "the cell had finished but did not end within 0.2 s")


@pytest.mark.parametrize("function", ["allocates_without_end", "has_a_child_that_allocates"])
def test_a_cell_that_allocates_without_end_is_killed(launch: Launch, tmp_path: Path, function: str) -> None:
    outcome = run(launch(function), tmp_path, limit=200 * MIB)
    assert (outcome.status, outcome.error_kind) == ("oom", "memory")
    assert outcome.error is not None
    assert "more than its limit of 200 MiB" in outcome.error
    assert 200 * MIB < outcome.peak_rss_bytes < 2000 * MIB


def test_the_handler_answers_the_cell(launch: Launch, tmp_path: Path) -> None:
    heard: list[AnyMessage] = []

    def handle(message: AnyMessage) -> Message | None:
        heard.append(message)
        return Settled(steady=True) if isinstance(message, Settle) else None

    process = start(launch("converses"), tmp_path)
    outcome = supervise(process, deadline_s=30, memory_limit_bytes=None, handle=handle)
    assert [type(message) for message in heard] == [Window, Settle, Done]
    assert outcome.done is not None
    assert outcome.done.settings == {"steady": True}


def test_an_error_of_the_handler_kills_the_cell_and_goes_on(launch: Launch, tmp_path: Path) -> None:
    def handle(message: AnyMessage) -> Message | None:
        raise RuntimeError("the store is full")

    process = start(launch("hangs"), tmp_path)
    with pytest.raises(RuntimeError, match="the store is full"):
        supervise(process, deadline_s=30, memory_limit_bytes=None, handle=handle)
    assert not is_alive(process.pid)


def test_a_deadline_holds_while_the_handler_is_busy(launch: Launch, tmp_path: Path) -> None:
    ended_in_time: list[bool] = []

    def handle(message: AnyMessage) -> Message | None:
        assert isinstance(message, Ready)
        ended_in_time.append(all_dead([process.pid], timeout_s=8.0))
        return None

    process = start(launch("hangs"), tmp_path, has_spoken=True)
    assert supervise(process, deadline_s=0.2, memory_limit_bytes=None, handle=handle).status == "timeout"
    assert ended_in_time == [True]


def test_helpers_that_left_the_session_are_killed(launch: Launch, tmp_path: Path) -> None:
    outcome = run(launch("leaves_helpers"), tmp_path)
    assert outcome.status == "ok"
    assert outcome.done is not None
    assert len(outcome.done.settings["pids"]) == 3
    assert all_dead(outcome.done.settings["pids"], timeout_s=1.0)


@pytest.mark.parametrize("launch", ["fork"], indirect=True)
def test_the_fork_server_finds_helpers_that_dropped_the_mark(launch: Launch, tmp_path: Path) -> None:
    outcome = run(launch("leaves_a_helper_without_mark"), tmp_path)
    assert outcome.done is not None
    assert all_dead(outcome.done.settings["pids"], timeout_s=1.0)


def test_memory_is_counted_from_the_start_of_the_meter_and_over_the_tree() -> None:
    script = "import sys; held = bytearray(b'x' * (50 << 20)); print('ready', flush=True); sys.stdin.read()"
    held = bytearray(os.urandom(1)) * (30 * MIB)
    meter = MemoryMeter(os.getpid())
    assert meter.read() < 5 * MIB
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        held += bytearray(b"x") * (40 * MIB)
        meter.walk()
        taken = meter.read()
        child.kill()
    assert 38 * MIB < taken < 140 * MIB
    del held

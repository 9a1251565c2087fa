"""kill -9, of whatever, leaves no process alive: not the cell, not its helpers in sessions of their own."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from greenray.processes.tree import MARK, ancestors, kill_stale, mark_of, marked, new_mark, start_ticks
from tests.support.processes import all_dead

Worker = subprocess.Popen[str]


@pytest.fixture
def start_worker(tmp_path: Path) -> Iterator[Callable[[str], tuple[Worker, dict[str, Any]]]]:
    started: list[tuple[Worker, dict[str, Any]]] = []

    def start(kind: str) -> tuple[Worker, dict[str, Any]]:
        worker = subprocess.Popen(
            [sys.executable, "-m", "tests.processes.stand_in_worker", kind, "hangs_with_helpers", str(tmp_path / "cell.log")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert worker.stdout is not None
        who = json.loads(worker.stdout.readline())
        started.append((worker, who))
        assert set(who["helpers"]) | {who["cell"]} <= set(marked(who["mark"]))
        return worker, who

    yield start
    for worker, _ in started:
        worker.kill()
        worker.communicate()


def ours(who: dict[str, Any]) -> list[int]:
    return [pid for pid in (who["server"], who["cell"], *who["helpers"]) if pid is not None]


@pytest.mark.parametrize("kind", ["fork", "spawn"])
def test_killing_the_worker_leaves_nothing(start_worker: Callable[[str], tuple[Worker, dict[str, Any]]], kind: str) -> None:
    worker, who = start_worker(kind)
    os.kill(worker.pid, signal.SIGKILL)
    assert all_dead(ours(who), timeout_s=2.0)
    assert marked(who["mark"]) == []


@pytest.mark.parametrize("kind", ["fork", "spawn"])
def test_killing_the_cell_leaves_nothing_of_it(start_worker: Callable[[str], tuple[Worker, dict[str, Any]]], kind: str) -> None:
    worker, who = start_worker(kind)
    os.kill(who["cell"], signal.SIGKILL)
    assert all_dead([who["cell"], *who["helpers"]], timeout_s=2.0)
    assert worker.stdout is not None
    outcome = json.loads(worker.stdout.readline())
    assert outcome["status"] == "crashed"
    assert outcome["error"].startswith("the cell ended by SIGKILL after it had given its result; not by GreenRay")
    assert marked(who["mark"]) == [pid for pid in [who["server"]] if pid is not None]


def test_killing_the_fork_server_leaves_nothing(start_worker: Callable[[str], tuple[Worker, dict[str, Any]]]) -> None:
    worker, who = start_worker("fork")
    os.kill(who["server"], signal.SIGKILL)
    assert all_dead(ours(who), timeout_s=2.0)
    assert worker.stdout is not None
    outcome = json.loads(worker.stdout.readline())
    assert outcome["status"] == "crashed"
    assert "the fork server ended by SIGKILL" in outcome["error"]
    assert marked(who["mark"]) == []


def test_a_worker_s_reaper_ends_with_it(start_worker: Callable[[str], tuple[Worker, dict[str, Any]]]) -> None:
    worker, who = start_worker("spawn")
    (reaper,) = [process.pid for process in psutil.process_iter(["cmdline"]) if who["mark"] in (process.info["cmdline"] or [])]
    assert worker.pid not in ancestors(reaper)
    assert mark_of(reaper) is None
    os.kill(reaper, signal.SIGTERM)  # as a clean-up by name would send
    worker.kill()
    assert all_dead([*ours(who), reaper], timeout_s=2.0)


def test_what_a_dead_owner_left_is_found_and_a_living_one_s_is_not() -> None:
    dead = subprocess.run(
        [sys.executable, "-c", "from greenray.processes.tree import new_mark; print(new_mark())"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    stale = subprocess.Popen(["sleep", "300"], env={**os.environ, MARK: dead})
    living = subprocess.Popen(["sleep", "300"], env={**os.environ, MARK: new_mark()})
    foreign = subprocess.Popen(["sleep", "300"], env={**os.environ, MARK: "somebody else's"})
    try:
        assert kill_stale() == 1
        assert stale.wait(timeout=2) == -signal.SIGKILL
        assert living.poll() is foreign.poll() is None
    finally:
        for process in (stale, living, foreign):
            process.kill()
            process.wait()


def test_a_fork_server_whose_parent_is_gone_ends_at_once() -> None:
    told = json.dumps({"parent": 1, "target": "sample_cells:returns"})
    orphan = subprocess.Popen([sys.executable, "-m", "greenray.processes.server", "0", told])
    assert orphan.wait(timeout=10) == -signal.SIGKILL


def test_a_name_with_parentheses_does_not_confuse_the_reading_of_stat(tmp_path: Path) -> None:
    program = tmp_path / "a) S 1 (b"
    program.symlink_to("/bin/sleep")
    before = start_ticks(os.getpid())
    with subprocess.Popen([str(program), "300"]) as process:
        ticks = start_ticks(process.pid)
        process.kill()
    now = time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK")
    assert before is not None
    assert ticks is not None
    assert before <= ticks <= now

"""What the building blocks promise: finding processes, sparing the right ones, and the frames of the control socket."""

import os
import signal
import socket
import subprocess
import sys
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenray.processes import tree as processes
from greenray.processes.awake import AwakeClock
from greenray.processes.server import receive_frame, send_frame
from greenray.processes.tree import MARK, ancestors, children, is_alive, kill_marked, marked, new_mark, start_ticks, tree_of

SPARES_ITSELF = """
import os, subprocess, sys
from greenray.processes.tree import MARK, kill_marked, marked
mark = os.environ[MARK]
siblings = [subprocess.Popen(["sleep", "300"], start_new_session=True) for _ in range(3)]
spared = subprocess.Popen(["sleep", "300"])
killed = kill_marked(mark, spare=[spared.pid])
print(killed, [process.wait() for process in siblings], spared.poll())
spared.kill()
"""


def test_kill_marked_spares_itself_and_its_ancestors() -> None:
    mark = new_mark()
    ran = subprocess.run(
        ["sh", "-c", '"$0" -c "$1"; echo the shell lives', sys.executable, SPARES_ITSELF],
        env={**os.environ, MARK: mark},
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    assert ran.stdout.splitlines() == ["3 [-9, -9, -9] None", "the shell lives"]
    assert kill_marked(mark) == len(marked(mark)) == 0


FORKS_WITHOUT_END = """
import os, threading, time
os.write(1, b"x")
while True:
    if os.fork() == 0:
        os.setsid()
        threading.Event().wait()
    time.sleep(0.001)
"""


def test_a_process_that_forks_while_it_is_being_killed_leaves_nothing() -> None:
    mark = new_mark()
    bomb = subprocess.Popen([sys.executable, "-c", FORKS_WITHOUT_END], env={**os.environ, MARK: mark}, stdout=subprocess.PIPE)
    assert bomb.stdout is not None
    bomb.stdout.read(1)
    assert kill_marked(mark) >= 1
    assert marked(mark) == []
    assert bomb.wait(timeout=2) == -signal.SIGKILL
    bomb.stdout.close()


def test_who_was_stopped_between_two_looks_does_not_say_that_what_it_killed_still_lives(caplog: pytest.LogCaptureFixture) -> None:
    with subprocess.Popen(["sleep", "300"]) as child:
        looks: list[int] = []

        def find() -> list[int]:
            looks.append(child.pid)
            if len(looks) > 1:
                return []
            time.sleep(0.3)  # as if stopped, beyond the deadline
            return [child.pid]

        assert processes._kill_until_none(find, timeout_s=0.2) == 1
    assert len(looks) == 3
    assert not caplog.records


def test_a_clock_counts_little_of_the_time_in_which_nobody_asked() -> None:
    now = 100.0
    clock = AwakeClock(longest_turn_s=5.0, clock=lambda: now)
    assert clock() == 100.0
    now = 104.0
    assert clock() == 104.0
    now = 1104.0
    assert clock() == 109.0
    now = 1105.0
    assert clock() == 110.0


@pytest.mark.parametrize("look", ["children", "parent"])
def test_the_tree_of_a_process(look: str) -> None:
    script = "import subprocess\nwith subprocess.Popen(['sleep', '300'], start_new_session=True) as p: print(p.pid, flush=True)"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        grandchild = int(child.stdout.readline())
        assert ancestors(grandchild)[:2] == [child.pid, os.getpid()]
        if look == "children":
            assert tree_of(child.pid) == [child.pid, grandchild] == [child.pid, *children(child.pid)]
            assert {child.pid, grandchild} <= set(tree_of(os.getpid()))
        else:
            assert processes._under_by_psutil(child.pid) == [grandchild]
        os.kill(grandchild, signal.SIGKILL)


def test_a_zombie_is_not_alive_and_a_process_that_never_was_neither() -> None:
    pid = os.posix_spawn("/bin/true", ["true"], {})
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert start_ticks(pid) is not None
    assert not is_alive(pid)
    os.waitpid(pid, 0)
    assert start_ticks(pid) is None
    assert not is_alive(pid)


environment_bytes = st.binary(max_size=40).map(os.fsdecode)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(environment_bytes, environment_bytes, max_size=5), st.integers(0, 3))
def test_frames_arrive_as_they_were_sent(body: dict[str, Any], files: int) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        sent = [os.open(os.devnull, os.O_RDONLY) for _ in range(files)]
        send_frame(ours, body, sent)
        send_frame(ours, {"next": 1})
        received, fds = receive_frame(theirs)
        assert received == body
        assert [os.fstat(fd).st_rdev for fd in fds] == [os.fstat(fd).st_rdev for fd in sent]
        assert not any(os.get_inheritable(fd) for fd in fds)
        assert receive_frame(theirs) == ({"next": 1}, [])
        for fd in (*sent, *fds):
            os.close(fd)
        ours.close()
        with pytest.raises(EOFError):
            receive_frame(theirs)

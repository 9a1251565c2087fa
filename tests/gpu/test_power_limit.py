"""A power limit is put back whatever happens: at the end, by the guard after kill -9, by a later start after kill -9 of both."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from greenray.gpu.power_limit import STATE
from tests import simnvml
from tests.support import ROOT
from tests.support.processes import wait_until, wait_until_dead

Holder = subprocess.Popen[str]
RECOVER = "import json; from greenray.gpu import power_limit; print(json.dumps(power_limit.recover()))"


class Host:
    """A host with one board of 300 W, limited to 700; its limits last in a file, as a real board's do in the board."""

    def __init__(self, folder: Path, library: Path, *, more: dict[str, object]) -> None:
        self.state, self.control = folder / "state", folder / "control"
        self.control.touch()
        boards = [simnvml.Board(high_w=300, more=more)]
        simulated = simnvml.environment(library, boards=boards, control=self.control)
        self.env = {**os.environ, **simulated, STATE: str(self.state), "PYTHONPATH": str(ROOT)}
        self._started: list[Holder] = []

    @property
    def limits_w(self) -> list[float]:
        """Every limit that was set so far."""
        entries = [line.partition("0.limit=")[2] for line in self.control.read_text().split() if "0.limit=" in line]
        return [float(entry.partition("@")[0]) for entry in entries]

    @property
    def notes(self) -> list[Path]:
        return sorted(self.state.glob("*")) if self.state.exists() else []

    def hold(self, watts: float) -> tuple[Holder, dict[str, Any]]:
        command = [sys.executable, "-m", "tests.gpu.limiting", str(watts)]
        holder = subprocess.Popen(command, env=self.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._started.append(holder)
        assert holder.stdout is not None
        return holder, json.loads(holder.stdout.readline())

    def guards(self) -> list[int]:
        """Guards of this host's board that are alive."""
        found = []
        for process in psutil.process_iter(["cmdline", "pid"]):
            if "greenray.gpu.power_limit:after_owner" in (process.info["cmdline"] or []):
                with_state = Path(f"/proc/{process.pid}/environ")
                try:
                    found += [process.pid] if str(self.state).encode() in with_state.read_bytes() else []
                except OSError:
                    continue
        return found

    def recover(self) -> list[str]:
        """What a later start finds and says."""
        ended = subprocess.run(
            [sys.executable, "-c", RECOVER], env=self.env, capture_output=True, text=True, timeout=60, check=True
        )
        said: list[str] = json.loads(ended.stdout)
        return said

    def close(self) -> None:
        for holder in self._started:
            holder.kill()
            holder.communicate()


@pytest.fixture
def host(tmp_path: Path, simnvml: Path) -> Iterator[Callable[..., Host]]:
    hosts = []

    def start(**more: object) -> Host:
        hosts.append(Host(tmp_path, simnvml, more=more))
        return hosts[-1]

    yield start
    for each in hosts:
        each.close()


def test_a_board_draws_no_more_while_it_is_limited_and_is_put_back(host: Callable[..., Host]) -> None:
    here = host(limit_lag_s=0.2)  # what is set is in force a little later
    holder, said = here.hold(210)
    assert said["held"] == {"limit_w": 210, "limit_before_w": 700, "limit_default_w": 700}
    assert said["drawn_w"] == 210
    assert [path.name for path in here.notes] == [f"power-limit-{simnvml.uuid_of(0)}.json"]
    assert here.recover() == []  # its owner is alive
    assert here.limits_w == [210]
    guards = here.guards()
    assert len(guards) == 1
    holder.communicate()
    assert here.limits_w == [210, 700]
    assert here.notes == []
    assert wait_until_dead(guards[0], timeout_s=10)
    assert here.limits_w == [210, 700]


def test_after_kill_9_the_guard_puts_it_back(host: Callable[..., Host]) -> None:
    here = host()
    holder, _ = here.hold(210)
    holder.send_signal(signal.SIGKILL)
    wait_until(lambda: here.limits_w == [210, 700] and not here.notes, timeout_s=20, what="the guard's work")


def test_after_kill_9_of_everything_a_later_start_puts_it_back(host: Callable[..., Host]) -> None:
    here = host()
    holder, _ = here.hold(210)
    for pid in [*here.guards(), holder.pid]:
        os.kill(pid, signal.SIGKILL)
    holder.wait(10)
    assert here.limits_w == [210]
    (said,) = here.recover()
    assert said == f"board {simnvml.uuid_of(0)} had been left at 210 W by a run that was killed; it is at 700 W again"
    assert (here.limits_w, here.notes) == ([210, 700], [])
    assert here.recover() == []


def left_behind(here: Host, **changes: object) -> Path:
    """The note of a run that is dead, changed."""
    holder, _ = here.hold(210)
    (path,) = here.notes
    note = json.loads(path.read_text()) | changes
    holder.communicate()
    path.write_text(json.dumps(note))
    return path


def test_what_somebody_has_set_since_is_theirs(host: Callable[..., Host]) -> None:
    here = host()
    path = left_behind(here)  # the limit is at 700 again, not at the 210 of the note
    assert here.recover() == []
    assert (here.limits_w, path.exists()) == ([210, 700], False)


def test_a_restart_of_the_host_has_put_it_back(host: Callable[..., Host]) -> None:
    here = host()
    path = left_behind(here, set_w=700.0, before_w=500.0, boot_id="another")
    assert here.recover() == []
    assert (here.limits_w, path.exists()) == ([210, 700], False)


def test_what_cannot_be_put_back_is_said_each_time_with_the_command(host: Callable[..., Host]) -> None:
    here = host()
    path = left_behind(here, set_w=700.0, before_w=500.0)
    with here.control.open("a") as control:
        control.write("0.no_limit_permission=1\n")
    for _ in range(2):
        (said,) = here.recover()
        assert "Insufficient Permissions" in said
        assert "`sudo nvidia-smi -i 0 -pl 500`" in said
    assert path.exists()


@pytest.mark.parametrize(
    ("watts", "more", "status", "part"),
    [
        (900, {}, "unsupported", "900 W is no limit for this board; give one from 100 to 700 W"),
        (50, {}, "unsupported", "give one from 100 to 700 W"),
        (700, {}, "not_applied", "the board's power limit is 700 W already"),
        (210, {"no_limit_permission": 1}, "unsupported", "cannot be set (Insufficient Permissions)"),
    ],
)
def test_what_cannot_be_set_is_a_sentence_and_changes_nothing(
    host: Callable[..., Host], watts: float, more: dict[str, object], status: str, part: str
) -> None:
    here = host(**more)
    holder, said = here.hold(watts)
    assert said["status"] == status
    assert part in said["error"]
    holder.communicate()
    assert (here.limits_w, here.notes) == ([], [])


def test_without_a_place_for_its_note_nothing_is_changed(host: Callable[..., Host]) -> None:
    here = host()
    here.state.write_text("a file, where a folder is needed")
    _, said = here.hold(210)
    assert said["status"] == "unsupported"
    assert STATE in said["error"]
    assert here.limits_w == []


def test_a_board_that_another_run_has_limited_is_left_to_it(host: Callable[..., Host]) -> None:
    here = host()
    here.hold(210)
    _, said = here.hold(250)
    assert "another run has limited this board" in said["error"]
    assert here.limits_w == [210]

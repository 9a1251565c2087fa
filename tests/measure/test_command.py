"""A command runs as it would without us: signals, children, exit codes, what it inherits."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.burning import used_s
from tests.support.powercap import INTEL, make_tree
from tests.support.processes import wait_until
from tests.support.running import COMMAND

BURN = "import time\nwhile time.process_time() < {}: pass"


def environment(**changes: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), **changes}


def measured(tmp_path: Path, *argv: str, options: tuple[str, ...] = (), **changes: str):
    """The ended process and its figures."""
    out = tmp_path / "measured.json"
    command = [*COMMAND, "measure", "--json", str(out), *options, "--", *argv]
    result = subprocess.run(command, env=environment(**changes), capture_output=True, text=True, timeout=60)
    assert "Traceback" not in result.stderr, result.stderr
    return result, json.loads(out.read_text())


def as_from_a_shell() -> None:
    """In a child before exec: what our own caller ignores (nohup SIGHUP, a shell's `&` SIGINT, SIGQUIT) is not ignored there."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


@contextmanager
def measuring(*argv: str, **options: object) -> "Iterator[subprocess.Popen[str]]":
    """A running measurement; it and its group are killed at the end."""
    command = [*COMMAND, "measure", "--", *argv]
    settings = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "start_new_session": True, "preexec_fn": as_from_a_shell}
    settings |= options
    process = subprocess.Popen(command, env=environment(), text=True, **settings)
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def python(code: str) -> tuple[str, str, str]:
    return sys.executable, "-c", code


# Says which signals it gets, until its input ends. They are taken from the kernel's side of a handler, which writes to a pipe:
# Python's side runs between two instructions, so not while a read that began just after the signal came waits for input.
HEARS = """
import os, select, signal, sys
heard, wakeup = os.pipe2(os.O_NONBLOCK)
signal.set_wakeup_fd(wakeup)
for number in (signal.{name}, signal.{last}):
    signal.signal(number, lambda *_: None)
print("ready" if sys.stdin.isatty() else "ready without a terminal", flush=True)
{then}
while 0 not in select.select([0, heard], [], [])[0]:
    print(*(signal.Signals(number).name for number in os.read(heard, 100)), flush=True)
"""


def hears(name: str, *, last: str = "SIGUSR2", then: str = "") -> tuple[str, ...]:
    return python(HEARS.format(name=name, last=last, then=then))


def heard_with(last: str, process: "subprocess.Popen[str]") -> list[str]:
    """What the command hears next when we are sent a signal, which is handed on after whatever came to us before it.

    Of two that come at once the command takes the later one first, hence all that it hears at a time.
    """
    process.send_signal(getattr(signal, last))
    return process.stdout.readline().split()


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2"])
def test_a_signal_to_us_reaches_the_command_once(name):
    last = "SIGUSR1" if name == "SIGUSR2" else "SIGUSR2"
    with measuring(*hears(name, last=last), stdin=subprocess.PIPE) as process:
        assert process.stdout.readline().startswith("ready")
        process.send_signal(getattr(signal, name))
        assert process.stdout.readline() == f"{name}\n"
        assert heard_with(last, process) == [last]
        output, _ = process.communicate("go on\n", timeout=30)
    assert (output, process.returncode) == ("", 0)


def test_a_command_that_signals_its_whole_group_is_not_signalled_again():
    with measuring(*hears("SIGHUP", then="os.read(0, 1), os.kill(0, signal.SIGHUP)"), stdin=subprocess.PIPE) as process:
        assert process.stdout.readline().startswith("ready")
        process.send_signal(signal.SIGSTOP)  # what we hand on must not melt into the one that the command has not taken yet
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        process.stdin.write("x")
        process.stdin.flush()
        assert process.stdout.readline() == "SIGHUP\n"
        process.send_signal(signal.SIGCONT)
        assert heard_with("SIGUSR2", process) == ["SIGUSR2"]
        output, _ = process.communicate("go on\n", timeout=30)
    assert (output, process.returncode) == ("", 0)


PAUSES = """
import sys, time
from greenray.measure.signals import Signals
with Signals() as signals:
    begun_s = time.monotonic()
    print(begun_s, flush=True)
    signals.pause(0.3)
    print(time.monotonic() - begun_s >= 0.3)
"""


def test_a_pause_that_is_stopped_and_continued_after_its_end_was_not_interrupted():
    command = [sys.executable, "-c", PAUSES]
    with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True, preexec_fn=as_from_a_shell) as process:
        begun_s = float(process.stdout.readline())
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        wait_until(lambda: time.monotonic() > begun_s + 0.4, timeout_s=20, what="the end of the pause")
        process.send_signal(signal.SIGCONT)
        output, _ = process.communicate(timeout=30)
    assert (output, process.returncode) == ("True\n", 0)


TERMINAL = """
import os, pty, signal, sys
pid, terminal = pty.fork()
if pid == 0:
    os.execv(sys.argv[1], sys.argv[1:])
seen = b""
def until(text):
    global seen
    while text not in seen:
        seen += os.read(terminal, 4096)
until(b"ready")
os.kill(pid, signal.SIGSTOP)  # as in the test above
os.waitid(os.P_PID, pid, os.WSTOPPED)
os.write(terminal, b"\\x03")
until(b"SIGINT")
os.kill(pid, signal.SIGCONT)
os.kill(pid, signal.SIGUSR2)
until(b"SIGUSR2")
os.write(terminal, b"go on\\n")
try:
    while chunk := os.read(terminal, 4096):
        seen += chunk
except OSError:
    pass
_, status = os.waitpid(pid, 0)
print(os.waitstatus_to_exitcode(status))
print(seen.decode())
"""


def test_ctrl_c_reaches_the_command_once_and_the_terminal_is_its_own():
    """The command asks whether its input is a terminal, gets the terminal's Ctrl-C once, and reads what is typed."""
    driver = [sys.executable, "-c", TERMINAL, *COMMAND, "measure", "--", *hears("SIGINT")]
    result = subprocess.run(driver, env=environment(), preexec_fn=as_from_a_shell, capture_output=True, text=True, timeout=60)
    assert result.stdout.startswith("0\n"), result
    assert re.findall("ready without|ready|SIG[A-Z0-9]+", result.stdout) == ["ready", "SIGINT", "SIGUSR2"], result.stdout


def test_what_the_caller_ignores_stays_ignored():
    """As under nohup: it ends neither us nor the command, and a command that wants to know of it hears only what it is sent."""

    def ignoring() -> None:
        as_from_a_shell()
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    code = "import signal\nassert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN" + hears("SIGHUP")[-1]
    with measuring(*python(code), stdin=subprocess.PIPE, preexec_fn=ignoring) as process:
        assert process.stdout.readline().startswith("ready")
        process.send_signal(signal.SIGHUP)
        assert heard_with("SIGUSR2", process) == ["SIGUSR2"]
        output, _ = process.communicate("go on\n", timeout=30)
    assert (output, process.returncode) == ("", 0)


def test_the_command_inherits_what_a_shell_would_give_it(tmp_path):
    """Environment, signals and open files."""
    result, _ = measured(tmp_path, "cat", "/proc/self/environ", "/proc/self/status", MARK="a b\nc")
    environ, _, status = result.stdout.rpartition("\0")
    assert sorted(environ.split("\0")) == sorted(f"{name}={value}" for name, value in environment(MARK="a b\nc").items())
    masks = {
        line.split(":")[0]: int(line.split()[1], 16) for line in status.splitlines() if line.startswith(("SigBlk", "SigIgn"))
    }
    assert masks["SigBlk"] == sum(1 << number - 1 for number in signal.pthread_sigmask(signal.SIG_BLOCK, ()))
    assert not masks["SigIgn"] & (1 << signal.SIGPIPE - 1)
    result, _ = measured(tmp_path, "sh", "-c", "ls /proc/$$/fd")
    assert result.stdout.split() == ["0", "1", "2"]


def test_stopping_before_the_command_starts_never_starts_it(tmp_path):
    mark = tmp_path / "ran"
    command = [*COMMAND, "measure", "--idle", "60", "--", "touch", str(mark)]
    with subprocess.Popen(command, env=environment(), preexec_fn=as_from_a_shell, stderr=subprocess.PIPE, text=True) as process:
        held = 1 << signal.SIGTERM - 1

        def holds() -> bool:
            status = Path(f"/proc/{process.pid}/status").read_text()
            return bool(int(status.split("SigBlk:")[1].split()[0], 16) & held)

        wait_until(holds, timeout_s=20, what="holding signals")
        began_s = time.monotonic()
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGTERM
    assert "before the command was started" in errors
    assert not mark.exists()
    assert time.monotonic() - began_s < 20


def test_children_that_end_unseen_are_counted(tmp_path):
    """Hundreds of processes, each shorter than a sampling period, and all of their processor time is there."""
    script = "i=0; while [ $i -lt 300 ]; do /bin/true; i=$((i+1)); done; times"
    result, found = measured(tmp_path, "sh", "-c", script)
    # The shell's own account, minutes and seconds: itself, then its children; user and system.
    words = " ".join(result.stdout.split()).replace("m", " ").replace("s", " ").split()
    told_s = sum(60 * float(minutes) + float(seconds) for minutes, seconds in zip(words[::2], words[1::2], strict=True))
    assert found["cpu"]["cpu_seconds"] == pytest.approx(told_s, rel=0.15, abs=0.05)
    assert told_s > 0.1


@pytest.mark.parametrize("outlives", [False, True])
def test_a_daemon_of_the_command_counts_until_the_command_ends(tmp_path, outlives):
    """It leaves its session and its parents; the kernel hands it to us."""
    done = tmp_path / "done"
    daemon = BURN.format(0.4) + f"\nopen({str(done)!r}, 'w').close()\n" + ("time.sleep(60)" if outlives else "")
    code = f"""
import os, subprocess, sys, time
if os.fork() == 0:
    os.setsid()
    child = subprocess.Popen([sys.executable, "-c", {daemon!r}], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    print(child.pid, flush=True)
    os._exit(0)
os.wait()
deadline = time.monotonic() + 30
while not os.path.exists({str(done)!r}) and time.monotonic() < deadline:
    time.sleep(0.01)
{"" if outlives else "time.sleep(0.3)"}
"""
    result, found = measured(tmp_path, *python(code))
    try:
        assert 0.4 <= found["cpu"]["cpu_seconds"] < 1.5
        assert found["still_running"] == int(outlives)
        assert ("outlived it" in result.stderr) == outlives
    finally:
        if outlives:
            os.kill(int(result.stdout), signal.SIGKILL)


def test_looking_costs_nothing_however_many_children_there_are(tmp_path):
    """While a shell starts processes in a loop, we use a few percent of a processor, most of it for the samples."""
    script = "end=$(($(date +%s) + 3)); while [ $(date +%s) -lt $end ]; do /bin/true; done"
    with measuring("sh", "-c", script) as process:
        wait_until(lambda: _children(process.pid), timeout_s=20, what="the command")
        before_s, start_s = used_s(process.pid), time.monotonic()
        wait_until(lambda: not _children(process.pid) or time.monotonic() > start_s + 2, timeout_s=20, what="two seconds")
        spent_s, lasted_s = used_s(process.pid) - before_s, time.monotonic() - start_s
        process.communicate(timeout=30)
    assert spent_s / lasted_s < 0.06


def _children(pid: int) -> str:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text()


def test_a_script_without_a_first_line_runs_as_in_a_shell(tmp_path):
    script = tmp_path / "script"
    script.write_text("echo from a script $1\nexit 3\n")
    script.chmod(0o755)
    result, found = measured(tmp_path, str(script), "word")
    assert (result.stdout, result.returncode, found["exit_code"]) == ("from a script word\n", 3, 3)


AS_NOBODY = """
import os, sys
from contextlib import suppress
from greenray.cli.app import app
with suppress(SystemExit):
    app(["measure", "--", "true"])  # an ordinary user may not be able to read this interpreter: all is loaded once
if os.getuid() == 0:
    os.setgroups([]), os.setgid(65534), os.setuid(65534)
app(sys.argv[1:])
"""


@pytest.fixture
def open_folder():
    """One that everybody may use; those of pytest are closed to others again whenever somebody else starts a pytest."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        yield Path(folder)


def test_an_ordinary_user_can_measure(open_folder):
    """Whoever runs the tests, the measurement runs as somebody who may not read the meter, and says so."""
    out = open_folder / "measured.json"
    root = make_tree(open_folder, INTEL)
    for file in root.rglob("energy_uj"):
        file.chmod(0)
    command = [sys.executable, "-c", AS_NOBODY, "measure", "--json", str(out), "--", "sh", "-c", "id -u; exit 4"]
    settings = environment(GREENRAY_POWERCAP_ROOT=str(root))
    result = subprocess.run(command, env=settings, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 4, result.stderr
    found = json.loads(out.read_text())
    assert result.stdout == f"{os.getuid() or 65534}\n"
    assert found["cpu"]["source"] == "modelled"
    assert "permission" in found["cpu"]["reasons"][0]

"""Readings of a file that a real process writes, and of real commands."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from greenray.config.settings import WallMeter
from greenray.power.wall.from_command import CommandSource
from greenray.power.wall.meter import WallSensor, follow
from greenray.power.wall.plug import plug_energy
from greenray.processes.tree import is_alive
from tests.support.plugmeter import everything, until

# Appends readings in two writes each, of a power that grows by 80 W a second from a moment on; stamped every 20 ms, however late
# they are written.
LOGGER = """
import sys, time
path, origin_s = sys.argv[1], float(sys.argv[2])
ahead_s = time.time() - time.monotonic()
with open(path, "a", buffering=1) as file:
    file.write("when,who,watts\\n")
    print("ready", flush=True)
    stamp_s = time.monotonic()
    while True:
        line = f"{stamp_s + ahead_s:.6f},x,{200 + 80 * (stamp_s - origin_s):.4f}\\n"
        file.write(line[:9]); file.flush(); time.sleep(0.005)
        file.write(line[9:]); file.flush()
        stamp_s += 0.02
        time.sleep(max(0.0, stamp_s - time.monotonic()))
"""
ORIGIN_S = time.monotonic()
CSV: dict[str, Any] = {"value": "watts", "time": "when", "period_s": 0.1}


@contextmanager
def logger(path: Path) -> "Iterator[subprocess.Popen[str]]":
    process = subprocess.Popen([sys.executable, "-S", "-c", LOGGER, path, str(ORIGIN_S)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.communicate(timeout=10)


@contextmanager
def following(**meter: Any) -> Iterator[WallSensor]:
    sensor = follow(WallMeter(**meter), host="here")
    try:
        yield sensor
    finally:
        sensor.close()


def watts(sensor: WallSensor) -> list[float]:
    return list(everything(sensor).fast.column("power_w"))


def faults(sensor: WallSensor) -> list[str]:
    return [text for _, text in everything(sensor).faults]


def test_a_file_that_a_program_appends_to_gives_the_energy_of_its_stamps(tmp_path: Path) -> None:
    path = tmp_path / "meter.csv"
    with logger(path), following(csv=str(path), **CSV) as sensor:
        start_s = until(lambda: watts(sensor) and everything(sensor).fast.times[0])
        end_s = start_s + 0.5
        assert until(lambda: sensor.wait_past(end_s))
        energy = plug_energy(everything(sensor), start_s, end_s)
        assert faults(sensor) == []  # lines came in halves
    assert energy.energy_j == pytest.approx(0.5 * (200 + 80 * (start_s + 0.25 - ORIGIN_S)), abs=0.25)
    assert sensor.period_s == pytest.approx(0.02, abs=1e-4)


def test_a_file_is_followed_through_rotation_and_truncation(tmp_path: Path) -> None:
    path = tmp_path / "meter.csv"
    with following(csv=str(path), **CSV) as sensor:
        assert until(lambda: faults(sensor))[0].startswith("the wall meter's file cannot be read (No such file or directory)")
        with logger(path):
            until(lambda: len(watts(sensor)) > 5)
            path.rename(tmp_path / "meter.csv.1")
            seen = len(watts(sensor))
            until(lambda: len(watts(sensor)) > seen + 5, what="reading on in the file that was moved away")
        successor = tmp_path / "successor"
        successor.write_text(f"watts,when\n512,{time.time()}\n" + 100 * "\n")
        successor.rename(path)
        assert until(lambda: watts(sensor)[-1] == 512.0, what="the new file, with its columns the other way round")
        # It stays shorter than it was: a truncation that nobody can see is none.
        path.write_text(f"when,watts\n{time.time()},513\n{time.time() + 0.01},51")
        assert until(lambda: watts(sensor)[-1] == 513.0, what="the file filled anew")
        with path.open("a") as file:
            file.write("4\nrubbish\n12.\r51")
            file.flush()
            assert until(lambda: watts(sensor)[-1] == 514.0, what="the line completed")
            assert until(lambda: faults(sensor)[-1] == "the wall meter's file has a line that holds no reading")
            file.write(f"5\n{time.time() + 0.02},516\n")
        assert until(lambda: watts(sensor)[-1] == 516.0, what="reading on after a line of two writers")


def test_a_file_that_was_there_before_gives_its_last_lines_and_columns_by_index(tmp_path: Path) -> None:
    path = tmp_path / "meter.csv"
    now_s = time.time()
    path.write_text("".join(f"{now_s - 1000 + k};{k},5\n" for k in range(1000)))
    with following(csv=str(path), value=1, time=0) as sensor:
        until(lambda: watts(sensor))
        until(lambda: watts(sensor)[-1] == 999.5)
        assert watts(sensor) == [k + 0.5 for k in range(1000 - len(watts(sensor)), 1000)]
        assert 50 < len(watts(sensor)) < 300
    with following(csv=str(path), value=1) as sensor:
        until(lambda: str(path.resolve()) in opened(), what="opening the file")
        time.sleep(0.3)
        assert watts(sensor) == []  # of lines without a stamp nobody knows when they were
        begin_s = time.monotonic()
        with path.open("a") as file:
            file.write("0;7,25\n")
        until(lambda: watts(sensor) == [7.25])
        moment_s = everything(sensor).fast.times[0]
        assert begin_s - 0.5 < moment_s < time.monotonic()
    with following(csv=str(path), value="watts") as sensor:
        until(lambda: faults(sensor) and faults(sensor)[0] == "the wall meter's file has no column 'watts'")


def test_a_command_that_goes_on_and_one_that_ends_are_both_followed(tmp_path: Path) -> None:
    stream = f"{sys.executable} -u -c 'import time\nfor k in range(1000): print(time.time(), k); time.sleep(0.02)'"
    with following(command=stream, value=1, time=0, period_s=0.1) as sensor:
        until(lambda: len(watts(sensor)) > 20)
        assert watts(sensor)[:20] == [float(k) for k in range(20)]
    count = tmp_path / "count"
    count.write_text("")
    once = f"echo x >> {count}; wc -l < {count}"
    with following(command=once, period_s=0.1) as sensor:
        until(lambda: len(watts(sensor)) >= 5)
        assert watts(sensor)[:5] == [1, 2, 3, 4, 5]
        times = everything(sensor).fast.times
        assert 0.05 <= sensor.period_s < 0.8
        assert (times[1:] > times[:-1]).all()
        assert faults(sensor) == []
    with following(command=["echo", '{"a": {"b": "41.5"}}'], value="a.b", period_s=0.1) as sensor:
        until(lambda: watts(sensor)[:1] == [41.5])
    assert sensor.name == "wall:echo"
    with following(command="SECRET=1 /usr/bin/printf %s 42", period_s=0.1) as sensor:
        until(lambda: watts(sensor)[:1] == [42.0])
    assert sensor.name == "wall:printf"


def test_a_command_that_fails_says_why_and_is_tried_again(tmp_path: Path) -> None:
    flag = tmp_path / "there"
    command = f"test -e {flag} && echo 5 || {{ echo no answer >&2; exit 3; }}"
    with following(command=command, period_s=0.05) as sensor:
        until(lambda: faults(sensor))
        assert faults(sensor)[0].startswith("the wall meter's command ended with code 3 (no answer)")
        flag.touch()
        until(lambda: watts(sensor)[:1] == [5.0])
    with following(command=["/no/such/command"]) as sensor:
        until(lambda: faults(sensor))
        assert faults(sensor) == ["the wall meter's command cannot be run (No such file or directory)"]
    with following(command="true") as sensor:
        until(lambda: faults(sensor) == ["the wall meter's command printed nothing"])
    with following(command="echo hello; sleep 60", value=0) as sensor:
        until(lambda: faults(sensor) == ["the wall meter gave a reading that is no number"])


@pytest.mark.parametrize(
    ("complaint", "shown"),
    [
        ("no answer from http://u:s3cr3t@h/", "no answer from http://***@h/"),
        ("Max retries exceeded with url: /power?token=s3cr3t", "Max retries exceeded with url: /power?***"),
        ("http://h/?token=s3cr3t" * 30, "http://h/?***"),
    ],
)
def test_a_complaint_of_the_command_is_told_without_credentials(complaint: str, shown: str) -> None:
    with following(command=["sh", "-c", f"echo '{complaint}' >&2; exit 3"]) as sensor:
        until(lambda: faults(sensor))
    assert faults(sensor)[0].startswith(f"the wall meter's command ended with code 3 ({shown})")


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("PASSWORD='two words' /opt/meter --quiet", "meter"),
        (["/opt/meter", "s3cr3t"], "meter"),
        ("PASSWORD='two words /opt/meter", "command"),
    ],
)
def test_a_commands_name_holds_nothing_secret(command: str | list[str], name: str) -> None:
    assert CommandSource(WallMeter(command=command), host="here").name == name


def test_what_the_command_started_ends_with_its_follower(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    command = f"sleep 61 & echo $! >> {pids}; echo $$ >> {pids}; while true; do /bin/echo 5; sleep 0.05; done"
    with following(command=command) as sensor:
        until(lambda: watts(sensor))
        started = [int(pid) for pid in pids.read_text().split()]
        assert all(is_alive(pid) for pid in started)
    assert until(lambda: not any(is_alive(pid) for pid in started), timeout_s=5)
    # And when nobody is left to close it.
    pids.write_text("")
    code = (
        "import sys, time; from greenray.config.settings import WallMeter; from greenray.power.wall.meter import follow; "
        "s = follow(WallMeter(command=sys.argv[1]), host='here'); time.sleep(60)"
    )
    owner = subprocess.Popen([sys.executable, "-c", code, command])
    try:
        until(lambda: len(pids.read_text().split()) == 2)
        started = [int(pid) for pid in pids.read_text().split()]
        assert all(is_alive(pid) for pid in started)
    finally:
        os.kill(owner.pid, signal.SIGKILL)
        owner.wait(10)
    assert until(lambda: not any(is_alive(pid) for pid in started), timeout_s=5)


def opened() -> set[str]:
    """Paths that this process has open."""
    return {os.path.realpath(descriptor) for descriptor in Path("/proc/self/fd").iterdir()}

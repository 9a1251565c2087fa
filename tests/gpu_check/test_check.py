"""The whole check on simulated boards: what each section finds, the report, and what happens when something goes wrong."""

import os
import signal
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests import simnvml
from tests.benchmarks.paired import ratio_of
from tests.gpu_check.overhead import verdict_of
from tests.gpu_check.simulated import PLAIN, WAVES, Ended, check, command, environment
from tests.support.running import wait_until

GENEROUS = simnvml.Board(jitter_ms=0.5, more={"gain": 1.08})


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simnvml.build(tmp_path_factory.mktemp("simnvml"))


RUNS: dict[str, tuple[tuple[simnvml.Board, ...], tuple[object, ...]]] = {
    "who": ((PLAIN, simnvml.Board()), ("--sections", "1,6", "--scale", 0.2)),
    "meters": ((GENEROUS,), ("--sections", 2, "--scale", 0.1, "--keep-traces", "traces")),
    "idle": ((PLAIN,), ("--sections", 3, "--scale", 0.1)),
    "windows": ((PLAIN,), ("--sections", 4, "--scale", 0.15)),
    "cost": ((PLAIN,), ("--sections", 5, "--scale", 0.1)),
    "failing": ((simnvml.Board(more={"frozen_from": 0.001}),), ("--sections", "4,6", "--scale", 0.06)),
    "short of time": ((PLAIN,), ("--sections", "4,6", "--limit-s", 5)),
}


# A busy host can starve the recorder, which rightly leaves figures unknown: another run may have them.
STARVED: dict[str, Callable[[Ended], bool]] = {
    "idle": lambda ended: any(None in found.values() for found in ended.section(3)["data"].values()),
    "meters": lambda ended: any(ended.section(2)["data"][name]["apart"] is None for name in ("idle", "steady")),
    "windows": lambda ended: (
        len(ended.section(4)["data"]) < 3 or any(entry["additivity_j"] is None for entry in ended.section(4)["data"].values())
    ),
}


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory, library: Path) -> dict[str, Ended]:
    """The sections on boards of their own, all at once."""

    def one(name: str) -> Ended:
        boards, arguments = RUNS[name]
        for _ in range(3):
            folder = tmp_path_factory.mktemp(name)
            placed = [folder / argument if argument == "traces" else argument for argument in arguments]
            ended = check(folder, environment(folder, library, *boards), *placed)
            if name not in STARVED or not STARVED[name](ended):
                break
        return ended

    with ThreadPoolExecutor(max_workers=len(RUNS)) as pool:  # they mostly wait
        return dict(zip(RUNS, pool.map(one, RUNS), strict=True))


def test_counter_period_resolution_and_stale_power(checked: dict[str, Ended]) -> None:
    found = checked["who"].section(1)
    assert found["verdict"] == "ok", found["summary"]
    assert len(found["data"]["periods_s"]) == 6
    assert found["data"]["periods_s"] == pytest.approx([0.02] * 6, rel=0.02)
    assert found["data"]["resolution_j steady"] == pytest.approx(0.001)
    assert found["data"]["instant power steady"]["median_s"] == pytest.approx(0.04, rel=0.15)
    assert found["data"]["counter steady"]["median_s"] == pytest.approx(0.02, rel=0.15)
    assert "Instant power is of the GPU." in found["notes"]


def test_identity_of_two_boards(checked: dict[str, Ended], tmp_path: Path, library: Path) -> None:
    found = checked["who"].section(6)
    assert (found["verdict"], found["data"]) == ("ok", {"settings": 6, "wrong": []})
    assert checked["who"].code == 0
    swapped = check(
        tmp_path,
        environment(tmp_path, library, PLAIN, simnvml.Board()),
        *("--sections", 6),
        load="tests.gpu_check.waves:open_swapped_load",
    )
    wrong = swapped.section(6)["data"]["wrong"]
    assert (swapped.code, swapped.section(6)["verdict"]) == (1, "off")
    assert wrong[:2] == ["not set", "1,0"]
    assert len(wrong) == 3


def test_a_power_sensor_that_tells_too_much_is_seen(checked: dict[str, Ended]) -> None:
    found = checked["meters"].section(2)
    rows = found["data"]
    assert found["verdict"] == "off"
    for name in ("idle", "steady"):
        assert rows[name]["apart"] == pytest.approx(8, abs=0.6), name
        assert rows[name]["counter_error_j"] < 0.05 * rows[name]["counter_j"]
    assert rows["idle"]["mean_w"] == pytest.approx(70, rel=0.02)
    assert rows["steady"]["mean_w"] == pytest.approx(300, rel=0.02)
    assert {f"bursts of {period:g} s" for period in (0.053, 0.23, 0.71, 2.03)} < set(rows)
    assert checked["meters"].code == 1


def test_kept_traces_are_small_and_say_where_they_are_from(checked: dict[str, Ended]) -> None:
    from tests.gpu_check import traces

    files = sorted((checked["meters"].out.parent / "traces").rglob("*.npz"))
    assert [file.stem for file in files] == ["bursts", "none", "steady"]
    for file in files:
        stretch, about = traces.load(file)
        assert file.stat().st_size < 100_000
        assert (about["board"], about["driver"]) == ("NVIDIA SIM100 80GB", simnvml.DRIVER_VERSION)
        assert stretch.series.fast.times[0] == 0
        assert stretch.read(stretch.start_s, stretch.end_s).energy.energy_j > 0
    assert about["counter_period_s"] == pytest.approx(0.02, rel=0.02)


def test_idle_watts_and_settling(checked: dict[str, Ended]) -> None:
    found = checked["idle"].section(3)
    watts = {name: found["data"][name]["power_w"] for name in ("no context", "context", "model loaded")}
    assert watts == pytest.approx({"no context": 70, "context": 85, "model loaded": 90}, rel=0.02)
    assert found["data"]["after work"]["work_w"] == pytest.approx(300, rel=0.02)
    # The simulated board falls at once: what is left is the second over which it must be steady.
    assert found["data"]["after work"]["settled_after_s"] == pytest.approx(1.0, abs=0.2)
    assert found["verdict"] == "ok"


def test_windows_are_held_against_the_recording_and_here_against_the_truth(checked: dict[str, Ended]) -> None:
    data = checked["windows"].section(4)["data"]
    assert list(data) == ["steady", "bursts of 0.153 s", "bursts of 0.71 s"]
    for entry in data.values():
        assert [row["length_s"] for row in entry["reference"]] == [row["length_s"] for row in entry["truth"]]
        assert entry["additivity_j"] < 1e-6
    steady = [row for row in data["steady"]["reference"] if row["length_s"] >= 0.5]
    assert steady
    assert all(row["mean"] < 0.01 for row in steady)


def test_the_recorders_cost_is_a_paired_ratio(checked: dict[str, Ended]) -> None:
    found = checked["cost"].section(5)
    # What a busy host makes of it here is open; that the verdict follows from the rates is not.
    ratios = {kind: ratio_of(entry["on"], entry["off"]) for kind, entry in found["data"].items()}
    assert (found["verdict"], found["summary"]) == verdict_of(ratios)
    for kind in ("gpu-bound", "launch-bound"):
        entry = found["data"][kind]
        assert len(entry["on"]) == len(entry["off"]) == 3
        assert (entry["low"], entry["ratio"], entry["high"]) == (ratios[kind].low, ratios[kind].mean, ratios[kind].high)
        assert entry["low"] < entry["ratio"] < entry["high"]
        assert 0 < entry["core_share"] < 0.5


@pytest.mark.parametrize(
    ("without", "verdict"),
    [
        ({"gpu-bound": (100.1, 0.1), "launch-bound": (100.1, 0.1)}, "ok"),
        ({"gpu-bound": (100.1, 0.1), "launch-bound": (102.0, 0.1)}, "off"),  # one that is slowed down is enough
        ({"gpu-bound": (100.1, 5.0), "launch-bound": (100.1, 0.1)}, "unclear"),
    ],
)
def test_a_recorder_that_costs_too_much_is_seen(without: dict[str, tuple[float, float]], verdict: str) -> None:
    ratios = {
        kind: ratio_of([100.0] * 24, [rate + spread * (-1) ** pair for pair in range(24)])
        for kind, (rate, spread) in without.items()
    }
    found, summary = verdict_of(ratios)
    assert (found, "allowed is 1.005" in summary) == (verdict, True)


def test_a_section_that_fails_does_not_end_the_check(checked: dict[str, Ended]) -> None:
    ended = checked["failing"]
    assert ended.code == 1
    assert ended.section(4)["verdict"] == "failed"
    assert "too little of the long recording" in ended.section(4)["summary"]
    assert ended.section(6)["verdict"] == "ok"
    assert "1 failed, 1 ok; report: " in ended.said


def test_the_whole_is_time_boxed(checked: dict[str, Ended]) -> None:
    ended = checked["short of time"]
    assert ended.took_s < 30
    assert [ended.section(number)["verdict"] for number in (4, 6)] == ["cut short", "cut short"]
    assert "not begun" in ended.section(6)["summary"]
    assert ended.code == 1


def test_a_killed_check_leaves_its_report_and_no_process(tmp_path: Path, library: Path) -> None:
    env = environment(tmp_path, library, PLAIN)
    arguments = command("--out", tmp_path / "out", "--load", WAVES, "--sections", "6,4")
    process = subprocess.Popen(arguments, env=env, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("6 identity: ok")
        wait_until(lambda: of_check(tmp_path), timeout_s=15, what="a section")
        os.kill(process.pid, signal.SIGKILL)
    finally:
        process.kill()
        process.communicate(timeout=10)
    page = (tmp_path / "out" / "gpu-check.md").read_text()
    assert "| 4 | error against window length | not reached |" in page
    assert "## 6. identity: ok" in page
    wait_until(lambda: not of_check(tmp_path), timeout_s=15, what="the end of its processes")


def of_check(folder: Path) -> list[int]:
    """Living processes with this test's control file in their environment, the check itself left out."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            ours = entry.name.isdigit() and os.fsencode(folder / "control") in (entry / "environ").read_bytes()
            if ours and b"tests.gpu_check.check" not in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


@pytest.mark.parametrize(
    ("boards", "more", "why"),
    [((), {"driver_missing": True}, "NVML is not available"), ((), {}, "no board that is visible"), ((PLAIN,), {}, "torch")],
)
def test_without_a_gpu_one_sentence_says_so(tmp_path: Path, library: Path, boards: Any, more: Any, why: str) -> None:
    env = environment(tmp_path, library, *boards, **more)
    done = subprocess.run(command("--out", tmp_path / "out"), env=env, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("gpu-check is skipped: there is no GPU that torch can use (")
    assert why in done.stdout
    assert done.stdout.endswith(").\n")
    assert done.stdout.count("\n") == 1
    assert not (tmp_path / "out").exists()

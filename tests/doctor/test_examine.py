"""`greenray doctor` on hosts as they are: this one, with simulated boards, with a power tree, without a driver."""

import json
import os
import subprocess
from collections.abc import Mapping

import pytest

from greenray.doctor.examine import examine
from tests.simnvml import DRIVER_VERSION, Board, environment, uuid_of
from tests.support import ROOT
from tests.support.plugins import pretend_cuda, pretend_fault
from tests.support.powercap import AMD, INTEL, make_tree
from tests.support.running import COMMAND, PLUGINS


def doctor(*options: str, env: Mapping[str, str] | None = None):
    result = subprocess.run(
        [*COMMAND, "doctor", *options],
        env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in result.stderr, result.stderr
    return result


def test_this_host_as_it_is():
    report = examine(busy_s=0.05)
    assert json.loads(json.dumps(report)) == report
    assert report["host"]["logical_cores"] == os.cpu_count()
    assert report["gpus"] == []
    assert any("No GPU can be measured" in problem["what"] for problem in report["problems"])
    assert all(problem["commands"] for problem in report["problems"])


@pytest.mark.parametrize(("zones", "dram"), [(INTEL, "rapl"), (AMD, None)])
def test_processor_and_memory_by_rapl(tmp_path, monkeypatch, zones, dram):
    monkeypatch.setenv("GREENRAY_POWERCAP_ROOT", str(make_tree(tmp_path, zones)))
    report = examine(busy_s=0.05)
    assert report["cpu"] == {"source": "rapl", "best_grade": "A", "reasons": []}
    assert report["dram"]["source"] == dram
    assert bool(report["dram"]["reasons"]) == (dram is None)
    assert not [problem for problem in report["problems"] if problem["part"] == "CPU"]


def test_boards_through_the_command(simnvml):
    """Each simulated board with one defect: source, best grade and why, in JSON and in words; the exit code tells."""
    boards = [
        Board(counter_ms=50, jitter_ms=2),
        Board(more={"mig": 1}),
        Board(more={"no_counter": 1, "persistence": 0}),
        Board(more={"no_instant": 1, "processes": "77:1"}),
        Board(more={"module_scope": 1, "default_limit_w": 900, "limit_w": 700}),
        Board(more={"no_permission": 1, "throttle": 0x42}),
        Board(more={"frozen_from": 0.001, "no_processes": 1}),
    ]
    env = environment(simnvml, boards=boards)
    ended = doctor("--json", env=env)
    assert ended.returncode == 1  # one board cannot be measured
    (report,) = json.loads(ended.stdout)
    gpus = report["gpus"]
    assert report["able"] is False
    assert report["problems"][0]["what"].startswith("Torch cannot use CUDA: ")
    assert [gpu["best_grade"] for gpu in gpus[:6]] == ["A", None, "C", "B", "B", "C"]
    assert [gpu["source"] for gpu in gpus] == ["counter", None, "power", "counter", "counter", "power", "counter"]
    assert gpus[0]["counter_period_s"] == pytest.approx(0.05, rel=0.02)
    assert 0.0005 < gpus[0]["counter_jitter_s"] < 0.004
    assert gpus[6]["counter_period_s"] is None
    assert any("module" in reason for reason in gpus[4]["reasons"])
    assert any("other processes" in reason for reason in gpus[6]["reasons"])
    told = {(problem["part"], problem["what"]): problem["commands"] for problem in report["problems"]}
    for index, words in {
        1: ["MIG mode"],
        2: ["no readable energy counter", "persistence mode off"],
        3: ["instant power", "other processes (77)"],
        4: ["power limited to 700 W, 900 W is its default"],
        5: ["keeps its energy counter to itself", "clocks held", "hw_thermal_slowdown"],
        6: ["did not move"],
    }.items():
        for word in words:
            assert [commands for (part, what), commands in told.items() if part == f"GPU {index}" and word in what], word
    assert not [part for part, _ in told if part == "GPU 0"]

    page = doctor(env={**env, "COLUMNS": "80"}).stdout
    lines = page.splitlines()
    for gpu in gpus:
        assert any(gpu["uuid"] in line for line in lines)
    # Of the boards: what keeps the host busy may have changed since.
    for problem in (problem for problem in report["problems"] if problem["part"].startswith("GPU")):
        for command in problem["commands"]:
            assert any(line.strip() == command for line in lines), command  # whole, to be copied
    assert "\x1b" not in page


def test_a_driver_too_old_for_torch_is_the_first_thing_to_mend(simnvml):
    """In torch's own words, with the driver that there is and the one that is needed; the board can be measured all the same."""
    env = {
        **environment(simnvml, boards=[Board(more={"mig": 1}), Board(more={"persistence": 0})]),
        "PYTHONPATH": f"{PLUGINS}{os.pathsep}{ROOT}",
        pretend_cuda.BOARDS: f"{uuid_of(0)},{uuid_of(1)}",
        pretend_fault.OLD_DRIVER: "12080",
    }
    (report,) = json.loads(doctor("--json", env=env).stdout)
    first = report["problems"][0]
    assert first["part"] == "GPU"
    assert [pretend_fault.TOO_OLD.format(12080) in problem["what"] for problem in report["problems"]].count(True) == 1
    assert pretend_fault.TOO_OLD.format(12080) in first["what"]
    assert f"driver {DRIVER_VERSION}, and torch's CUDA 13.0 needs 580 or later" in first["what"]
    assert first["commands"] == ["pip install --force-reinstall torch --index-url https://download.pytorch.org/whl/cu126"]
    assert report["gpus"][1]["source"] == "counter"
    del env[pretend_fault.OLD_DRIVER]
    (report,) = json.loads(doctor("--json", env=env).stdout)
    assert [problem["part"] for problem in report["problems"] if problem["part"].startswith("GPU")] == ["GPU 0", "GPU 1"]


def test_a_host_without_boards_is_able(tmp_path):
    ended = doctor("--json")
    (report,) = json.loads(ended.stdout)
    assert (ended.returncode, report["able"], report["error"]) == (0, True, None)


def test_a_missing_driver_is_said(simnvml):
    ended = doctor(env=environment(simnvml, driver_missing=True))
    assert "Driver Not Loaded" in ended.stdout


def test_bad_options_are_one_sentence():
    assert doctor("--timeout", "0").stderr == "greenray: --timeout 0: must be between 1 and 3600 seconds.\n"
    ended = doctor("--address", "127.0.0.1:1")
    assert ended.returncode == 2
    assert "no Ray cluster" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1

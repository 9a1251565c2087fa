"""`measure` on real commands, and `doctor`."""

import json
import os
import signal
import subprocess
import sys

import pytest

from greenray.power.doctor import examine
from greenray.power.measure import measure_command
from tests.power.conftest import ROOT
from tests.power.powercap import INTEL, make_tree
from tests.simnvml import Board, environment, true_energy_j, uuid_of

MEASURE = """
import json, sys
from greenray.power.measure import measure_command
measurement = measure_command(sys.argv[2:], idle_s=float(sys.argv[1]) or None)
print(json.dumps(measurement.as_json()), file=sys.stderr)
sys.exit(measurement.exit_code)
"""


def measure(*argv: str, idle_s: float = 0.0, env: dict[str, str] | None = None):
    environ = {**os.environ, "PYTHONPATH": str(ROOT), **(env or {})}
    command = [sys.executable, "-c", MEASURE, str(idle_s), *argv]
    result = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60)
    return result, json.loads(result.stderr.splitlines()[-1])


def test_children_count_and_the_exit_code_passes_through():
    burn = f"{sys.executable} -c 'import time\nwhile time.process_time() < 0.3: pass'"
    measurement = measure_command(["sh", "-c", f"{burn}; {burn}; exit 5"])
    assert measurement.exit_code == 5
    assert measurement.cpu["source"] == "modelled"
    assert 0.55 < measurement.cpu["cpu_seconds"] < 3
    assert measurement.cpu["energy_j"] <= measurement.cpu["host_energy_j"]
    assert measurement.duration_s == measurement.end_monotonic_s - measurement.start_monotonic_s
    assert measurement.dram == {"energy_j": None, "source": None, "reason": "no DRAM domain"}


@pytest.mark.parametrize(
    ("argv", "code"),
    [(["true"], 0), (["false"], 1), (["sh", "-c", "kill -TERM $$"], 143), (["no-such-command"], 127), ([str(ROOT)], 126)],
)
def test_exit_codes_are_a_shells(argv, code):
    measurement = measure_command(argv)
    assert measurement.exit_code == code
    assert (measurement.error is not None) == (code in (126, 127))
    assert measurement.gpus == []
    assert json.loads(json.dumps(measurement.as_json()))["exit_code"] == code


def test_output_is_the_commands_own():
    result, _ = measure("echo", "hello")
    assert result.stdout == "hello\n"


def test_signals_are_passed_on():
    script = "trap 'echo caught; exit 7' TERM; echo ready; while :; do sleep 0.05; done"
    command = [sys.executable, "-c", MEASURE, "0", "sh", "-c", script]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=30)
    assert process.returncode == 7
    assert output == "caught\n"
    assert json.loads(errors.splitlines()[-1])["exit_code"] == 7


def test_boards_are_read_and_chosen_by_cuda_visible_devices(simnvml):
    boards = [Board(high_w=200), Board(wave="sine", low_w=90, high_w=400, period_s=0.3), Board(high_w=100)]
    env = {**environment(simnvml, boards=boards), "CUDA_VISIBLE_DEVICES": f"1,{uuid_of(0)[:12]}"}
    _, found = measure("sleep", "1.5", idle_s=0.5, env=env)
    assert [gpu["uuid"] for gpu in found["gpus"]] == [uuid_of(1), uuid_of(0)]
    sine, steady = found["gpus"]
    truth = true_energy_j(boards[1], found["start_monotonic_s"], found["end_monotonic_s"])
    assert sine["energy_j"] == pytest.approx(truth, rel=0.02)
    assert steady["idle_w"] == pytest.approx(200, rel=0.02)
    assert (steady["source"], steady["grade"]) == ("counter", "A")


def test_rapl_is_read_where_there_is_a_tree(tmp_path):
    env = {"GREENRAY_POWERCAP_ROOT": str(make_tree(tmp_path, INTEL))}
    _, found = measure("sleep", "0.3", idle_s=0.2, env=env)
    # The made counters stand still: a measured nothing, not an unknown.
    assert (found["cpu"]["source"], found["cpu"]["energy_j"]) == ("rapl", 0.0)
    assert found["dram"] == {"energy_j": 0.0, "source": "rapl", "reason": None}


def test_doctor_on_this_host():
    report = examine(busy_s=0.05)
    plain = json.loads(json.dumps(report.as_json()))
    assert plain["host"]["logical_cores"] == os.cpu_count()
    assert report.gpus == []
    assert any("No GPU can be measured" in problem.what for problem in report.problems)


DOCTOR = "import json; from greenray.power.doctor import examine; print(json.dumps(examine(busy_s=0.05).as_json()))"


def test_doctor_names_what_is_wrong_with_each_board(simnvml, python):
    boards = [
        Board(counter_ms=50),
        Board(more={"mig": 1}),
        Board(more={"no_counter": 1, "persistence": 0}),
        Board(more={"no_instant": 1, "processes": "77:1"}),
    ]
    report = json.loads(python(DOCTOR, env=environment(simnvml, boards=boards)))
    assert [gpu["best_grade"] for gpu in report["gpus"]] == ["A", None, "C", "B"]
    assert report["gpus"][0]["counter_period_s"] == pytest.approx(0.05, rel=0.02)
    told = " ".join(problem["what"] for problem in report["problems"] if problem["mend"])
    for word in ("MIG mode", "no readable energy counter", "persistence mode off", "instant power", "other processes (77)"):
        assert word in told


def test_doctor_says_when_the_driver_is_missing(simnvml, python):
    report = json.loads(python(DOCTOR, env=environment(simnvml, driver_missing=True)))
    assert "Driver Not Loaded" in report["nvml_problem"]

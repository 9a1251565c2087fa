"""What a board tells under load and what it told when it was idle: period, temperature, calls that stall, kinds of power."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from greenray.power.gpu_reading import GpuFacts, under_load
from greenray.power.trace import readings
from tests.simnvml import Board, environment, true_energy_j, write_control
from tests.support.made import made_readings

CALIBRATED = GpuFacts(period_s=0.02, jitter_s=0.001)


@pytest.mark.parametrize(
    ("known_s", "counter_ms", "expected_s"),
    [
        (0.02, 100, 0.1),  # slower under load, as its samples show
        (0.1, 20, 0.02),  # faster: more often than every other sample it cannot be seen to move
        (0.1, 50, 0.05),
        (None, 50, 0.05),  # it stood still before
        (0.1, 100, None),  # the same: what was polled finely stays
        (0.02, 20, None),
        (0.01, 10, None),
    ],
)
def test_the_period_is_the_loaded_boards(known_s, counter_ms, expected_s):
    facts = replace(CALIBRATED, period_s=known_s)
    board = Board(wave="square", low_w=80, high_w=620, period_s=0.7, counter_ms=counter_ms, jitter_ms=counter_ms / 20)
    found = under_load(facts, made_readings(board, seconds=5))
    if expected_s is None:
        assert found is facts
    else:
        assert found.period_s == pytest.approx(expected_s, rel=2e-3 if counter_ms > 60 else 0.03)
        assert found.jitter_s >= facts.jitter_s


def test_a_few_updates_say_nothing():
    samples = made_readings(Board(counter_ms=100), seconds=0.6)
    assert under_load(CALIBRATED, samples) is CALIBRATED
    assert under_load(CALIBRATED, readings([], counter_j=[])) is CALIBRATED


# Arguments: control file, what is written there once the instrument stands (NOW is that moment), sampling rate, seconds.
STORY = """
import json, os, sys, time
from pathlib import Path
from greenray.config.settings import CpuModel
from greenray.power.instrument import Instrument
from tests.simnvml import write_control
instrument = Instrument(accelerator="0", hz=float(sys.argv[3]), cpu_model=CpuModel())
told = {"idle_period_s": instrument.counter_period_s}
write_control(Path(sys.argv[1]), **{key: time.monotonic() + value for key, value in json.loads(sys.argv[2]).items()})
recording = instrument.record()
recording.follow(os.getpid())
told["early"] = recording.warming(1.0)
start_s = time.monotonic()
time.sleep(float(sys.argv[4]))
end_s = time.monotonic()
told["warming"] = recording.warming(1.0)
recording.loaded(start_s=start_s, end_s=end_s)
told["period_s"] = instrument.counter_period_s
row = recording.read(start_s=start_s, end_s=end_s, device="cuda").row()
times = recording.stop().series[f"gpu:{instrument.gpu.uuid}"].fast.times
instrument.close()
told["longest_s"] = max(b - a for a, b in zip(times, times[1:]) if a < end_s and b > start_s)
print(json.dumps({**told, "start_s": start_s, "end_s": end_s, "row": row}))
"""

STORIES = {
    "slower counter": (Board(more={"loaded_counter_ms": 100}), {"0.loaded_from": 0.0}, 50, 2.5),
    "cold": (Board(more={"warming_c": 20, "warming_tau_s": 1}), {"0.heating_from": 0.0}, 50, 2.5),
    "stall": (Board(more={"stall_ms": 60}), {"0.stall_at": 1.0}, 200, 4.0),
    "ga100": (Board(more={"no_instant": 1, "capability": 8.0}), {}, 50, 2.5),
    "volta": (Board(more={"no_instant": 1, "capability": 7.0}), {}, 50, 2.5),
    "ga102": (Board(more={"no_instant": 1, "capability": 8.6}), {}, 50, 2.5),
}


@pytest.fixture(scope="module")
def told(simnvml, python, tmp_path_factory):
    """What was told of each board, all measured at once."""

    def tell(name):
        board, change, hz, seconds = STORIES[name]
        control = tmp_path_factory.mktemp(name.replace(" ", "-")) / "control"
        write_control(control)
        env = environment(simnvml, boards=[board], control=control)
        return json.loads(python(STORY, control, json.dumps(change), hz, seconds, env=env))

    with ThreadPoolExecutor() as pool:
        return dict(zip(STORIES, pool.map(tell, STORIES), strict=True))


def test_a_counter_that_slows_down_under_load_is_read_by_its_new_period(told):
    found = told["slower counter"]
    assert found["idle_period_s"] == pytest.approx(0.02, rel=0.02)
    assert found["period_s"] == pytest.approx(0.1, rel=0.02)
    assert found["row"]["gpu_energy_j"] == pytest.approx(true_energy_j(Board(), found["start_s"], found["end_s"]), rel=0.02)
    assert told["cold"]["period_s"] == told["cold"]["idle_period_s"]


def test_a_board_that_warms_up_says_so(told):
    assert told["cold"]["early"] is None  # a trace that is too short says nothing
    assert 3 < told["cold"]["warming"] < 15
    assert told["stall"]["warming"] == 0


def test_a_stalled_call_costs_precision_and_no_figure(told):
    row, longest_s = told["stall"]["row"], told["stall"]["longest_s"]
    assert longest_s >= 0.06
    if longest_s < 0.08:  # else others held the recorder up as well
        assert row["gpu_power_energy_j"] == pytest.approx(row["gpu_energy_j"], rel=0.02)


@pytest.mark.parametrize(("name", "instant"), [("ga100", True), ("volta", True), ("ga102", False)])
def test_power_usage_is_instant_power_up_to_ga100(told, name, instant):
    row = told[name]["row"]
    assert any("no instant power" in reason for reason in row["grade_reasons"]) is not instant
    if instant and row["gpu_power_energy_j"] is not None:
        assert row["gpu_power_energy_j"] == pytest.approx(row["gpu_energy_j"], rel=0.03)
        assert np.isfinite(row["gpu_power_max_w"])

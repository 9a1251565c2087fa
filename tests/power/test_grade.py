from dataclasses import replace

import pytest

from greenray.config.settings import CpuModel
from greenray.gpu.base import SLOWDOWNS
from greenray.power.cpu_reading import CpuReading, HostShare
from greenray.power.estimate.energy import Energy
from greenray.power.gpu_reading import GpuFacts, GpuReading
from greenray.power.grade import grade_cpu, grade_gpu
from greenray.power.sharing import IdlePower

GOOD = GpuReading(
    energy=Energy(energy_j=1000.0, updates=80),
    source="counter",
    power=Energy(energy_j=1010.0),
    throttle_reasons=["sw_power_cap"],
    temperature_start_c=60,
    temperature_end_c=62,
)
UNTOLD = GpuFacts(power_source=None)


def test_every_slowdown_has_words():
    for name in SLOWDOWNS:
        grade, (reason,) = grade_gpu(replace(GOOD, throttle_reasons=[name]), foreign=0)
        assert (grade, f"({name})" in reason) == ("B", True)


def test_a_software_power_cap_is_no_blemish():
    assert grade_gpu(GOOD, foreign=0) == ("A", [])


@pytest.mark.parametrize(
    ("change", "grade", "word"),
    [
        ({"energy": Energy(energy_j=1000.0, updates=49)}, "B", "49 counter updates"),
        ({"foreign": 1}, "B", "other process"),
        ({"foreign": None}, "B", "cannot be told"),
        ({"temperature_end_c": 66}, "B", "temperature"),
        ({"throttle_reasons": ["hw_power_brake_slowdown"]}, "B", "slowed down"),
        ({"throttle_reasons": None}, "B", "slowdowns cannot be told"),
        ({"power": Energy(energy_j=1070.0)}, "B", "7 % apart"),
        ({"power": Energy(energy_j=1150.0)}, "C", "15 % apart"),
        ({"power": Energy(), "facts": UNTOLD}, "B", "no instant power"),
        ({"facts": GpuFacts(power_source="module")}, "B", "whole module"),
        ({"energy": Energy(energy_j=1000.0, updates=10), "temperature_end_c": 70}, "C", "10 counter updates"),
        ({"source": "power", "facts": GpuFacts(counter_missing="the board has no energy counter")}, "C", "no energy counter"),
        ({"source": "power", "facts": GpuFacts(power_source="average")}, "C", "1 s average"),
        ({"energy": Energy(reason="the board is lost")}, None, "the board is lost"),
    ],
)
def test_every_missed_condition_costs_and_is_named(change, grade, word):
    foreign = change.get("foreign", 0)
    found, reasons = grade_gpu(replace(GOOD, **{k: v for k, v in change.items() if k != "foreign"}), foreign=foreign)
    assert found == grade
    assert any(word in reason for reason in reasons)


SHARE = HostShare(logical_cores=4, model=CpuModel())
ALONE = CpuReading(
    energy=Energy(energy_j=50.0), source="rapl", idle=IdlePower(cpu_w=10.0, source="rapl"), neighbours_busy=0.05, host_share=SHARE
)


@pytest.mark.parametrize(
    ("change", "grade", "word"),
    [
        ({}, "A", None),
        ({"host_share": replace(SHARE, workers=4)}, "B", "apportioned between 4"),
        ({"idle": IdlePower(cpu_w=1.0, source="inferred")}, "B", "idle power was not measured"),
        ({"idle": IdlePower(cpu_w=10.0, source="rapl", busy=0.1)}, "A", None),
        ({"idle": IdlePower(cpu_w=30.0, source="rapl", busy=1.5)}, "C", "kept 1.50 of 4 processors busy while idle power was"),
        ({"neighbours_busy": None}, "B", "activity is unknown"),
        ({"contention": "neighbours kept 1.50 of 4 processors busy"}, "B", "kept 1.50 of 4"),
        ({"host_share": replace(SHARE, workers=2), "contention": "tasks waited"}, "C", "apportioned"),
        ({"host_share": replace(SHARE, workers=2), "neighbours_busy": None, "contention": "tasks waited"}, "C", "tasks waited"),
        ({"source": "modelled"}, "D", "modelled"),
        ({"source": "modelled"}, "D", "cannot tell a thread that works from one that spins"),
        ({"source": "modelled", "contention": "tasks waited"}, "D", "tasks waited"),
        ({"energy": Energy(reason="RAPL was not read")}, None, "RAPL was not read"),
    ],
)
def test_cpu_grades(change, grade, word):
    found, reasons = grade_cpu(replace(ALONE, **change))
    assert found == grade
    assert word is None or any(word in reason for reason in reasons)

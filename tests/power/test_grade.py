from dataclasses import replace

import pytest

from greenray.gpu.nvidia.sensor import SLOWDOWNS
from greenray.power.grade import CpuEvidence, GpuEvidence, grade_cpu, grade_gpu

GOOD = GpuEvidence(
    energy_j=1000.0,
    source="counter",
    power_energy_j=1010.0,
    power_source="gpu",
    updates=80,
    throttle_reasons=["sw_power_cap"],
    foreign_processes=0,
    temperature_start_c=60,
    temperature_end_c=62,
)


def test_every_slowdown_has_words():
    for name in SLOWDOWNS:
        grade, (reason,) = grade_gpu(replace(GOOD, throttle_reasons=[name]))
        assert (grade, f"({name})" in reason) == ("B", True)


def test_a_software_power_cap_is_no_blemish():
    assert grade_gpu(GOOD) == ("A", [])


@pytest.mark.parametrize(
    ("change", "grade", "word"),
    [
        ({"updates": 49}, "B", "49 counter updates"),
        ({"foreign_processes": 1}, "B", "other process"),
        ({"foreign_processes": None}, "B", "cannot be told"),
        ({"temperature_end_c": 66}, "B", "temperature"),
        ({"throttle_reasons": ["hw_power_brake_slowdown"]}, "B", "slowed down"),
        ({"throttle_reasons": None}, "B", "slowdowns cannot be told"),
        ({"power_energy_j": 1070.0}, "B", "7 % apart"),
        ({"power_energy_j": 1150.0}, "C", "15 % apart"),
        ({"power_source": None, "power_energy_j": None}, "B", "no instant power"),
        ({"power_source": "module"}, "B", "whole module"),
        ({"updates": 10, "temperature_end_c": 70}, "C", "10 counter updates"),
        ({"source": "power", "energy_reason": "the board has no energy counter"}, "C", "no energy counter"),
        ({"source": "power", "power_source": "average"}, "C", "1 s average"),
        ({"energy_j": None, "energy_reason": "the board is lost"}, None, "the board is lost"),
    ],
)
def test_every_missed_condition_costs_and_is_named(change, grade, word):
    found, reasons = grade_gpu(replace(GOOD, **change))
    assert found == grade
    assert any(word in reason for reason in reasons)


ALONE = CpuEvidence(energy_j=50.0, source="rapl", neighbours_busy=0.05, logical_cores=4)


@pytest.mark.parametrize(
    ("change", "grade", "word"),
    [
        ({}, "A", None),
        ({"workers": 4}, "B", "apportioned between 4"),
        ({"idle_known": False}, "B", "assumed"),
        ({"neighbours_busy": 1.5}, "B", "1.5 processors"),
        ({"workers": 2, "neighbours_busy": 1.0}, "C", "apportioned"),
        ({"source": "modelled"}, "D", "modelled"),
        ({"energy_j": None, "energy_reason": "RAPL was not read"}, None, "RAPL was not read"),
    ],
)
def test_cpu_grades(change, grade, word):
    found, reasons = grade_cpu(replace(ALONE, **change))
    assert found == grade
    assert word is None or any(word in reason for reason in reasons)

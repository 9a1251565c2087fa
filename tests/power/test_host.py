"""What a host says of itself, where it says less than one would like."""

import math
import os
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from greenray.power.host import allotted_cores, host_info, memory_bytes


@pytest.mark.parametrize(("plugged", "on_battery"), [(True, False), (False, True), (None, None)])
def test_a_battery_that_does_not_say_whether_it_is_plugged_in_is_unknown(
    monkeypatch: pytest.MonkeyPatch, plugged: bool | None, on_battery: bool | None
) -> None:
    monkeypatch.setattr(psutil, "sensors_battery", lambda: SimpleNamespace(power_plugged=plugged))
    assert host_info().on_battery is on_battery


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, math.inf),
        ({"cpu.max": "max 100000"}, math.inf),
        ({"cpu.max": "50000 100000"}, 0.5),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, math.inf),
        ({"cpu/cpu.cfs_quota_us": "25000", "cpu/cpu.cfs_period_us": "100000"}, 0.25),
    ],
)
def test_a_containers_quota_is_what_it_is_allotted(tmp_path: Path, files: dict[str, str], cores: float) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    assert allotted_cores(cgroup=tmp_path) == min(cores, len(os.sched_getaffinity(0)))


def test_a_host_without_a_battery_runs_on_none_and_one_that_hides_it_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "sensors_battery", lambda: None)
    assert host_info().on_battery is False

    def hidden() -> None:
        raise FileNotFoundError("/sys/class/power_supply")

    monkeypatch.setattr(psutil, "sensors_battery", hidden)
    assert host_info().on_battery is None


def test_memory_is_read_anew_each_time(tmp_path: Path) -> None:
    """A virtual machine that grows, and a container's limit of either version of cgroups that is raised."""
    total = psutil.virtual_memory().total
    assert memory_bytes(cgroup=tmp_path) == total
    for file in ("memory.max", "memory/memory.limit_in_bytes"):
        limit = tmp_path / file
        limit.parent.mkdir(exist_ok=True)
        for text, bytes_ in (("1048576\n", 1 << 20), ("2097152\n", 1 << 21), (f"{total * 2}\n", total), ("max\n", total)):
            limit.write_text(text)
            assert memory_bytes(cgroup=tmp_path) == bytes_

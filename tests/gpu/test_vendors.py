"""The seam: a second vendor is one module and one line, and everything that asks for GPUs finds his."""

import io
import json
import os
import time

import pytest
from rich.console import Console

from greenray.cli.tables import show_host
from greenray.config.settings import CpuModel
from greenray.doctor.examine import examine
from greenray.errors import MeasurementError
from greenray.gpu import registry
from greenray.gpu.base import Vendor
from greenray.gpu.nvidia import vendor as nvidia
from greenray.power.grade import contended
from greenray.power.instrument import Instrument
from tests.gpu import made_vendor
from tests.gpu.made_vendor import ABSENT, POWER_W
from tests.measure.test_measure import CONTRACT
from tests.simnvml import Board, environment, uuid_of
from tests.support.starved import starved

LINE = {"made": "tests.gpu.made_vendor"}
MODULES: tuple[Vendor, ...] = (nvidia, made_vendor)


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "VENDORS", {**registry.VENDORS, **LINE})


def test_his_gpu_is_found_and_resolved_beside_a_vendor_without_a_driver():
    (gpu,) = registry.gpus()
    assert registry.resolve("MADE-0") == gpu
    with pytest.raises(MeasurementError, match=r"no board matches 'MADE-1'; there are: 0 = MADE-0"):
        registry.resolve("MADE-1")
    assert registry.visible({}) == ([gpu], [])
    chosen, notes = registry.visible({"MADE_VISIBLE_DEVICES": "none"})
    assert chosen == []
    assert [note.partition(" (")[0] for note in notes] == [
        "no GPU is measured: NVML is not available",
        "no GPU is measured: MADE_VISIBLE_DEVICES='none' leaves none",
    ]


def test_a_process_sees_one_gpu_of_all_vendors_or_none():
    hidden = {"CUDA_VISIBLE_DEVICES": "", "CUDA_DEVICE_ORDER": "PCI_BUS_ID", "MADE_VISIBLE_DEVICES": "none"}
    assert registry.environment_for(None) == hidden
    assert registry.environment_for(registry.resolve("MADE-0")) == {**hidden, "MADE_VISIBLE_DEVICES": "MADE-0"}
    board = nvidia.NvidiaGpu(index=0, uuid="GPU-1", name="n")
    assert registry.environment_for(board) == {**hidden, "CUDA_VISIBLE_DEVICES": "GPU-1"}
    assert registry.preload_environment() == {**nvidia.PRELOAD_ENVIRONMENT, "MADE_VISIBLE_DEVICES": "none"}
    assert registry.device_prefixes() == ("/dev/nvidia", "/dev/made")


def test_the_instrument_measures_it(tmp_path, monkeypatch):
    monkeypatch.setenv(ABSENT, str(tmp_path / "absent"))
    instrument = Instrument(accelerator="MADE-0", hz=50, cpu_model=CpuModel())
    assert instrument.counter_period_s == pytest.approx(0.01, rel=0.02)
    recording = instrument.record()
    recording.follow(os.getpid())
    for _ in range(5):
        start_s = time.monotonic()
        time.sleep(0.8)
        end_s = time.monotonic()
        row = recording.read(start_s=start_s, end_s=end_s, device="cuda").row()
        if not starved(row["grade_reasons"]) and row["gpu_counter_updates"] >= 50:
            break
    recording.stop()
    assert (row["gpu_uuid"], row["energy_scope"], row["gpu_energy_source"]) == ("MADE-0", "gpu+cpu", "counter")
    assert row["gpu_energy_j"] == pytest.approx(POWER_W * (end_s - start_s), rel=0.02)
    assert abs(row["gpu_energy_j"] - POWER_W * (end_s - start_s)) <= 2 * row["gpu_energy_error_j"]
    # Its empty list of processes hides this one: B, as with NVIDIA.
    grade, _ = contended("B", [], row["contention"])
    assert (row["grade"], row["sm_clock_mhz"]) == (grade, 1500)
    instrument.require_gpu()
    (tmp_path / "absent").touch()
    with pytest.raises(MeasurementError, match="made GPU MADE-0 is lost"):
        instrument.require_gpu()
    instrument.close()


def test_doctor_shows_it_with_its_vendors_advice():
    report = json.loads(json.dumps(examine(busy_s=0.05)))
    (gpu,) = report["gpus"]
    assert (gpu["uuid"], gpu["source"], gpu["best_grade"], gpu["made_of"]) == ("MADE-0", "counter", "A", "nothing")
    assert (report["able"], report["gpu_problem"]) == (True, None)
    told = [problem["what"] for problem in report["problems"] if problem["part"].startswith("GPU")]
    of_torch, *others = told
    assert of_torch.startswith("torch cannot use CUDA: ")
    assert others == ["It is made of nothing."]  # NVIDIA, of whom there is nothing here, is no problem
    console = Console(record=True, width=100, file=io.StringIO())
    show_host({**report, "error": None}, console=console)
    page = console.export_text()
    assert all(word in page for word in ("MADE-0", "Made 1", "energy counter every 10.0 ms", "It is made of nothing. Buy one."))


BOTH = """
import json
from greenray.gpu import registry
from greenray.measure.command import measure_command
from greenray.measure.signals import Signals
registry.VENDORS["made"] = "tests.gpu.made_vendor"
with Signals() as signals:
    found = measure_command(["sleep", "0.5"], signals=signals)
print(json.dumps([found, [registry.resolve(name).uuid for name in ("0", "MADE-0")]]))
"""


def test_two_vendors_gpus_are_measured_side_by_side(simnvml, python):
    found, resolved = json.loads(python(BOTH, env=environment(simnvml, boards=[Board(high_w=250)])))
    assert resolved == [gpu["uuid"] for gpu in found["gpus"]] == [uuid_of(0), "MADE-0"]
    assert all(CONTRACT["gpus"] <= set(gpu) for gpu in found["gpus"])
    for gpu, watts in zip(found["gpus"], (250, POWER_W), strict=True):
        assert gpu["energy_j"] == pytest.approx(watts * found["duration_s"], rel=0.03)
    assert found["total_energy_j"] == pytest.approx(sum(part["energy_j"] for part in (*found["gpus"], found["cpu"])))


def test_gpus_on_the_bus_whose_driver_does_not_answer_are_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "VENDORS", LINE)
    assert registry.unreached() == []
    monkeypatch.setattr(made_vendor, "start", lambda: "driver and library are of different versions")
    assert registry.unreached() == [
        "of the host's 1 GPU(s) none is used or measured: driver and library are of different versions"
    ]
    monkeypatch.setattr(made_vendor, "on_bus", lambda: 0)
    assert registry.unreached() == []

"""The table of devices: the CPU arm and the CUDA arm of a tactic beside each other."""

from pathlib import Path

import pytest

from greenray.analysis import analyse
from greenray.report.tables import write
from tests.report.reading import number, read
from tests.support.synthetic import Sweep


def test_both_devices_of_a_tactic_stand_side_by_side(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out", noise=0.0)
    for device, ratio in (("cpu", 0.7), ("cuda", 0.9)):
        board = {"gpu_name": "NVIDIA H200", "gpu_uuid": "GPU-1"}
        sweep.rounds(3, "m", family="f", energy_j=0.01, tactics={"bf16": ratio}, device=device, block_id=f"b-{device}", **board)
    analysis = analyse(sweep.finish())
    write(analysis, tmp_path / "tables")
    (row,) = read(tmp_path / "tables", "devices")
    assert (number(row["cpu_energy_j_ratio"]), number(row["cuda_energy_j_ratio"])) == (pytest.approx(0.7), pytest.approx(0.9))
    assert (row["label"], row["cuda_hardware"], row["cpu_over_cuda_baseline_energy_j_ratio"]) == ("m", "NVIDIA H200", "")


def test_a_tactic_without_an_arm_on_cuda_stands_beside_the_baseline_there(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out", noise=0.0)
    board = {"gpu_name": "NVIDIA H200", "gpu_uuid": "GPU-1", "board_w": 60.0}
    few = {"touched_parameters_share": 0.002, "touched_macs_share": 0.001}
    shared = {"family": "f", "energy_j": 0.01, **board}
    sweep.rounds(3, "m", tactics={"dynamic-quantization": 0.7}, device="cpu", block_id="b-cpu", **shared, **few)
    sweep.rounds(3, "m", tactics={}, device="cuda", block_id="b-cuda", **shared | {"energy_j": 0.002})
    analysis = analyse(sweep.finish())
    write(analysis, tmp_path / "tables")
    (row,) = read(tmp_path / "tables", "devices")
    assert number(row["cpu_over_cuda_baseline_energy_j_ratio"]) == pytest.approx(3.5)
    assert (row["cuda_energy_j_ratio"], row["cuda_hardware"], row["cpu_hardly_applied"]) == ("", "", "true")
    assert number(row["cpu_gpu_energy_j_ratio"]) == pytest.approx(0.7)  # an idle board, for a shorter time
    assert "dynamic-quantization (hardly applied)" in (tmp_path / "tables" / "devices.tex").read_text()


def test_a_second_kind_of_board_is_another_row(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out", noise=0.0)
    for place, (device, board, ratio) in enumerate(
        (("cpu", None, 0.7), ("cuda", "NVIDIA A100", 0.8), ("cuda", "NVIDIA H100", 0.9))
    ):
        row = {"device": device, "gpu_name": board, "gpu_uuid": board, "block_id": f"b{place}"}
        sweep.rounds(3, "m", family="f", energy_j=0.01, tactics={"bf16": ratio}, **row)
    write(analyse(sweep.finish()), tmp_path / "tables")
    rows = read(tmp_path / "tables", "devices")
    assert [(row["cuda_hardware"], number(row["cuda_energy_j_ratio"])) for row in rows] == [
        ("NVIDIA A100", pytest.approx(0.8)),
        ("NVIDIA H100", pytest.approx(0.9)),
    ]
    assert {(row["cpu_hardware"], row["cpu_energy_scope"]) for row in rows} == {("Some CPU", "cpu")}

"""Rows of tables whose truth is known: trainings with and without a result, and a tactic on two devices."""

from pathlib import Path

import pytest

from greenray.analysis import analyse
from greenray.report.tables import write
from tests.report.test_tables import number, read
from tests.support.synthetic import Sweep


def test_energy_to_a_share_of_the_best_is_that_of_the_run(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out", noise=0.0)
    sweep.train("m", family="f", epochs_j=[10.0, 20.0, 30.0], qualities=[0.5, 0.91, 1.0])
    sweep.train("n", family="g", epochs_j=[10.0])
    write(analyse(sweep.finish()), tmp_path / "tables")
    reached, never = read(tmp_path / "tables", "training")
    assert (reached["epochs_to_90_percent_of_best"], number(reached["energy_to_90_percent_of_best_j"])) == ("2", 30.0)
    assert number(reached["energy_to_95_percent_of_best_j"]) == 60.0
    assert (number(reached["evaluation_energy_j"]), reached["reason_no_share_of_best"]) == (3.0, "")
    assert (never["energy_to_90_percent_of_best_j"], never["best_accuracy"]) == ("", "")
    assert "not evaluated after each epoch" in never["reason_no_share_of_best"]


def test_a_training_that_diverged_is_a_row_with_its_reason(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out", noise=0.0)
    rate = '{"epochs": 1, "learning_rate": 0.1}'
    sweep.train("m", family="f", epochs_j=[10.0], hyperparameters=rate, round=1)
    why = "training diverged in epoch 1 (loss nan); try a lower learning rate"
    for round_, settings in ((2, rate), (1, rate.replace("0.1", "9.0"))):
        sweep.train(
            "m",
            family="f",
            epochs_j=[],
            hyperparameters=settings,
            round=round_,
            block_id=f"b{settings}{round_}",
            status="failed",
            error=why,
        )
    write(analyse(sweep.finish()), tmp_path / "tables")
    trained = read(tmp_path / "tables", "training")
    assert [(row["status"], row["energy_j"], row["reason"]) for row in trained] == [
        ("ok", "10.0", ""),
        *[("failed", "", why)] * 2,
    ]
    low, high = read(tmp_path / "tables", "learning_rates")
    assert (low["learning_rate"], low["runs"], low["runs_without_result"], number(low["energy_j"])) == ("0.1", "1", "1", 10.0)
    assert (high["learning_rate"], high["runs"], high["energy_j"], high["reason"]) == ("9.0", "0", "", why)
    assert " & 0 of 1" in (tmp_path / "tables" / "learning_rates.tex").read_text()


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

"""Arms on two devices: which saving is real, against stores in which it is known."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from greenray.analysis import Analysis, analyse
from greenray.analysis.devices import SideBySide, side_by_side
from greenray.analysis.devices_told import across_sentences, gpu_only_sentences, missing_sentences
from greenray.report import build, markdown
from tests.support.synthetic import Sweep

IDLE_W, DRAWN_W = 60.0, 62.0
FAMILIES = ("vit", "swin", "deit", "beit", "resnet")


def block(sweep: Sweep, model: str, *, round_: int, device: str, arms: dict[str, dict[str, float]], **columns: Any) -> None:
    """A visit: each arm by energy and time per sample and its board's power, the baseline at both ends."""
    shared: dict[str, Any] = {"model": model, "model_family": model, "visit": 1, "round": round_}
    shared["block_id"] = f"b-{model}-{device}-{round_}"
    shared |= {"device": device, "gpu_uuid": "GPU-1", "gpu_name": "NVIDIA H200", "idle_w": IDLE_W}
    shared |= columns
    jitter = math.exp(sweep.rng.gauss(0, 0.002))
    for order, (tactic, arm) in enumerate([*arms.items(), ("baseline", arms["baseline"])]):
        figures = {name: value * (1.0 if name == "board_w" else jitter) for name, value in arm.items()}
        bracket = {0: "open", len(arms): "close"}.get(order)
        sweep.cell(tactic, bracket=bracket, order_in_visit=order, **figures, **shared)


def lying(out: Path, *, models: tuple[str, ...] = ("vit",), rounds: int = 3) -> Sweep:
    """Quantised, the CPU needs half the time and so does the idle board beside it; but 1.8 times the energy in all."""
    sweep = Sweep(out=out, scope="gpu+cpu", noise=0.0, windows=1, samples=20)
    for model in models:
        for round_ in range(1, rounds + 1):
            cpu = {
                "baseline": {"energy_j": 1.0, "time_s": 0.010, "board_w": DRAWN_W},
                "dynamic-quantization": {"energy_j": 1.8, "time_s": 0.0045, "board_w": DRAWN_W},
                "compile": {"energy_j": 0.7, "time_s": 0.0075, "board_w": DRAWN_W},
            }
            cuda = {
                "baseline": {"energy_j": 0.5, "time_s": 0.001, "board_w": 310.0},
                "compile": {"energy_j": 0.4, "time_s": 0.0008, "board_w": 310.0},
            }
            block(sweep, model, round_=round_, device="cpu", arms=cpu)
            block(sweep, model, round_=round_, device="cuda", arms=cuda)
            sweep.cell(
                "dynamic-quantization",
                energy_j=None,
                status="unsupported",
                error="dynamic-quantization has CPU kernels only",
                device="cuda",
                model=model,
                model_family=model,
                round=round_,
                visit=1,
                block_id=f"b-{model}-cuda-{round_}",
            )
    return sweep


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lying(tmp_path_factory.mktemp("lying") / "out").finish()


def rows(out: Path) -> dict[str, SideBySide]:
    return {row.tactic: row for row in every(analyse(out))}


def side_by_side_of(sweep: Sweep) -> list[SideBySide]:
    return every(analyse(sweep.finish()))


def every(analysis: Analysis) -> list[SideBySide]:
    return side_by_side(analysis.arms, [finding.effect for finding in analysis.findings])


def test_the_gpus_meter_sees_a_saving_where_an_idle_board_idled_for_a_shorter_time(store: Path) -> None:
    found = rows(store)
    quantised = found["dynamic-quantization"]
    assert quantised.label == "vit"  # whatever the device
    assert quantised.cpu is not None
    assert quantised.cpu.gpu.energy is not None
    assert quantised.cpu.gpu.energy.ratio == pytest.approx(0.45, rel=0.01)
    assert quantised.cpu.gpu.energy.clear
    assert (quantised.cpu.gpu.power_w, quantised.cpu.gpu.idle_w) == (pytest.approx(DRAWN_W), IDLE_W)
    assert quantised.cpu.gpu.idle is True
    assert quantised.cpu.effect.energy is not None
    assert quantised.cpu.effect.energy.ratio == pytest.approx(1.8, rel=0.01)
    said = gpu_only_sentences([quantised])
    assert said == [
        "dynamic-quantization on the CPU, on vit: GPU energy falls by 55 % because an idle board idled for a shorter time (the "
        "board drew 62 W, and 60 W when idle); over the whole scope (gpu+cpu) it uses 1.8 times the energy: the saving is the "
        "GPU's meter's alone."
    ]


def test_a_saving_of_the_whole_is_said_to_be_real(store: Path) -> None:
    found = rows(store)
    (said,) = gpu_only_sentences([found["compile"]])
    assert said.endswith("over the whole scope (gpu+cpu) it uses 30 % less: that saving is real.")
    assert found["compile"].cuda is not None
    assert found["compile"].cuda.effect.energy is not None
    assert found["compile"].cuda.effect.energy.ratio == pytest.approx(0.8, rel=0.01)
    assert found["compile"].cuda.gpu.idle is False


def test_across_devices_rounds_are_paired_and_both_views_are_told(store: Path) -> None:
    quantised = rows(store)["dynamic-quantization"]
    assert quantised.cuda is None
    assert quantised.across is not None
    assert quantised.across.ratio == pytest.approx(1.8 / 0.5, rel=0.01)
    assert quantised.across.low is not None
    assert quantised.across_gpu is not None
    assert quantised.across_gpu.ratio == pytest.approx(0.0045 * DRAWN_W / (0.001 * 310.0), rel=0.01)
    (said,) = across_sentences([quantised])
    assert "10 % less by the GPU's meter, but 3.6 times the energy over the whole scope" in said


def arms_of(out: Path) -> str:
    """The section of the page."""
    return markdown.render(build(analyse(out))).split("## Arms and artefacts")[1].split("\n## ")[0]


def test_with_too_few_rounds_nothing_is_claimed(tmp_path: Path) -> None:
    found = rows(lying(tmp_path / "out", rounds=2).finish())
    assert found["dynamic-quantization"].across is not None
    assert found["dynamic-quantization"].across.low is None
    assert not gpu_only_sentences(found.values())
    assert not across_sentences(found.values())


def test_other_scopes_are_not_compared_across_devices(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out", scope="gpu+cpu", noise=0.0)
    for round_ in range(1, 4):
        arms = {name: {"energy_j": 1.0, "time_s": 0.01, "board_w": DRAWN_W} for name in ("baseline", "compile")}
        block(sweep, "vit", round_=round_, device="cpu", arms=arms)
        sweep.scope = "gpu"
        block(sweep, "vit", round_=round_, device="cuda", arms={"baseline": {"energy_j": 1.0, "time_s": 0.01, "board_w": 300.0}})
        sweep.scope = "gpu+cpu"
    (row,) = rows(sweep.finish()).values()
    assert row.across is None
    assert row.across_gpu is not None


def test_a_missing_arm_is_said_with_its_reason(store: Path) -> None:
    analysis = analyse(store)
    assert missing_sentences(rows(store).values(), analysis.arms) == [
        "dynamic-quantization has no CUDA arm (dynamic-quantization has CPU kernels only)."
    ]


def test_an_arm_is_missing_only_where_it_is(tmp_path: Path) -> None:
    sweep = lying(tmp_path / "out", models=("vit", "swin"))
    found = [row for row in side_by_side_of(sweep) if row.tactic == "compile"]
    without = [replace(row, cuda=None) if row.label == "swin" else row for row in found]
    for model, why in (("swin", "no compiler."), ("other", "too new")):
        shared = {"round": 4, "visit": 1, "block_id": f"b-{model}-cuda-4", "device": "cuda", "model": model}
        sweep.cell("compile", energy_j=None, status="unsupported", error=why, model_family=model, **shared)
    assert missing_sentences(without, analyse(sweep.out).arms) == ["compile has no CUDA arm on swin (no compiler)."]


def test_what_a_model_says_of_joules_is_not_called_real(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out", scope="gpu+cpu", noise=0.0, windows=1, samples=20, modelled=0.9)
    few = {"touched_parameters_share": 0.002, "touched_macs_share": 0.001}
    cpu = {"energy_j": 1.0, "time_s": 0.010, "board_w": DRAWN_W}
    on_cpu = {"baseline": cpu, "bf16": cpu | {"energy_j": 0.7, "time_s": 0.0075}}
    for round_ in range(1, 4):
        block(sweep, "deit", round_=round_, device="cpu", arms=on_cpu, **few)
        block(sweep, "deit", round_=round_, device="cuda", arms={"baseline": cpu | {"energy_j": 0.5, "time_s": 0.001}})
    (row,) = side_by_side_of(sweep)
    (said,) = gpu_only_sentences([row])
    assert said.startswith(
        "bf16 on the CPU, on deit, hardly applied (0.2 % of the parameters, 0.1 % of the multiply-accumulates): "
    )
    assert said.endswith("it is estimated from CPU time to use 30 % less: no meter says whether that saving is real.")
    (said,) = across_sentences([row])
    assert "over the whole scope as estimated from CPU time; the device changes" in said
    assert "Energies, or some of them, are estimated from CPU time." in arms_of(sweep.out)
    assert "hardly applied" in said


def test_models_alike_are_one_sentence_and_the_page_has_the_table(tmp_path: Path) -> None:
    analysis = analyse(lying(tmp_path / "out", models=FAMILIES).finish())
    twin = markdown.render(build(analysis)).split("## Arms and artefacts")[1].split("\n## ")[0]
    assert twin.count("dynamic-quantization on the CPU, on ") == 1
    assert "and 2 more: GPU energy falls by 55 %" in twin
    assert twin.count("| dynamic-quantization | +80") == len(FAMILIES)
    assert "| CPU, whole | CPU, GPU alone | board's power meanwhile | CUDA, whole | CUDA, GPU alone |" in twin
    (alike,) = [line for line in twin.splitlines() if line.startswith("| vit | compile | −30")]
    assert [cell.split(" %")[0] for cell in alike.split(" | ")[2:]] == ["−30.0", "−25.0", "62.0 W, 60.0 W idle", "−20.0", "−20.0"]
    assert "| dynamic-quantization | GPU energy | −55 %" in twin
    (energy,) = [line for line in twin.splitlines() if line.startswith("| dynamic-quantization | energy") and "CUDA" not in line]
    assert energy.endswith("| does not hold |")
    (gpu,) = [line for line in twin.splitlines() if line.startswith("| dynamic-quantization | GPU energy") and "CUDA" not in line]
    assert gpu.endswith("| holds |")


def test_a_store_of_one_device_says_so_in_a_sentence(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out")
    sweep.rounds(3, "m", family="f", energy_j=0.004, tactics={"compile": 0.8})
    twin = arms_of(sweep.finish())
    assert "Only the CPU arm was measured; its energies stand above. There is no CUDA arm to put beside it, and no board" in twin
    assert "CUDA, whole" not in twin


def test_a_tactic_without_an_arm_on_cuda_is_not_said_to_be_on_both(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out", scope="gpu+cpu", noise=0.0)
    arm = {"energy_j": 1.0, "time_s": 0.01, "board_w": DRAWN_W}
    for round_ in (1, 2, 3):
        block(sweep, "vit", round_=round_, device="cpu", arms={"baseline": arm, "dynamic-quantization": arm})
        block(sweep, "vit", round_=round_, device="cuda", arms={"baseline": arm})
    twin = arms_of(sweep.finish())
    assert "A tactic on the CPU beside the baseline on CUDA. What is paid for" in twin


def test_what_was_not_measured_is_not_said_to_be(tmp_path: Path) -> None:
    null = Sweep(out=tmp_path / "null")
    null.rounds(3, "m", family="f", energy_j=0.004, tactics={"null-check": 1.0})
    apart = Sweep(out=tmp_path / "apart")
    for device in ("cpu", "cuda"):
        apart.rounds(3, device, family="f", energy_j=0.004, tactics={"compile": 0.8}, device=device)
    for sweep, said in ((null, "No tactic was compared with its baseline"), (apart, "No tactic was measured on the CPU and on")):
        twin = arms_of(sweep.finish())
        assert said in twin
        assert "Only the" not in twin


def test_a_training_that_ended_early_is_seen_whole_by_the_gpus_meter_too(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out", scope="gpu+cpu", noise=0.0)
    board: dict[str, Any] = {
        "gpu_uuid": "GPU-1",
        "gpu_name": "NVIDIA H200",
        "board_w": DRAWN_W,
        "visit": 1,
        "hyperparameters": "{}",
    }
    for round_ in (1, 2, 3):
        shared = board | {"round": round_, "block_id": f"t{round_}"}
        for order, bracket in enumerate(("open", "close")):
            arm = {"bracket": bracket, "order_in_visit": order, "training_share": 1.0}
            sweep.train("m", family="f", epochs_j=[200.0] * 10, **shared | arm)
        arm = {"tactic": "early-stopping", "order_in_visit": 2, "training_share": 0.4}
        sweep.train("m", family="f", epochs_j=[200.0] * 4, **shared | arm)
    (row,) = side_by_side_of(sweep)
    assert row.cpu is not None
    assert row.cpu.gpu.energy is not None
    assert row.cpu.gpu.energy.ratio == pytest.approx(0.4)

"""Arms on two devices: which saving is real, against stores in which it is known."""

import math
from pathlib import Path
from typing import Any

import pytest

from greenray.analysis import analyse
from greenray.analysis.devices import SideBySide, boards, side_by_side
from greenray.analysis.devices_told import across_sentences, gpu_only_sentences, missing_sentences
from greenray.report import build, markdown
from tests.support.synthetic import Sweep

IDLE_W, DRAWN_W = 60.0, 62.0
FAMILIES = ("vit", "swin", "deit", "beit", "resnet")


def block(sweep: Sweep, model: str, *, round_: int, device: str, arms: dict[str, dict[str, float]]) -> None:
    """A visit: each arm by energy and time per sample and its board's power, the baseline at both ends."""
    shared: dict[str, Any] = {"model": model, "model_family": model, "visit": 1, "round": round_}
    shared["block_id"] = f"b-{model}-{device}-{round_}"
    shared |= {"device": device, "gpu_uuid": "GPU-1", "gpu_name": "NVIDIA H200", "idle_w": IDLE_W}
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
    analysis = analyse(out)
    found = side_by_side(analysis.arms, [finding.effect for finding in analysis.findings], boards(analysis.frames))
    return {row.tactic: row for row in found}


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


def test_models_alike_are_one_sentence_and_the_page_has_the_table(tmp_path: Path) -> None:
    analysis = analyse(lying(tmp_path / "out", models=FAMILIES).finish())
    twin = markdown.render(build(analysis)).split("## Arms and artefacts")[1].split("\n## ")[0]
    assert twin.count("dynamic-quantization on the CPU, on ") == 1
    assert "and 2 more: GPU energy falls by 55 %" in twin
    assert twin.count("| dynamic-quantization | +80") == len(FAMILIES)
    assert "| dynamic-quantization | GPU energy | −55 %" in twin
    (energy,) = [line for line in twin.splitlines() if line.startswith("| dynamic-quantization | energy") and "CUDA" not in line]
    assert energy.endswith("| does not hold |")
    (gpu,) = [line for line in twin.splitlines() if line.startswith("| dynamic-quantization | GPU energy") and "CUDA" not in line]
    assert gpu.endswith("| holds |")


def test_a_store_of_one_device_says_so_in_a_sentence(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out")
    sweep.rounds(3, "m", family="f", energy_j=0.004, tactics={"compile": 0.8})
    twin = markdown.render(build(analyse(sweep.finish()))).split("## Arms and artefacts")[1].split("\n## ")[0]
    assert "Only the CPU arm was measured; its energies stand above. There is no CUDA arm to put beside it, and no board" in twin
    assert "CUDA, whole" not in twin

"""Switches of the process: on a board that is played on the processor, which rounds as TF32 does."""

import pytest
import torch
from torch import nn

from greenray.cell.runtime import switches
from greenray.errors import NotApplied, Unsupported
from greenray.tactics.base import Context
from greenray.tactics.registry import Chain, build
from tests.tactics.nets import NoLinear, answers


@pytest.fixture(autouse=True)
def _off() -> None:
    """As a cell sets it."""
    torch.set_float32_matmul_precision("highest")
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


def test_tf32_shows_in_a_product_and_in_the_row(net: nn.Module, cuda: Context) -> None:
    before = answers(net, cuda)
    assert switches("cuda") == {"float32_matmul_precision": "highest", "tf32": False, "cudnn_benchmark": False}
    tactic = build("tf32")
    tactic.check(cuda)
    model = tactic.apply(net, cuda)
    evidence = tactic.evidence(model)
    assert (evidence["modules_float32"], evidence["matmul_tf32"], evidence["cudnn_tf32"]) == (3, True, True)
    assert 1e-5 < evidence["product_error"] < 1e-2
    assert 0 < (answers(model, cuda) - before).abs().max() < 0.01 * before.abs().max()
    assert switches("cuda") == {"float32_matmul_precision": "high", "tf32": True, "cudnn_benchmark": False}


def test_tf32_that_the_environment_overrules_is_not_applied(net: nn.Module, context: Context) -> None:
    """Here nobody rounds: the switch is on and products stay exact."""
    with pytest.raises(NotApplied, match="as exact as before") as caught:
        build("tf32").apply(net, Context(device="cpu", example=context.example))
    assert caught.value.evidence["matmul_tf32"] is True


@pytest.mark.parametrize("chain", [("bf16", "tf32"), ("tf32", "bf16")])
def test_tf32_of_a_cast_model_is_not_applied(chain: tuple[str, str], net: nn.Module, cuda: Context) -> None:
    tactics = Chain((name, {}) for name in chain)
    with pytest.raises(NotApplied, match="no float32 layer"):
        tactics.evidence(tactics.apply(net, cuda))


@pytest.mark.parametrize("chain", [("tf32", "bf16"), ("tf32", "fp16"), ("tf32", "autocast"), ("autocast", "tf32")])
@pytest.mark.usefixtures("cuda")
def test_tf32_is_not_asked_for_beside_a_lower_precision(chain: tuple[str, str]) -> None:
    with pytest.raises(Unsupported, match=r"tf32 rounds products of float32 tensors, .* use one of the two"):
        Chain((name, {}) for name in chain).check(Context(device="cuda"))


@pytest.mark.usefixtures("cuda")
def test_what_an_experiment_trains_in_already_is_no_tactic() -> None:
    with pytest.raises(NotApplied, match="trains in tf32 already"):
        build("tf32").check(Context(device="cuda", training=True, precision="tf32"))
    with pytest.raises(Unsupported, match="bf16 leaves none"):
        build("tf32").check(Context(device="cuda", training=True, precision="bf16"))
    with pytest.raises(Unsupported, match=r"under autocast already \(precision: fp16\)"):
        build("autocast").check(Context(device="cuda", training=True, precision="fp16"))
    build("autocast").check(Context(device="cuda", training=True, precision="tf32"))


def test_cudnn_benchmark_is_switched_on(net: nn.Module, cuda: Context) -> None:
    tactic = build("cudnn-benchmark")
    tactic.check(cuda)
    model = tactic.apply(net, cuda)
    assert tactic.evidence(model) == {"convolutions": 1, "cudnn_benchmark": True}
    assert switches("cuda")["cudnn_benchmark"] is True
    assert tactic.touched() == {"conv"}


def test_cudnn_benchmark_without_a_convolution_is_not_applied(cuda: Context) -> None:
    with pytest.raises(NotApplied, match="no convolution"):
        build("cudnn-benchmark").apply(NoLinear().eval(), cuda)


@pytest.mark.parametrize(("name", "instead"), [("tf32", "use bf16 on cpu"), ("cudnn-benchmark", "use channels-last or compile")])
def test_on_cpu_another_is_named(name: str, instead: str) -> None:
    with pytest.raises(Unsupported, match=instead):
        build(name).check(Context(device="cpu"))


def test_a_board_before_ampere_has_no_tf32(cuda: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: (7, 5))
    with pytest.raises(Unsupported, match=r"this board has 7\.5: use fp16"):
        build("tf32").check(cuda)

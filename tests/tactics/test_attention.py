"""Implementations of attention on a small vision transformer: told by the operations that run."""

import importlib.util

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from greenray.cell.runtime import attention
from greenray.errors import NotApplied, Unsupported
from greenray.tactics.base import Context
from greenray.tactics.registry import Chain, build
from tests.tactics.nets import answers, vit

SDPA = {"aten._scaled_dot_product_flash_attention_for_cpu": 2}  # a layer each


def test_eager_runs_the_models_own_softmax(context: Context) -> None:
    model = vit()
    before = answers(model, context)
    tactic = build("attention")
    tactic.check(context)
    evidence = tactic.evidence(tactic.apply(model, context))
    assert evidence == {"operations": {"aten._softmax": 2}, "operations_before": SDPA, "implementation": "eager"}
    assert attention(model) == "eager"
    torch.testing.assert_close(answers(model, context), before, rtol=1e-4, atol=1e-5)


def test_a_kernel_of_sdpa_is_told_by_its_name(context: Context) -> None:
    tactic = build("attention", {"implementation": "sdpa", "kernel": "math"})
    with torch.inference_mode():  # as in a cell
        model = tactic.apply(vit(), context)
    evidence = tactic.evidence(model)
    assert evidence["operations_before"] == SDPA
    assert evidence["operations"] == {"aten._safe_softmax": 2}
    assert evidence["implementation"] == "sdpa"


@pytest.mark.parametrize("kernel", ["auto", "flash"])
def test_what_ran_before_is_not_applied(kernel: str, context: Context) -> None:
    with pytest.raises(NotApplied, match="same operations") as caught:
        build("attention", {"implementation": "sdpa", "kernel": kernel}).apply(vit(), context)
    assert caught.value.evidence["operations"] == SDPA


def test_a_model_without_attention_is_not_applied(net: nn.Module, context: Context) -> None:
    with pytest.raises(NotApplied, match="no attention"):
        build("attention").apply(net, context)


def test_a_model_that_lets_nobody_choose_is_unsupported(context: Context) -> None:
    class Own(nn.Module):
        def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
            rows = pixel_values.flatten(2)
            return nn.functional.scaled_dot_product_attention(rows, rows, rows).flatten(1)

    with pytest.raises(Unsupported, match="does not let its attention be chosen"):
        build("attention").apply(Own().eval(), context)


def test_a_kernel_that_is_missing_is_unsupported(context: Context) -> None:
    """No kernel is left for float32 where only that of CUDA is allowed."""
    with pytest.raises(Unsupported, match=r"cast .* before it may help"):
        build("attention", {"implementation": "sdpa", "kernel": "cudnn"}).apply(Refusing(), context)


class Refusing(nn.Module):
    """Attention as on a board whose kernels do not take the tensors: sdpa's math is not allowed either."""

    def __init__(self) -> None:
        super().__init__()
        self.config = type("Config", (), {"_attn_implementation": "sdpa"})()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        rows = pixel_values.flatten(2)
        if not torch.backends.cuda.math_sdp_enabled():
            raise RuntimeError("No available kernel. Aborting execution.")
        return nn.functional.scaled_dot_product_attention(rows, rows, rows).flatten(1)


def test_eager_attention_is_not_compiled() -> None:
    with pytest.raises(Unsupported, match="puts sdpa back"):
        Chain([("attention", {}), ("compile", {})]).check(Context(device="cpu"))
    Chain([("attention", {"implementation": "sdpa", "kernel": "math"}), ("compile", {})]).check(Context(device="cpu"))


def test_flash_attn_needs_a_board_and_the_package(cuda: Context) -> None:
    flash = build("attention", {"implementation": "flash"})
    with pytest.raises(Unsupported, match="implementation: sdpa on cpu"):
        flash.check(Context(device="cpu"))
    if importlib.util.find_spec("flash_attn") or importlib.util.find_spec("flash_attn_interface"):
        pytest.skip("flash-attn is installed")
    with pytest.raises(Unsupported, match="sdpa with kernel: flash"):
        flash.check(cuda)


@pytest.mark.parametrize("kernel", ["mem_efficient", "cudnn"])
def test_kernels_of_boards_are_unsupported_on_cpu(kernel: str, cuda: Context) -> None:
    tactic = build("attention", {"implementation": "sdpa", "kernel": kernel})
    with pytest.raises(Unsupported, match="kernel: flash or math"):
        tactic.check(Context(device="cpu"))
    tactic.check(cuda)


def test_a_kernel_without_sdpa_is_an_error_of_the_config() -> None:
    with pytest.raises(ValidationError, match="set implementation: sdpa"):
        build("attention", {"implementation": "eager", "kernel": "math"})

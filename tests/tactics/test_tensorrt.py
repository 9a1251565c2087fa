"""TensorRT: what it says where it cannot run, and with a GPU and its package, engines that answer as torch does."""

import importlib.util
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import nn

from greenray.errors import Unsupported
from greenray.tactics.base import Context
from greenray.tactics.registry import Chain, build
from greenray.tactics.tensorrt import TensorRT

MISSING = importlib.util.find_spec("torch_tensorrt") is None


def test_where_it_cannot_run_it_says_what_can() -> None:
    tactic = build("tensorrt")
    with pytest.raises(Unsupported, match=r"devices: \[cuda\].*onnxruntime on the cpu"):
        tactic.check(Context(device="cpu"))
    with pytest.raises(Unsupported, match="inference experiment"):
        tactic.check(Context(device="cuda", training=True))
    with pytest.raises(Unsupported, match="put bf16 before tensorrt"):
        Chain([("tensorrt", {}), ("bf16", {})]).check(Context(device="cuda"))


@pytest.mark.skipif(not MISSING, reason="torch-tensorrt is installed")
def test_without_its_package_it_names_it() -> None:
    with pytest.raises(Unsupported, match=r"pip install greenray\[tensorrt\]"):
        build("tensorrt").check(Context(device="cuda"))


@pytest.fixture
def tf32() -> Iterator[Callable[[bool], None]]:
    """Sets whether torch computes in TF32."""
    before = torch.backends.cuda.matmul.allow_tf32

    def allow(allowed: bool) -> None:
        torch.backends.cuda.matmul.allow_tf32 = allowed

    yield allow
    allow(before)


def test_precision_is_the_model_s_own_unless_it_is_asked_for(tf32: Callable[[bool], None]) -> None:
    tf32(False)
    tactic = build("tensorrt")
    assert isinstance(tactic, TensorRT)
    assert tactic.options() == {"min_block_size": 5, "use_explicit_typing": True, "disable_tf32": True}
    tf32(True)
    assert tactic.options()["disable_tf32"] is False
    low = build("tensorrt", {"precision": "bf16", "optimization_level": 4})
    assert isinstance(low, TensorRT)
    assert low.options() == {
        "min_block_size": 5,
        "use_explicit_typing": True,
        "disable_tf32": False,
        "optimization_level": 4,
        "enable_autocast": True,
        "autocast_low_precision_type": torch.bfloat16,
    }


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available() or MISSING, reason="no CUDA device, or no torch-tensorrt")
@torch.inference_mode()
def test_engines_answer_as_torch_does() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(
                nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(128, 10)
            )

        def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
            return self.layers(pixel_values)

    model = Net().eval().cuda()
    context = Context(device="cuda", example={"pixel_values": torch.randn(4, 1, 8, 8, device="cuda")})
    expected = model(**context.example)
    tactic = build("tensorrt")
    tactic.check(Context(device="cuda"))
    compiled = tactic.apply(model, context)
    assert tactic.evidence(compiled)["engines"] >= 1
    assert torch.allclose(compiled(**context.example), expected, atol=1e-2)

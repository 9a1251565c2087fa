"""2:4 sparsity: which weights survive, which layers are left as they are, and what it says where it cannot run."""

import pytest
import torch
from torch import nn

from greenray.errors import NotApplied, Unsupported
from greenray.tactics.base import Context
from greenray.tactics.registry import Chain, build
from greenray.tactics.sparse import refusal, two_of_four


def test_the_two_largest_of_each_four_stay_as_they_are() -> None:
    weight = torch.tensor([[3.0, -4.0, 1.0, 2.0, 0.0, 0.0, -1.0, 0.5], [1.0, 1.0, 1.0, 1.0, 5.0, -6.0, 7.0, -8.0]])
    sparse = two_of_four(weight)
    assert sparse.tolist()[0] == [3.0, -4.0, 0.0, 0.0, 0.0, 0.0, -1.0, 0.5]
    assert sparse.tolist()[1][4:] == [0.0, 0.0, 7.0, -8.0]
    random = torch.randn(64, 128, dtype=torch.bfloat16)
    kept = two_of_four(random)
    assert (kept.view(-1, 4).count_nonzero(dim=1) == 2).all()
    assert (kept[kept != 0] == random[kept != 0]).all()
    assert (random.view(-1, 4).abs().topk(2).values == kept.view(-1, 4).abs().topk(2).values).all()


@pytest.fixture(autouse=True)
def library(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The library whose bounds are known here, where there may be no board."""
    monkeypatch.setattr(torch.backends.cusparselt, "is_available", lambda: True)
    return monkeypatch


@pytest.mark.parametrize(
    ("rows", "columns", "dtype", "reason"),
    [
        (64, 128, torch.bfloat16, None),
        (64, 128, torch.float16, None),
        (10, 128, torch.bfloat16, "10x128 is not a multiple of 16x16"),
        (64, 100, torch.float16, "64x100 is not a multiple of 16x16"),
        (64, 128, torch.float32, "float32 cannot be packed"),
    ],
)
def test_layers_are_chosen_by_the_bounds_of_the_kernels(rows: int, columns: int, dtype: torch.dtype, reason: str | None) -> None:
    assert refusal(torch.empty(rows, columns, dtype=dtype, device="meta")) == reason


def test_without_that_library_the_bounds_are_those_of_torch_s_own_kernels(library: pytest.MonkeyPatch) -> None:
    library.setattr(torch.backends.cusparselt, "is_available", lambda: False)
    assert refusal(torch.empty(16, 64, dtype=torch.float16, device="meta")) == "16x64 is not a multiple of 32x64"


@pytest.fixture
def capability(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: (9, 0))
    return monkeypatch


def test_where_it_cannot_run_it_says_what_can(capability: pytest.MonkeyPatch) -> None:
    tactic = build("sparse-2-4")
    tactic.check(Context(device="cuda"))
    with pytest.raises(Unsupported, match=r"devices: \[cuda\].*prune-local"):
        tactic.check(Context(device="cpu"))
    with pytest.raises(Unsupported, match="inference experiment"):
        tactic.check(Context(device="cuda", training=True))
    with pytest.raises(Unsupported, match=r"\[bf16, sparse-2-4\]"):
        Chain([("sparse-2-4", {}), ("bf16", {})]).check(Context(device="cuda"))
    capability.setattr(torch.cuda, "get_device_capability", lambda *_: (7, 5))
    with pytest.raises(Unsupported, match=r"8\.0; this board has 7\.5"):
        tactic.check(Context(device="cuda"))


def test_weights_of_32_bits_need_a_cast_before() -> None:
    with pytest.raises(Unsupported, match=r"\[bf16, sparse-2-4\]"):
        build("sparse-2-4").apply(nn.Linear(64, 64), Context(device="cuda"))


def test_a_model_without_a_layer_that_fits_is_not_applied() -> None:
    with pytest.raises(NotApplied, match="none of the 1 linear layers has a shape") as caught:
        build("sparse-2-4").apply(nn.Sequential(nn.Linear(20, 10)).bfloat16(), Context(device="cuda"))
    assert caught.value.evidence["skipped"] == {"0": "10x20 is not a multiple of 16x16"}
    with pytest.raises(NotApplied, match="no linear layer"):
        build("sparse-2-4").apply(nn.Sequential(nn.Conv2d(1, 8, 3)).bfloat16(), Context(device="cuda"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@torch.inference_mode()
def test_packed_weights_answer_as_the_pruned_ones_do() -> None:
    model = nn.Sequential(nn.Linear(256, 512), nn.ReLU(), nn.Linear(512, 10)).bfloat16().cuda()
    example = torch.randn(64, 256, dtype=torch.bfloat16, device="cuda")
    pruned = nn.functional.linear(example, two_of_four(model[0].weight), model[0].bias).relu()
    expected = nn.functional.linear(pruned, model[2].weight, model[2].bias)
    tactic = build("sparse-2-4")
    tactic.check(Context(device="cuda"))
    packed = tactic.apply(model, Context(device="cuda"))
    evidence = tactic.evidence(packed)
    assert (evidence["modules_packed"], evidence["modules_converted"], evidence["modules_skipped"]) == (1, 1, 1)
    assert torch.allclose(packed(example), expected, atol=0.05, rtol=0.05)

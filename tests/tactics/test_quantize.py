"""torchao's int8, int4 and fp8 on small real models: what is converted, what is skipped and why, and when it is refused."""

from collections.abc import Callable

import pytest
import torch
from packaging.version import Version
from torch import nn

from greenray.errors import NotApplied, Unsupported
from greenray.tactics.base import Context
from greenray.tactics.registry import Chain, build
from tests.tactics.nets import Net, NoLinear, answers, vit

ROWS_ON_CPU = pytest.mark.skipif(
    Version(torch.__version__) < Version("2.13"), reason="torch._scaled_mm had no scales by rows on the processor"
)
FAMILY = ["int8-dynamic", "int8-weight-only", "int4-weight-only", "fp8-dynamic"]


class Wide(Net):
    """Layers that int4 takes in groups of 256, and a head that fp8 takes too."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(8 * 64, 256)
        self.head = nn.Linear(256, 16)


def wide() -> nn.Module:
    torch.manual_seed(0)
    return Wide().eval()


def apart(model: nn.Module, other: nn.Module, context: Context) -> float:
    """How far answers are apart, as a share of the largest."""
    one, two = answers(model, context).float(), answers(other, context).float()
    return float((one - two).abs().max() / two.abs().max())


@pytest.mark.parametrize("name", ["int8-dynamic", "int8-weight-only"])
def test_int8_converts_and_stays_close(name: str, net: nn.Module, context: Context) -> None:
    before = answers(net, context)
    tactic = build(name)
    tactic.check(context)
    model = tactic.apply(net, context)
    after = answers(model, context)
    evidence = tactic.evidence(model)
    assert (evidence["modules_converted"], evidence["modules_skipped"]) == (2, 0)
    assert evidence["weight_types"] == ["Int8Tensor"]
    assert evidence["kernels_device"] == "cpu"
    assert 0 < (after - before).abs().max() < 0.1 * before.abs().max()


@pytest.mark.usefixtures("cuda")
def test_int8_dynamic_on_cuda_needs_compile_behind_it(check: Callable[[Chain, str], None]) -> None:
    with pytest.raises(Unsupported, match=r"asks repr\(\) of every activation.*write int8-dynamic\+compile"):
        check(Chain([("int8-dynamic", {})]), "cuda")
    with pytest.raises(Unsupported, match="put int8-dynamic before compile"):
        check(Chain([("compile", {}), ("int8-dynamic", {})]), "cuda")
    check(Chain([("bf16", {}), ("int8-dynamic", {}), ("compile", {})]), "cuda")
    build("int8-dynamic").check(Context(device="cpu"))


def test_int8_dynamic_skips_what_the_cuda_kernel_does_not_take(net: nn.Module, cuda: Context) -> None:
    tactic = build("int8-dynamic")
    evidence = tactic.evidence(tactic.apply(net, cuda))
    assert evidence["skipped"] == {"head": "32x10 is not a multiple of 8"}
    assert evidence["modules_converted"] == 1
    small = Context(device="cuda", example={"pixel_values": cuda.example["pixel_values"][:16]})
    with pytest.raises(NotApplied, match="usable shape") as caught:
        build("int8-dynamic").apply(Net().eval(), small)
    assert "16 rows" in caught.value.evidence["skipped"]["body"]


def test_fp8_skips_what_is_no_multiple_of_16(net: nn.Module, cuda: Context) -> None:
    tactic = build("fp8-dynamic")
    tactic.check(cuda)
    model = tactic.apply(net, cuda)
    evidence = tactic.evidence(model)
    assert evidence["skipped"] == {"head": "32x10 is not a multiple of 16"}
    assert (evidence["modules_converted"], evidence["weight_types"]) == (1, ["Float8Tensor"])


@pytest.mark.parametrize(
    ("cast", "granularity"),
    [((), "tensor"), pytest.param((("bf16", {}),), "row", marks=ROWS_ON_CPU)],
)
def test_fp8_stays_close(cast: tuple[tuple[str, dict[str, object]], ...], granularity: str, cuda: Context) -> None:
    chain = Chain([*cast, ("fp8-dynamic", {"granularity": granularity})])
    chain.check(cuda)
    model = chain.apply(wide(), cuda)
    assert 0 < apart(model, wide(), cuda) < 0.2
    assert chain.evidence(model)["fp8-dynamic"]["modules_converted"] == 2


def test_fp8_by_rows_asks_for_bf16(cuda: Context) -> None:
    with pytest.raises(Unsupported, match="write bf16 before it"):
        build("fp8-dynamic", {"granularity": "row"}).apply(wide(), cuda)


@pytest.mark.parametrize("cast", [(), (("bf16", {}),)])
def test_int4_packs_and_stays_near(cast: tuple[tuple[str, dict[str, object]], ...], cuda: Context) -> None:
    chain = Chain([*cast, ("int4-weight-only", {"group_size": 32})])
    chain.check(cuda)
    model = chain.apply(wide(), cuda)
    assert 0 < apart(model, wide(), cuda) < 0.5
    evidence = chain.evidence(model)["int4-weight-only"]
    assert (evidence["modules_converted"], evidence["modules_padded"]) == (2, 2)
    assert evidence["weight_types"] == ["Int4TilePackedTo4dTensor"]


def test_int4_skips_what_does_not_fill_groups(cuda: Context) -> None:
    model = wide()
    model.head = nn.Linear(256, 16)
    tactic = build("int4-weight-only", {"group_size": 256})
    assert tactic.evidence(tactic.apply(model, cuda))["modules_skipped"] == 0
    tactic = build("int4-weight-only", {"group_size": 64})  # only the second layer of each perceptron has 64 inputs
    evidence = tactic.evidence(tactic.apply(vit(), cuda))
    assert evidence["modules_converted"] == 2
    assert set(evidence["skipped"].values()) == {"32 inputs are not a multiple of the group of 64"}


@pytest.mark.parametrize(
    ("name", "instead"), [("int4-weight-only", "use int8-weight-only on cpu"), ("fp8-dynamic", "use int8-dynamic on cpu")]
)
def test_on_cpu_a_cuda_tactic_names_another(name: str, instead: str) -> None:
    with pytest.raises(Unsupported, match=instead):
        build(name).check(Context(device="cpu"))


def test_an_old_board_is_told_what_it_can_run(cuda: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: (8, 0))
    build("int4-weight-only").check(cuda)
    with pytest.raises(Unsupported, match=r"needs compute capability 8\.9 .* has 8\.0: use int8-dynamic\+compile"):
        build("fp8-dynamic").check(cuda)


@pytest.mark.parametrize("name", FAMILY)
class TestAll:
    def test_nothing_to_convert_is_not_applied(self, name: str, cuda: Context) -> None:
        with pytest.raises(NotApplied, match="no linear layer"):
            build(name).apply(NoLinear().eval(), cuda)

    def test_quantising_twice_is_not_applied(self, name: str, cuda: Context) -> None:
        model = build("int8-weight-only").apply(wide(), cuda)
        with pytest.raises(NotApplied):
            build(name).apply(model, cuda)

    def test_masked_layers_are_refused_in_a_sentence(self, name: str, cuda: Context) -> None:
        with pytest.raises(Unsupported, match="permanent: false"):
            Chain([("prune-global", {"permanent": False}), (name, {})]).apply(wide(), cuda)

    def test_no_training(self, name: str) -> None:
        with pytest.raises(Unsupported, match="cannot be trained"):
            build(name).check(Context(device="cpu", training=True))

    @pytest.mark.parametrize("cast", ["bf16", "fp16"])
    def test_a_cast_comes_first(self, name: str, cast: str) -> None:
        with pytest.raises(Unsupported, match=rf"write {cast}\+{name}"):
            build(name).check(Context(device="cpu", later=(cast, "compile")))

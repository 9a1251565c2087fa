"""Every tactic on a small real model: what it changes, what its evidence says, and when it refuses."""

import copy
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from greenray.errors import NotApplied, Unsupported
from greenray.tactics.base import Context
from greenray.tactics.int8 import _refused_by_cuda
from greenray.tactics.prune import make_permanent
from greenray.tactics.registry import TACTICS, Chain, build


class Net(nn.Module):
    """A convolution, two linear layers, and the calling convention of an image classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, padding=1)
        self.body = nn.Linear(8 * 64, 32)
        self.head = nn.Linear(32, 10)

    def forward(self, pixel_values: Tensor) -> Tensor:
        return self.head(self.body(self.conv(pixel_values).relu().flatten(1)).relu())


class NoLinear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(10))

    def forward(self, pixel_values: Tensor) -> Tensor:
        return pixel_values.flatten(1)[:, :10] * self.scale


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    return Net().eval()


@pytest.fixture
def context() -> Context:
    return Context(device="cpu", example={"pixel_values": torch.randn(32, 1, 8, 8, generator=torch.Generator().manual_seed(1))})


@pytest.fixture(autouse=True)
def _fresh_dynamo() -> Iterator[None]:
    yield
    torch._dynamo.reset()


def answers(model: nn.Module, context: Context) -> Tensor:
    with torch.inference_mode():
        return model(**context.example)


@pytest.mark.parametrize("name", ["baseline", "null-check"])
def test_the_baseline_is_the_model_itself_by_whatever_name(name: str, net: nn.Module, context: Context) -> None:
    before = [parameter.clone() for parameter in net.parameters()]
    assert build(name).apply(net, context) is net
    assert all(torch.equal(now, then) for now, then in zip(net.parameters(), before, strict=True))


def test_dynamic_quantization_converts_every_linear_layer(net: nn.Module, context: Context) -> None:
    before = answers(net, context)
    tactic = build("dynamic-quantization")
    tactic.check(context)
    model = tactic.apply(net, context)
    after = answers(model, context)
    evidence = tactic.evidence(model)
    assert (evidence["modules_converted"], evidence["modules_eligible"]) == (2, 2)
    assert evidence["weights_converted"] == 8 * 64 * 32 + 32 * 10
    assert evidence["kernels_device"] == "cpu"
    assert 0 < (after - before).abs().max() < 0.1 * before.abs().max()


def test_dynamic_quantization_on_cuda_names_the_two_ways_out() -> None:
    with pytest.raises(Unsupported, match=r"devices: \[cpu\].*int8-dynamic"):
        build("dynamic-quantization").check(Context(device="cuda", example={}))


def test_int8_dynamic_converts_and_stays_close(net: nn.Module, context: Context) -> None:
    before = answers(net, context)
    tactic = build("int8-dynamic")
    tactic.check(context)
    model = tactic.apply(net, context)
    after = answers(model, context)
    evidence = tactic.evidence(model)
    assert (evidence["modules_converted"], evidence["modules_skipped"]) == (2, 0)
    assert evidence["kernels_device"] == "cpu"
    assert 0 < (after - before).abs().max() < 0.1 * before.abs().max()


def test_int8_dynamic_knows_which_shapes_the_cuda_kernel_refuses(net: nn.Module, context: Context) -> None:
    linear = {name: module for name, module in net.named_modules() if isinstance(module, nn.Linear)}
    assert _refused_by_cuda(net, linear, context) == {"head": "32x10 is not a multiple of 8"}
    small = Context(device="cpu", example={"pixel_values": context.example["pixel_values"][:16]})
    assert "16 rows" in _refused_by_cuda(net, linear, small)["body"]
    assert all(not module._forward_pre_hooks for module in linear.values())


@pytest.mark.parametrize("name", ["prune-local", "prune-global"])
@pytest.mark.parametrize("permanent", [True, False])
def test_pruning_reaches_the_share_it_was_told(name: str, permanent: bool, net: nn.Module, context: Context) -> None:
    tactic = build(name, {"amount": 0.5, "permanent": permanent})
    model = tactic.apply(net, context)
    answers(model, context)
    evidence = tactic.evidence(model)
    assert evidence["sparsity_prunable"] == pytest.approx(0.5, abs=0.01)
    weights = [net.conv.weight, net.body.weight, net.head.weight]
    zeros = sum(int((weight == 0).sum()) for weight in weights)
    assert zeros / sum(weight.numel() for weight in weights) == pytest.approx(0.5, abs=0.01)
    assert zeros / sum(p.numel() for p in net.parameters()) == pytest.approx(evidence["sparsity_model"], abs=0.01)
    assert hasattr(net.conv, "weight_mask") is not permanent


def test_local_pruning_treats_layers_alike_and_global_does_not(context: Context) -> None:
    spread = {}
    for name in ("prune-local", "prune-global"):
        torch.manual_seed(0)
        model = Net().eval()
        with torch.no_grad():
            model.head.weight.mul_(100)
        tactic = build(name, {"amount": 0.5})
        evidence = tactic.evidence(tactic.apply(model, context))
        spread[name] = (evidence["sparsity_layer_min"], evidence["sparsity_layer_max"], evidence["sparsity_layer_min_name"])
    assert spread["prune-local"][:2] == pytest.approx((0.5, 0.5), abs=0.02)
    assert spread["prune-global"][0] < 0.02
    assert spread["prune-global"][2] == "head"


def test_masks_and_permanent_zeros_compute_the_same(net: nn.Module, context: Context) -> None:
    other = copy.deepcopy(net)
    masked = build("prune-global", {"amount": 0.5, "permanent": False}).apply(net, context)
    fixed = build("prune-global", {"amount": 0.5}).apply(other, context)
    torch.testing.assert_close(answers(masked, context), answers(fixed, context))
    make_permanent(masked)
    assert masked.state_dict().keys() == fixed.state_dict().keys()


def test_bf16_casts_the_model_and_its_inputs(net: nn.Module, context: Context) -> None:
    tactic = build("bf16")
    model = tactic.apply(net, context)
    assert answers(model, context).dtype == torch.bfloat16
    assert tactic.evidence(model)["elements_converted"] == sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize("name", ["dynamic-quantization", "int8-dynamic", "prune-local", "prune-global"])
def test_nothing_to_convert_is_not_applied(name: str, context: Context) -> None:
    with pytest.raises(NotApplied):
        build(name).apply(NoLinear().eval(), context)


def test_casting_twice_is_not_applied(net: nn.Module, context: Context) -> None:
    with pytest.raises(NotApplied, match="already"):
        Chain([("bf16", {}), ("bf16", {})]).apply(net, context)


def test_an_amount_too_small_to_zero_anything_is_not_applied(context: Context) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    with pytest.raises(NotApplied, match="no further weight"):
        build("prune-local", {"amount": 0.001}).apply(model, context)


@pytest.mark.parametrize("name", ["dynamic-quantization", "int8-dynamic"])
def test_quantising_masked_layers_is_refused_in_a_sentence(name: str, net: nn.Module, context: Context) -> None:
    with pytest.raises(Unsupported, match="permanent: false"):
        Chain([("prune-global", {"permanent": False}), (name, {})]).apply(net, context)


class TestCompile:
    def test_counts_one_graph_and_computes_the_same(self, net: nn.Module, context: Context) -> None:
        before = answers(net, context)
        tactic = build("compile")
        tactic.check(context)
        keys = list(net.state_dict())
        model = tactic.apply(net, context)
        torch.testing.assert_close(answers(model, context), before, rtol=1e-4, atol=1e-5)
        evidence = tactic.evidence(model)
        assert (evidence["graphs"], evidence["graph_breaks"], evidence["recompiles"]) == (1, 0, 0)
        assert list(model.state_dict()) == keys

    def test_a_new_shape_moves_the_compilation_count(self, net: nn.Module, context: Context) -> None:
        tactic = build("compile")
        model = tactic.apply(net, context)
        count = tactic.compilations()
        answers(model, context)
        assert tactic.compilations() == count
        model(pixel_values=context.example["pixel_values"][:7])
        assert tactic.compilations() > count
        assert tactic.evidence(model)["recompiles"] == 1

    def test_graph_breaks_are_counted_and_fullgraph_refuses_them(self, context: Context) -> None:
        class Breaks(Net):
            def forward(self, pixel_values: Tensor) -> Tensor:
                hidden = self.conv(pixel_values)
                torch._dynamo.graph_break()
                return self.head(self.body(hidden.flatten(1)))

        tactic = build("compile")
        model = tactic.apply(Breaks().eval(), context)
        assert tactic.evidence(model)["graph_breaks"] == 1
        assert tactic.evidence(model)["graphs"] == 2
        torch._dynamo.reset()  # else the code compiled above is found again
        with pytest.raises(Unsupported, match="fullgraph"):
            build("compile", {"fullgraph": True}).apply(Breaks().eval(), context)

    def test_code_that_dynamo_skips_is_not_applied(self, context: Context) -> None:
        class Skipped(nn.Module):
            @torch.compiler.disable
            def forward(self, pixel_values: Tensor) -> Tensor:
                return pixel_values.flatten(1)

        tactic = build("compile")
        model = tactic.apply(Skipped().eval(), context)
        with pytest.raises(NotApplied, match="no graph"):
            tactic.evidence(model)


@pytest.mark.parametrize(
    "names",
    [("bf16", "compile"), ("prune-global", "dynamic-quantization"), ("prune-local", "compile"), ("int8-dynamic", "compile")],
)
def test_chains_apply_in_order_and_keep_everyones_evidence(names: tuple[str, ...], net: nn.Module, context: Context) -> None:
    before = answers(net, context)
    chain = Chain((name, {"amount": 0.1} if name.startswith("prune") else {}) for name in names)
    chain.check(context)
    model = chain.apply(net, context)
    after = answers(model, context)
    assert tuple(chain.evidence(model)) == names
    assert (after.float() - before).abs().max() < 0.3 * before.abs().max()


def test_a_chain_that_fails_names_what_went_before(context: Context) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 2)).to(torch.bfloat16)
    with pytest.raises(Unsupported) as caught:
        Chain([("prune-local", {}), ("dynamic-quantization", {})]).apply(model, context)
    assert "prune-local" in caught.value.evidence


def test_the_registry_is_covered_here() -> None:
    """A new tactic has to be added to this file, or to one of its own beside it."""
    tested = {"baseline", "bf16", "compile", "dynamic-quantization", "int8-dynamic", "null-check", "prune-global", "prune-local"}
    elsewhere = {"batch-size", "onnxruntime", "power-limit", "prune-structured", "sparse-2-4", "tensorrt"}
    assert set(TACTICS) == tested | elsewhere

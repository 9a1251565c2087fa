"""Chains of tactics on a small real model: order, everyone's evidence, and the baseline under any name."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from greenray.errors import Unsupported
from greenray.tactics.base import Context
from greenray.tactics.registry import Chain, build
from tests.tactics.nets import COMPILES_AS_PLAYED, answers

CHAINS = [
    ("bf16", "compile"),
    ("bf16", "int8-dynamic", "compile"),
    ("bf16", "int8-weight-only"),
    ("prune-global", "dynamic-quantization"),
    ("prune-local", "compile"),
    ("int8-dynamic", "compile"),
    ("autocast", "compile"),
    ("channels-last", "bf16"),
]
ON_CUDA = [("tf32", "cudnn-benchmark", "compile"), ("bf16", "int8-dynamic", "compile"), ("bf16", "compile")]


@pytest.mark.parametrize("name", ["baseline", "null-check"])
def test_the_baseline_is_the_model_itself_by_whatever_name(name: str, net: nn.Module, context: Context) -> None:
    before = [parameter.clone() for parameter in net.parameters()]
    assert build(name).apply(net, context) is net
    assert all(torch.equal(now, then) for now, then in zip(net.parameters(), before, strict=True))


def hold(names: tuple[str, ...], net: nn.Module, context: Context, check: Callable[[Chain, str], None]) -> None:
    before = answers(net, context)
    chain = Chain((name, {"amount": 0.1} if name.startswith("prune") else {}) for name in names)
    check(chain, context.device)
    model = chain.apply(net, context)
    after = answers(model, context)
    assert tuple(chain.evidence(model)) == names
    assert (after.float() - before).abs().max() < 0.3 * before.abs().max()


@pytest.mark.parametrize("names", CHAINS, ids="+".join)
def test_chains_apply_in_order_and_keep_everyones_evidence(
    names: tuple[str, ...], net: nn.Module, context: Context, check: Callable[[Chain, str], None]
) -> None:
    hold(names, net, context, check)


@pytest.mark.parametrize("first", ["compile", "onnxruntime"])
@pytest.mark.parametrize("second", ["compile", "onnxruntime", "tensorrt"])
def test_one_compiler_is_enough(first: str, second: str) -> None:
    with pytest.raises(Unsupported, match="leave out one of the two"):
        Chain([(first, {}), (second, {})]).check(Context(device="cpu"))


@pytest.mark.parametrize("name", ["channels-last", "prune-structured", "bf16", "autocast"])
def test_what_changes_the_model_stands_before_compile(name: str) -> None:
    with pytest.raises(Unsupported, match=f"compile compiles what stands before it in the chain: put {name} before compile"):
        Chain([("compile", {}), (name, {})]).check(Context(device="cpu"))
    Chain([("compile", {}), ("batch-size", {}), ("null-check", {})]).check(Context(device="cpu"))


@pytest.mark.parametrize(
    "chain",
    [("bf16", "fp16"), ("fp16", "bf16"), ("int8-weight-only", "int8-dynamic"), ("int8-dynamic", "dynamic-quantization")],
    ids="+".join,
)
def test_what_would_be_cast_or_packed_again_is_refused(chain: tuple[str, str]) -> None:
    with pytest.raises(Unsupported, match="use one of the two"):
        Chain((name, {}) for name in chain).check(Context(device="cpu"))


@pytest.mark.parametrize("packed", ["int8-dynamic", "dynamic-quantization"])
def test_what_needs_plain_weights_stands_before_what_packs_them(packed: str) -> None:
    for name in ("prune-local", "prune-structured"):
        with pytest.raises(Unsupported, match=f"put {name} before {packed}"):
            Chain([(packed, {}), (name, {})]).check(Context(device="cpu"))
    with pytest.raises(Unsupported, match="use one of the two"):
        Chain([(packed, {}), ("onnxruntime", {})]).check(Context(device="cpu"))


@pytest.mark.parametrize(
    "chain", [("dynamic-quantization", "bf16"), ("dynamic-quantization", "autocast"), ("autocast", "dynamic-quantization")]
)
def test_kernels_of_dynamic_quantisation_take_float32(chain: tuple[str, str]) -> None:
    with pytest.raises(Unsupported, match="take float32 only: leave out the"):
        Chain((name, {}) for name in chain).check(Context(device="cpu"))


@pytest.mark.parametrize("name", ["channels-last", "attention", "cudnn-benchmark"])
@pytest.mark.usefixtures("cuda")
def test_what_another_runtime_chooses_itself_is_refused_before_it(name: str) -> None:
    for runtime in ("onnxruntime", "tensorrt"):
        with pytest.raises(Unsupported, match=f"{runtime} chooses .* itself: leave out {name} before it"):
            Chain([(name, {}), (runtime, {})]).check(Context(device="cuda"))


def test_a_cast_and_what_follows_are_one_graph(net: nn.Module, context: Context) -> None:
    chain = Chain([("bf16", {}), ("compile", {})])
    model = chain.apply(net, context)
    answers(model, context)
    assert chain.evidence(model)["compile"]["graphs"] == 1


@COMPILES_AS_PLAYED
@pytest.mark.parametrize("names", ON_CUDA, ids="+".join)
def test_chains_hold_on_a_board(
    names: tuple[str, ...], net: nn.Module, cuda: Context, check: Callable[[Chain, str], None]
) -> None:
    hold(names, net, cuda, check)


def test_a_chain_that_fails_names_what_went_before(context: Context) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 2)).to(torch.bfloat16)
    with pytest.raises(Unsupported) as caught:
        Chain([("prune-local", {}), ("dynamic-quantization", {})]).apply(model, context)
    assert "prune-local" in caught.value.evidence

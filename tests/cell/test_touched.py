"""How much of a model a tactic touched: shares against counts by hand, tactic by tactic, and what whole cells say."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from greenray.cell import touched
from greenray.config.refs import DatasetRef
from greenray.tactics.base import WHOLE_MODEL, Context, Params, Tactic
from greenray.tactics.registry import TACTICS, Chain
from tests.support.driving import drive, make_task, preset
from tests.tactics.nets import Net, vit

SOME = DatasetRef(id="digits", samples=64)
EXAMPLE = {"pixel_values": torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(1))}
CONV, BODY, HEAD = 8 * 9 + 8, 512 * 32 + 32, 32 * 10 + 10


def on_meta() -> tuple[nn.Module, dict[str, Tensor]]:
    return Net().to("meta"), {"pixel_values": torch.empty(1, 1, 8, 8, device="meta")}


def after(*steps: Any, model: nn.Module | None = None) -> frozenset[str] | None:
    """What a chain says that it touched of a model (else a convolution and two linear layers)."""
    chain = Chain((step, {}) if isinstance(step, str) else step for step in steps)
    with torch.inference_mode():
        made = chain.apply(Net().eval() if model is None else model, Context(device="cpu", example=EXAMPLE))
        chain.evidence(made)
    return chain.touched()


class Tied(nn.Module):
    """One layer under two names, and one inside another."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(8, 8, bias=False)
        self.again = self.first
        self.block = nn.Sequential(nn.Linear(8, 8, bias=False), nn.Linear(8, 16, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        return self.block(self.again(self.first(x)))


class Own(Tactic[Params]):
    """A user's tactic that says nothing of modules."""

    name = "own"
    summary = "Changes something."

    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        return model


def test_shares_are_those_of_the_layers_by_hand() -> None:
    model, inputs = on_meta()
    names = frozenset({"head"})
    assert touched.parameters_share(model, names) == pytest.approx(HEAD / (CONV + BODY + HEAD))
    macs = 64 * 8 * 9 + 512 * 32 + 32 * 10
    assert touched.macs_share(model, inputs, names) == pytest.approx(32 * 10 / macs)
    assert touched.macs_share(model, inputs, frozenset({"head", "conv"})) == pytest.approx((32 * 10 + 64 * 8 * 9) / macs)
    assert touched.parameters_share(model, WHOLE_MODEL) == touched.macs_share(model, inputs, WHOLE_MODEL) == 1.0
    with pytest.raises(KeyError, match="no module tail"):
        touched.parameters_share(model, frozenset({"tail"}))


@pytest.mark.parametrize("name", ["first", "again"])
def test_a_shared_layer_counts_once_and_a_layer_inside_a_touched_one_not_again(name: str) -> None:
    model, inputs = Tied().to("meta"), {"x": torch.empty(1, 8, device="meta")}
    assert touched.parameters_share(model, frozenset({name})) == pytest.approx(64 / 256)
    assert touched.macs_share(model, inputs, frozenset({name})) == pytest.approx(128 / 320)  # it runs twice
    assert touched.parameters_share(model, frozenset({"block", "block.1"})) == pytest.approx(192 / 256)
    assert touched.macs_share(model, inputs, frozenset({"block", "block.1"})) == pytest.approx(192 / 320)


def test_products_of_attention_belong_to_the_module_that_computes_them() -> None:
    model = vit().to("meta")
    model.set_attn_implementation("eager")
    inputs = {"pixel_values": torch.empty(1, 1, 8, 8, device="meta")}
    inner = [name for name, module in model.named_modules() if type(module).__name__ == "ViTAttention"]
    assert len(inner) == 2
    linear = frozenset(
        name for name, module in model.named_modules() if isinstance(module, nn.Linear) and name.startswith(tuple(inner))
    )
    projections = touched.macs_share(model, inputs, linear)
    whole = touched.macs_share(model, inputs, frozenset(inner))
    assert projections is not None
    assert whole is not None
    tokens, hidden = 5, 32
    # Four projections of hidden x hidden, and two products of tokens x tokens x hidden.
    assert (whole - projections) / projections == pytest.approx(2 * tokens * tokens * hidden / (4 * tokens * hidden * hidden))


def test_each_tactic_names_the_layers_that_it_changed() -> None:
    assert after("dynamic-quantization") == {"body", "head"}
    assert after("prune-local") == {"conv", "body", "head"}
    small = Net().eval()
    nn.init.constant_(small.head.weight, 1e-12)  # under any that chance gives
    assert after(("prune-global", {"amount": 0.001}), model=small) == {"head"}  # by magnitude the others lose nothing
    assert after("autocast") == {"conv", "body", "head"}
    assert after("bf16") == WHOLE_MODEL
    assert after("channels-last") == {"conv"}
    assert after("int8-weight-only") == {"body", "head"}
    cut = after(("prune-structured", {"amount": 0.5, "round_to": 1}))
    assert cut == {"conv", "body", "head"}  # the answering layer loses inputs


def test_a_chain_unites_what_its_tactics_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TACTICS, "own", f"{__name__}:Own")
    assert after("channels-last", "dynamic-quantization") == {"conv", "body", "head"}
    assert after("null-check", "channels-last") == {"conv"}
    assert after("null-check", ("batch-size", {"size": 2})) == frozenset()
    assert after("own") is None
    assert after("own", "channels-last") is None
    assert after("own", "bf16") == WHOLE_MODEL  # all of it is all of it, whatever the other did


def test_what_lies_between_broken_graphs_is_not_told() -> None:
    class Broken(Net):
        def forward(self, pixel_values: Tensor) -> Tensor:
            hidden = self.conv(pixel_values)
            torch._dynamo.graph_break()
            return self.head(self.body(hidden.relu().flatten(1)))

    torch._dynamo.reset()
    assert after("compile") == WHOLE_MODEL
    assert after("compile", model=Broken().eval()) is None
    torch._dynamo.reset()


def test_quantising_a_network_of_convolutions_touches_the_classifier_alone() -> None:
    """In a whole cell, and beside it a transformer, most of which is linear layers."""
    done = drive(make_task(model=preset("resnet"), dataset=SOME, tactic=("dynamic-quantization",))).done
    assert done.touched_parameters_share is not None
    assert done.touched_macs_share is not None
    assert done.parameters is not None
    classifier = 128 * 10 + 10
    assert done.touched_parameters_share == pytest.approx(classifier / done.parameters)
    assert done.touched_parameters_share < 0.01
    assert 0 < done.touched_macs_share < 0.01
    quantised = drive(make_task(model=preset("vit"), dataset=SOME, tactic=("dynamic-quantization",))).done
    assert quantised.touched_parameters_share is not None
    assert quantised.touched_parameters_share > 0.9
    assert quantised.size_bytes is not None
    assert quantised.parameters is not None
    assert quantised.parameters_bytes is not None
    # The packed weights are in the file and not among the parameters.
    assert quantised.parameters_bytes < 4 * quantised.parameters * (1 - quantised.touched_parameters_share) + 4096
    assert quantised.parameters_bytes < 0.25 * 4 * quantised.parameters < quantised.size_bytes


def test_a_baseline_touches_nothing_and_a_tactic_that_does_not_tell_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TACTICS, "own", f"{__name__}:Own")
    done = drive(make_task(dataset=SOME)).done
    assert (done.touched_parameters_share, done.touched_macs_share) == (None, None)
    assert "touched_unknown" not in done.settings
    assert done.parameters is not None
    assert done.parameters_bytes == 4 * done.parameters
    done = drive(make_task(dataset=SOME, tactic=("own",))).done
    assert (done.touched_parameters_share, done.touched_macs_share) == (None, None)
    assert "does not tell" in done.settings["touched_unknown"]
    assert drive(make_task(dataset=SOME, tactic=("bf16",))).done.touched_macs_share == 1.0

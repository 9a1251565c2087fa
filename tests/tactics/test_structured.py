"""Structured pruning: what is left is a smaller dense model that answers as it should, or a sentence says why it is not."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForImageClassification

from greenray.errors import NotApplied, Unsupported
from greenray.tactics.base import Context
from greenray.tactics.registry import Chain, build
from greenray.tasks.image_classification.presets import PRESETS


class Hidden(nn.Module):
    """One hidden layer, by the calling convention of tasks."""

    def __init__(self, *, hidden: int) -> None:
        super().__init__()
        self.body = nn.Linear(16, hidden)
        self.head = nn.Linear(hidden, 10)

    def forward(self, values: Tensor) -> Tensor:
        return self.head(self.body(values).relu())


def of_rows(rows: int = 4) -> Context:
    return Context(device="cpu", example={"values": torch.randn(rows, 16, generator=torch.Generator().manual_seed(1))})


def tiny(architecture: str, **more: int) -> tuple[nn.Module, Context]:
    """A model as the task makes it, and a batch for it that was made in inference mode, as in a cell."""
    torch.manual_seed(0)
    fields = PRESETS[architecture, "tiny"] | more
    config = AutoConfig.for_model(architecture, num_labels=10, num_channels=1, **fields)
    model = AutoModelForImageClassification.from_config(config).eval()
    with torch.inference_mode():
        return model, Context(device="cpu", example={"pixel_values": torch.randn(2, 1, *2 * [more.get("image_size", 32)])})


def macs(model: nn.Module, context: Context) -> float:
    from greenray.cell.footprint import operations_per_sample

    one = {name: value[:1] for name, value in context.example.items()}
    return operations_per_sample(model, one)[0]


@torch.inference_mode()
def test_channels_without_weight_are_removed_and_the_answers_stay() -> None:
    torch.manual_seed(0)
    model, context = Hidden(hidden=32), of_rows()
    dead = torch.randperm(32)[:16]
    model.body.weight[dead] = model.body.bias[dead] = 0
    model.head.weight[:, dead] = 0
    before = model(**context.example)
    chain = Chain([("prune-structured", {"amount": 0.5})])
    pruned = chain.apply(model, context)
    assert torch.allclose(pruned(**context.example), before, atol=1e-6)
    assert (pruned.body.out_features, pruned.head.in_features, pruned.head.out_features) == (16, 16, 10)
    assert chain.evidence(pruned)["prune-structured"] == {
        "parameters_before": 16 * 32 + 32 + 32 * 10 + 10,
        "parameters_after": 16 * 16 + 16 + 16 * 10 + 10,
        "channels_before": 42,
        "channels_after": 26,
        "macs_per_sample_before": 32 * 26,
        "macs_per_sample_after": 16 * 26,
        "heads_before": 0,
        "heads_after": 0,
    }


class Keeping(Hidden):
    """Makes something when it is first called and keeps it, as BEiT does with its positions."""

    kept: Tensor | None = None

    def forward(self, values: Tensor) -> Tensor:
        self.kept = torch.ones(1) if self.kept is None else self.kept
        return self.head((self.body(values) * self.kept).relu())


@torch.inference_mode()
def test_what_a_model_makes_once_and_keeps_does_not_keep_it_from_being_pruned() -> None:
    pruned = build("prune-structured", {"amount": 0.5}).apply(Keeping(hidden=32), of_rows())
    assert pruned.body.out_features == 16


@pytest.mark.parametrize("architecture", ["vit", "resnet", "convnext", "mobilenet_v2", "efficientnet"])
def test_models_of_transformers_get_smaller_and_still_answer(architecture: str) -> None:
    model, context = tiny(architecture)
    before = sum(p.numel() for p in model.parameters()), macs(model, context)
    tactic = build("prune-structured")
    with torch.inference_mode():
        pruned = tactic.apply(model, context)
        assert pruned(**context.example).logits.shape == (2, 10)
    evidence = tactic.evidence(pruned)
    after = sum(p.numel() for p in pruned.parameters()), macs(pruned, context)
    assert (evidence["parameters_before"], evidence["macs_per_sample_before"]) == before
    assert (evidence["parameters_after"], evidence["macs_per_sample_after"]) == after
    assert after[0] < 0.75 * before[0]
    assert after[1] < 0.75 * before[1]
    assert (evidence["heads_before"], evidence["heads_after"]) == ((16, 12) if architecture == "vit" else (0, 0))


def test_a_model_that_keeps_tensors_of_a_pass_can_be_treated_and_heads_are_counted_as_they_are() -> None:
    """beit keeps its table of positions, made in inference mode; its biases by head hold the heads together."""
    model, context = tiny("beit", image_size=40)  # a table of a size that no other test has made in this process
    tactic = build("prune-structured")
    with torch.inference_mode():
        pruned = tactic.apply(model, context)
        assert pruned(**context.example).logits.shape == (2, 10)
    evidence = tactic.evidence(pruned)
    assert evidence["parameters_after"] < 0.75 * evidence["parameters_before"]
    attentions = [module for module in pruned.modules() if hasattr(module, "num_attention_heads")]
    counted = [attention.q_proj.out_features // attention.head_dim for attention in attentions]
    assert [attention.num_attention_heads for attention in attentions] == counted
    assert evidence["heads_after"] == sum(counted)


def test_whole_heads_are_removed_and_at_most_the_share_that_was_asked_for() -> None:
    model, context = tiny("vit")
    build("prune-structured", {"amount": 0.5}).apply(model, context)
    attentions = [module for module in model.modules() if hasattr(module, "num_attention_heads")]
    assert [attention.num_attention_heads for attention in attentions] == [2] * 4
    assert {layer.out_features for attention in attentions for layer in (attention.q_proj, attention.v_proj)} == {2 * 16}
    one_left, context = tiny("vit")
    build("prune-structured", {"amount": 0.9}).apply(one_left, context)
    assert {module.num_attention_heads for module in one_left.modules() if hasattr(module, "num_attention_heads")} == {1}


def test_a_model_whose_channels_cannot_be_told_apart_is_unsupported() -> None:
    model, context = tiny("swin")
    with pytest.raises(Unsupported, match=r"SwinForImageClassification.*prune-local or prune-global"):
        build("prune-structured").apply(model, context)


@pytest.mark.parametrize("params", [{"amount": 0.3, "round_to": 8}, {"amount": 0.05, "round_to": 1}])
def test_layers_too_small_to_lose_a_channel_are_not_applied(params: dict[str, Any]) -> None:
    model, context = Hidden(hidden=8 if params["round_to"] == 8 else 1), of_rows()
    with pytest.raises(NotApplied, match=f"rounded to multiples of {params['round_to']} removes none") as caught:
        build("prune-structured", params).apply(model, context)
    assert caught.value.evidence["channels_after"] == caught.value.evidence["channels_before"]


class FusedAttention(nn.Module):
    """Two heads whose projections are one layer: which channels are whose, no name tells."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(32, 96), nn.Linear(32, 32)

    def forward(self, values: Tensor) -> Tensor:
        q, k, v = self.qkv(values).view(len(values), 4, 3, 2, -1).permute(2, 0, 3, 1, 4)
        return self.out(nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Fused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention, self.head = FusedAttention(), nn.Linear(32, 10)
        self.perceptron = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 32))

    def forward(self, values: Tensor) -> Tensor:
        return self.head(self.perceptron(self.attention(values)).mean(1))


def test_attention_of_a_kind_that_is_not_known_stays_whole() -> None:
    torch.manual_seed(0)
    model, example = Fused(), {"values": torch.randn(3, 4, 32)}
    build("prune-structured", {"amount": 0.5}).apply(model, Context(device="cpu", example=example))
    assert (model.attention.qkv.out_features, model.attention.out.out_features) == (96, 32)
    assert model.perceptron[0].out_features == 32
    assert model(**example).shape == (3, 10)


@torch.inference_mode()
def test_it_follows_a_cast_in_a_chain() -> None:
    model, context = tiny("resnet")
    chain = Chain([("bf16", {}), ("prune-structured", {})])
    pruned = chain.apply(model, context)
    assert {parameter.dtype for parameter in pruned.parameters()} == {torch.bfloat16}
    assert chain.evidence(pruned)["prune-structured"]["parameters_after"] == sum(p.numel() for p in pruned.parameters())


def test_what_cannot_be_treated_is_told_what_can() -> None:
    with pytest.raises(Unsupported, match="inference experiment"):
        build("prune-structured").check(Context(device="cpu", training=True))
    masked = Chain([("prune-local", {"permanent": False}), ("prune-structured", {})])
    with pytest.raises(Unsupported, match="masks have nowhere to go"):
        masked.apply(Hidden(hidden=32), of_rows())
    packed = Chain([("int8-dynamic", {}), ("prune-structured", {})])
    with pytest.raises(Unsupported, match="before quantisation"):
        packed.apply(Hidden(hidden=32), of_rows(32))

"""ONNX Runtime in torch's place: the same answers in the same structure, on the same device, with a size of its own."""

import importlib
import io
from dataclasses import dataclass

import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from greenray.cell import footprint, runtime
from greenray.errors import Unsupported
from greenray.tactics.base import Context
from greenray.tactics.registry import Chain, build


@dataclass
class Answer:
    logits: Tensor
    features: Tensor


pytree.register_dataclass(Answer)


class Net(nn.Module):
    """Two keywords, and outputs in a structure."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, padding=1)
        self.head = nn.Linear(8 * 64, 10)

    def forward(self, pixel_values: Tensor, scale: Tensor) -> Answer:
        features = self.conv(pixel_values).relu().flatten(1)
        return Answer(logits=self.head(features) * scale[:, None], features=features)


@pytest.fixture
def context() -> Context:
    with torch.inference_mode():  # as in a cell
        torch.manual_seed(1)
        return Context(device="cpu", example={"pixel_values": torch.randn(4, 1, 8, 8), "scale": torch.rand(4)})


@torch.inference_mode()
def test_it_answers_as_torch_does_and_tells_what_ran(context: Context) -> None:
    model = Net().eval()
    chain = Chain([("onnxruntime", {})])
    chain.check(Context(device="cpu"))
    engine = chain.apply(model, context)
    for _ in range(2):
        batch = {"scale": torch.rand(4), "pixel_values": torch.randn(1, 4, 8, 8).transpose(0, 1)}  # another order, strides
        expected, found = model(**batch), engine(**batch)
        assert isinstance(found, Answer)
        assert torch.allclose(found.logits, expected.logits, atol=1e-5)
        assert torch.allclose(found.features, expected.features, atol=1e-5)
    evidence = chain.evidence(engine)["onnxruntime"]
    assert evidence["provider"] == "CPUExecutionProvider"
    assert set(evidence["nodes_by_provider"]) == {"CPUExecutionProvider"}
    assert evidence["nodes_by_provider"]["CPUExecutionProvider"] > 0
    assert evidence["nodes_exported"] >= 4
    assert evidence["threads"] == torch.get_num_threads()
    assert chain.compilations() == 0
    assert chain.allocates_itself


@torch.inference_mode()
def test_its_size_is_that_of_the_exported_model(context: Context) -> None:
    model = Net().eval()
    weights = sum(parameter.numel() for parameter in model.parameters()) * 4
    engine = build("onnxruntime").apply(model, context)
    assert weights < footprint.size_bytes(engine) < weights + 5_000
    # Not known, which is not 0.
    assert footprint.nonzero_parameters(engine) is None
    assert runtime.dtype_name(engine) is None
    exported = onnx.load(io.BytesIO(engine.get_extra_state()["onnx"].numpy().tobytes()))
    assert [value.name for value in exported.graph.input] == ["pixel_values", "scale"]


@torch.inference_mode()
def test_its_parameters_reach_it(context: Context) -> None:
    model = Net().eval()
    tactics = [build("onnxruntime", params) for params in ({"optimization": "disabled"}, {"optimization": "all", "opset": 18})]
    engines = [tactic.apply(model, context) for tactic in tactics]
    assert [tactic.evidence(engine)["opset"] for tactic, engine in zip(tactics, engines, strict=True)][1] == 18
    assert torch.allclose(engines[0](**context.example).logits, engines[1](**context.example).logits, atol=1e-5)


def test_what_it_cannot_run_is_unsupported_with_a_way_out(context: Context) -> None:
    class Branching(nn.Module):
        def forward(self, pixel_values: Tensor, scale: Tensor) -> Tensor:
            return pixel_values if scale.sum() > 0 else -pixel_values

    with pytest.raises(Unsupported, match=r"cannot export this model.*use compile"):
        build("onnxruntime").apply(Branching(), context)
    cast = Chain([("bf16", {}), ("onnxruntime", {})])
    with pytest.raises(Unsupported, match=r"cannot run the model.*leave out the cast"), torch.inference_mode():
        cast.apply(Net().eval(), context)


def test_where_it_cannot_run_it_says_what_can(monkeypatch: pytest.MonkeyPatch) -> None:
    tactic = build("onnxruntime")
    with pytest.raises(Unsupported, match="inference experiment"):
        tactic.check(Context(device="cpu", training=True))
    with pytest.raises(Unsupported, match="put bf16 before onnxruntime"):
        Chain([("onnxruntime", {}), ("bf16", {})]).check(Context(device="cpu"))
    with pytest.raises(Unsupported, match="pip install onnxruntime-gpu"):
        tactic.check(Context(device="cuda"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(Unsupported, match=r"needs onnx and onnxscript and onnxruntime: `pip install greenray\[onnxruntime\]`"):
        tactic.check(Context(device="cpu"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@torch.inference_mode()
def test_on_a_gpu_it_runs_there() -> None:
    context = Context(device="cuda", example={"pixel_values": torch.randn(4, 1, 8, 8).cuda(), "scale": torch.rand(4).cuda()})
    model, tactic = Net().eval().cuda(), build("onnxruntime")
    try:
        tactic.check(Context(device="cuda"))
    except Unsupported as missing:
        pytest.skip(str(missing))
    expected = model(**context.example)
    engine = tactic.apply(model, context)
    assert tactic.evidence(engine)["provider"] == "CUDAExecutionProvider"
    found = engine(**context.example)
    assert found.logits.device.type == "cuda"
    assert torch.allclose(found.logits, expected.logits, atol=1e-3)

"""Precision of training: what a board can compute in, and what becomes of a step."""

import pytest
import torch
from torch import nn

from greenray.config.refs import Precision
from greenray.errors import Unsupported
from greenray.tasks import precision
from greenray.tasks.base import TrainingBatch
from greenray.tasks.training_step import TrainingStep, rehearse

BATCH = TrainingBatch(inputs={"x": torch.linspace(-1, 1, 32).view(8, 4)}, targets=torch.arange(8) % 3)


def make_step(*, accumulation: int = 1) -> TrainingStep:
    torch.manual_seed(0)
    model = nn.Linear(4, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return TrainingStep(
        model=model,
        optimizer=optimizer,
        forward=lambda batch: (nn.functional.cross_entropy(model(batch.inputs["x"]).float(), batch.targets), None),
        backward=lambda loss: loss.backward(),  # type: ignore[no-untyped-call]
        update=lambda: optimizer.step(),
        accumulation=accumulation,
    )


@pytest.mark.parametrize(
    ("asked", "capability", "word"),
    [("tf32", (7, 5), "8.0"), ("bf16", (7, 0), "fp16"), ("tf32", (8, 0), None), ("bf16", (9, 0), None), ("fp16", (7, 0), None)],
)
def test_a_board_that_would_only_emulate_it_is_told(
    monkeypatch: pytest.MonkeyPatch, asked: Precision, capability: tuple[int, int], word: str | None
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: capability)
    if word is None:
        precision.check(asked, device="cuda")
    else:
        with pytest.raises(Unsupported, match=word):
            precision.check(asked, device="cuda")


@pytest.mark.parametrize(("asked", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)])
def test_forward_computes_in_it_and_the_weights_stay(asked: Precision, dtype: torch.dtype) -> None:
    step = make_step()
    seen = []
    step.model.register_forward_hook(lambda module, args, output: seen.append(output.dtype))
    precision.apply(asked, step, device="cpu")
    step(BATCH)
    assert seen == [dtype]
    assert {parameter.dtype for parameter in step.model.parameters()} == {torch.float32}


def test_a_step_that_overflows_is_left_out_and_the_scale_halved() -> None:
    step = make_step()
    scaler = precision.apply("fp16", step, device="cpu")
    before, scale = step.model.weight.clone(), scaler.get_scale()
    step.model.weight.register_hook(lambda gradient: gradient * float("inf"))
    step(BATCH)
    assert torch.equal(step.model.weight, before)
    assert scaler.get_scale() == scale / 2


def test_a_rehearsal_puts_the_scale_back() -> None:
    step = make_step(accumulation=2)
    scaler = precision.apply("fp16", step, device="cpu")
    before, weight = scaler.state_dict(), step.model.weight.clone()
    rehearse(step, BATCH, times=3)
    assert step.complete
    assert scaler.state_dict() == before
    assert torch.equal(step.model.weight, weight)


def test_tf32_holds_for_the_training_alone() -> None:
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    try:
        precision.apply("tf32", make_step(), device="cuda")
        assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == (True, True)
        precision.end("tf32")
        assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == (False, False)
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def test_accumulated_batches_are_one_update_by_their_mean_gradient() -> None:
    halves = [
        TrainingBatch(inputs={"x": BATCH.inputs["x"][part]}, targets=BATCH.targets[part]) for part in (slice(4), slice(4, 8))
    ]
    whole, parts = make_step(), make_step(accumulation=2)
    whole(BATCH)
    start = parts.model.weight.clone()
    parts(halves[0])
    assert not parts.complete
    assert torch.equal(parts.model.weight, start)
    parts(halves[1])
    assert parts.complete
    assert torch.allclose(parts.model.weight, whole.model.weight, atol=1e-6)

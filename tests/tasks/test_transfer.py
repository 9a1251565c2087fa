"""Batches on their way to a device that is played, on a clock of its own."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from greenray.tasks.transfer import DoubleBuffer
from tests.support.loading import Bench, played_device
from tests.support.plugins import pretend_device

COPY_S, WORK_S = 0.3, 0.5


class OnProcessor(torch.overrides.TorchFunctionMode):
    """What names the device cuda happens on the processor, and a copy takes COPY_S of its stream."""

    def __torch_function__(self, function: Any, types: Any, arguments: Any = (), keywords: Any = None) -> Any:
        keywords = {name: "cpu" if value == "cuda" else value for name, value in (keywords or {}).items()}
        pretend_device.asked(function, arguments, keywords)
        return function(*arguments, **keywords)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setenv(pretend_device.COPY_S, str(COPY_S))
    made = Bench(iter(()), device="cuda")
    with played_device(made), OnProcessor():
        yield made
    made.close()


def batch(number: int) -> dict[str, torch.Tensor]:
    return {"x": torch.full((4,), float(number))}


def test_copies_overlap_with_work_and_never_with_that_on_the_same_place(bench: Bench) -> None:
    buffer, copied_s, done_s = DoubleBuffer(), [], []
    for number in range(6):
        inputs = buffer(batch(number))
        assert torch.equal(inputs["x"], batch(number)["x"])
        copied_s.append(buffer._stream.free_s - 100)
        pretend_device.current_stream().take(WORK_S)
        done_s.append(pretend_device.current_stream().free_s - 100)
    # The host asks for everything at once. Work follows on work, from the end of the first copy on ...
    assert done_s == pytest.approx([COPY_S + WORK_S * (number + 1) for number in range(6)])
    # ... and a copy on the end of the work that used its place: the one before the last.
    assert copied_s == pytest.approx([0.3, 0.6, *(done + COPY_S for done in done_s[:4])])


def test_two_places_are_used_in_turn(bench: Bench) -> None:
    buffer = DoubleBuffer()
    places = [buffer(batch(number))["x"].data_ptr() for number in range(4)]
    assert places[0] == places[2] != places[1] == places[3]


def test_what_it_returns_can_be_worked_on_whatever_mode_it_was_made_in(bench: Bench) -> None:
    buffer = DoubleBuffer()
    with torch.inference_mode():
        buffer(batch(0))
        buffer(batch(1))
    weight = torch.ones(4, requires_grad=True)
    (buffer(batch(2))["x"] * weight).sum().backward()  # type: ignore[no-untyped-call]
    assert weight.grad is not None
    assert weight.grad.tolist() == [2.0] * 4

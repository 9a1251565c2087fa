"""A load on a clock that moves only when a model works, with both ends of its wire; on a GPU that is played beside it."""

import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import nn

from greenray.cell.protocol import Channel, Verdict, Warming, Warmth, Window
from greenray.cell.stages import Load
from greenray.cell.work import WindowMarker
from greenray.tasks.base import Stage
from tests.support.plugins import pretend_device


class Paced(nn.Module):
    """A model whose calls keep the host for the given times, in seconds of its own clock, and then a device for `device_s`."""

    def __init__(self, times_s: Iterable[float], *, device_s: float = 0.0) -> None:
        super().__init__()
        self.now_s = 100.0
        self.device_s = device_s
        self.times_s = iter(times_s)
        self.calls = 0
        self.after: Callable[[], None] = lambda: None

    def forward(self) -> None:
        self.now_s += next(self.times_s)
        self.calls += 1
        pretend_device.current_stream().take(self.device_s)
        self.after()

    def clock(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


class Bench:
    """A model under load with both ends of its wire.

    The worker's end answers steady windows `answer_after` passes later; that the board has become warmer, by `rises`: a function
    of the model's time and of the seconds that are asked for.
    """

    def __init__(
        self,
        times_s: Iterable[float],
        *,
        enough_at: int = 10**9,
        answer_after: int = 1,
        device: str = "cpu",
        device_s: float = 0.0,
        in_flight: int = 1,
        rises: Callable[[float, float], float | None] = lambda now_s, seconds: None,
    ) -> None:
        self.model = Paced(times_s, device_s=device_s)
        self.rises = rises
        self.asked_s: list[float] = []
        self.model.after = self.listen
        self._ends = socket.socketpair()
        self._worker = Channel(self._ends[1])
        self._enough_at = enough_at
        self._answer_after = answer_after
        self._due: list[int] = []
        self._answered = 0
        self.windows: list[Window] = []
        marker = WindowMarker(Channel(self._ends[0]), clock=self.model.clock)
        stage = Stage(name="decode", samples=4, step=lambda model: model())
        self.load = Load(stage, self.model, marker, device=device, in_flight=in_flight)
        self.stale = False

    def listen(self) -> None:
        while (message := self._worker.receive(timeout_s=0)) is not None:
            if isinstance(message, Warming):
                self.asked_s.append(message.seconds)
                self._worker.send(Warmth(seconds=message.seconds, rise_c=self.rises(self.model.now_s, message.seconds)))
                continue
            assert isinstance(message, Window)
            assert message.stage == "decode"
            self.windows.append(message)
            if message.kind != "steady":
                continue
            self._due.append(self.model.calls + self._answer_after)
        while self._due and self._due[0] <= self.model.calls:
            del self._due[0]
            self._answered += 1
            if self.stale:
                self._worker.send(Verdict(enough=True, stage="prefill"))
            self._worker.send(Verdict(enough=self._answered >= self._enough_at, stage="decode"))

    def steady(self, *, window_s: float, max_windows: int, compilations: Callable[[], int] = lambda: 0) -> int:
        return self.load.steady_windows(
            start_s=self.model.now_s, window_s=window_s, max_windows=max_windows, compilations=compilations
        )

    def close(self) -> None:
        for end in self._ends:
            end.close()


@contextmanager
def played_device(bench: Bench) -> Iterator[None]:
    """Torch's CUDA calls go to a device on the clock of the bench's model."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pretend_device.CLOCK, "now", bench.model.clock)
        patch.setattr(pretend_device.CLOCK, "sleep", bench.model.sleep)
        patch.setattr(pretend_device.DEFAULT, "free_s", 0.0)
        for name in ("synchronize", "Event", "Stream", "current_stream"):
            patch.setattr(torch.cuda, name, getattr(pretend_device, name))
        patch.setattr(torch.cuda, "stream", pretend_device.on_stream)
        patch.setattr(torch.cuda, "_sleep", pretend_device.busy)
        yield

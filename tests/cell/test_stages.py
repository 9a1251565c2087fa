"""The load and its windows, on a clock that moves only when a model works."""

import itertools
import socket
from collections.abc import Callable, Iterable, Iterator

import pytest
from torch import nn

from greenray.cell.protocol import Channel, Verdict, Window
from greenray.cell.stages import Load
from greenray.cell.work import WindowMarker
from greenray.tasks.base import Stage


class Paced(nn.Module):
    """A model whose calls take the given times, in seconds of its own clock."""

    def __init__(self, times_s: Iterable[float]) -> None:
        super().__init__()
        self.now_s = 100.0
        self.times_s = iter(times_s)
        self.calls = 0
        self.after: Callable[[], None] = lambda: None

    def forward(self) -> None:
        self.now_s += next(self.times_s)
        self.calls += 1
        self.after()

    def clock(self) -> float:
        return self.now_s


class Bench:
    """A model under load with both ends of its wire; the worker's end answers steady windows `answer_after` passes later."""

    def __init__(self, times_s: Iterable[float], *, enough_at: int = 10**9, answer_after: int = 1) -> None:
        self.model = Paced(times_s)
        self.model.after = self._listen
        self._ends = socket.socketpair()
        self._worker = Channel(self._ends[1])
        self._enough_at = enough_at
        self._answer_after = answer_after
        self._due: list[int] = []
        self._answered = 0
        self.windows: list[Window] = []
        marker = WindowMarker(Channel(self._ends[0]), clock=self.model.clock)
        stage = Stage(name="decode", samples=4, step=lambda model: model())
        self.load = Load(stage, self.model, marker, device="cpu")
        self.stale = False

    def _listen(self) -> None:
        while (message := self._worker.receive(timeout_s=0)) is not None:
            assert isinstance(message, Window)
            assert message.stage == "decode"
            self.windows.append(message)
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


@pytest.fixture
def bench() -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def make(times_s: Iterable[float], **fields: int) -> Bench:
        made.append(Bench(times_s, **fields))
        return made[-1]

    yield make
    for one in made:
        one.close()


class TestWarmup:
    def test_it_ends_once_throughput_is_steady(self, bench: Callable[..., Bench]) -> None:
        found = bench(itertools.chain([0.5, 0.4, 0.3], itertools.repeat(0.01)))
        warm = found.load.warm_up(max_s=20.0)
        found._listen()
        assert warm.stable
        assert warm.variation == pytest.approx(0.0, abs=0.01)
        (window,) = found.windows
        assert (window.kind, window.end_s) == ("warmup", warm.end_s)
        # Three slow groups of one iteration, or fewer, and five groups of half a second.
        assert window.end_s - window.start_s == pytest.approx(1.2 + 5 * 0.5, abs=0.6)
        assert window.samples == 4 * window.iterations

    def test_it_is_bounded_and_says_that_it_never_settled(self, bench: Callable[..., Bench]) -> None:
        found = bench(itertools.cycle([0.2, 0.4]))
        warm = found.load.warm_up(max_s=4.0)
        found._listen()
        assert not warm.stable
        assert warm.variation is not None
        assert warm.variation > 0.05
        assert 4.0 <= found.windows[0].end_s - found.windows[0].start_s < 4.4

    def test_one_iteration_longer_than_allowed_is_enough(self, bench: Callable[..., Bench]) -> None:
        found = bench(itertools.repeat(100.0))
        warm = found.load.warm_up(max_s=4.0)
        assert (found.model.calls, warm.stable, warm.variation) == (1, False, None)


class TestSteadyWindows:
    def test_they_touch_and_reach_their_length(self, bench: Callable[..., Bench]) -> None:
        found = bench(itertools.cycle([0.010, 0.011, 0.013]), enough_at=3)
        assert found.steady(window_s=0.5, max_windows=10) == 3
        assert found.windows[0].start_s == 100.0
        assert all(a.end_s == b.start_s for a, b in itertools.pairwise(found.windows))
        for window in found.windows:
            assert 0.5 <= window.end_s - window.start_s < 0.5 + 0.013
            assert window.samples == 4 * window.iterations
            assert window.latency_p50_s == pytest.approx(0.011)
            assert window.latency_p95_s == pytest.approx(0.013)

    def test_they_hold_ten_iterations_however_short_they_may_be(self, bench: Callable[..., Bench]) -> None:
        found = bench(itertools.repeat(0.2), enough_at=2)
        found.steady(window_s=0.001, max_windows=5)
        assert [window.iterations for window in found.windows] == [10, 10]

    def test_the_load_runs_on_until_the_last_window_is_judged(self, bench: Callable[..., Bench]) -> None:
        found = bench(itertools.repeat(0.125), answer_after=12)
        assert found.steady(window_s=1.25, max_windows=2) == 2
        # 20 iterations of windows; the worker hears of the last with the 21st and answers 12 later.
        assert found.model.calls == 33

    def test_a_window_that_runs_when_there_are_enough_is_dropped(self, bench: Callable[..., Bench]) -> None:
        found = bench(itertools.repeat(0.1), enough_at=1, answer_after=5)
        assert found.steady(window_s=1.0, max_windows=9) == 1
        found._listen()
        assert len(found.windows) == 1

    def test_a_worker_that_never_answers_does_not_keep_the_load_running(self, bench: Callable[..., Bench]) -> None:
        found = bench(itertools.repeat(0.1), answer_after=10**9)
        assert found.steady(window_s=1.0, max_windows=2) == 2
        assert found.model.now_s - 100.0 < 30

    def test_a_late_word_on_the_stage_before_is_not_taken_for_one_on_this(self, bench: Callable[..., Bench]) -> None:
        found = bench(itertools.repeat(0.1), enough_at=3)
        found.stale = True
        assert found.steady(window_s=1.0, max_windows=9) == 3

    def test_a_recompile_rejects_its_window_and_no_other(self, bench: Callable[..., Bench]) -> None:
        found = bench(itertools.repeat(0.1), enough_at=3)
        # Code is compiled at the 15th iteration, which lies in the second window.
        found.steady(window_s=1.0, max_windows=5, compilations=lambda: 7 if found.model.calls < 15 else 8)
        assert [window.rejected for window in found.windows] == [None, "code was compiled once inside the window", None]

"""Whether a board waits for its host: a device that works behind the host's back, on a clock of their own."""

import itertools
from collections.abc import Callable

import pytest

from greenray.cell.launches import Launches, compare, worst
from tests.support.loading import Bench


@pytest.mark.parametrize(
    ("launch_s", "device_s", "count", "bound"),
    [
        (0.004, 0.005, 50, True),
        (0.008, 0.0017, 50, True),
        (0.008, 0.0008, 50, False),  # both loops are as slow as the host: only the board's own time tells
        (0.001, 0.020, 24, False),  # what fits into half a second
        (0.0095, 0.0, 50, False),
    ],
)
def test_what_nobody_waits_for_shows_what_the_host_holds_up(
    bench: Callable[..., Bench], launch_s: float, device_s: float, count: int, bound: bool
) -> None:
    found = bench(itertools.repeat(launch_s), device="cuda", device_s=device_s)
    launches = compare(found.load)
    assert launches.synchronized_samples_per_s == pytest.approx(4 / (launch_s + device_s))
    # Waited for each: launch, then work. Waited for once: the longer of both, and the shorter one time more.
    longer_s, shorter_s = max(launch_s, device_s), min(launch_s, device_s)
    assert launches.unsynchronized_samples_per_s == pytest.approx(4 * count / (count * longer_s + shorter_s))
    assert launches.ratio == pytest.approx(launches.unsynchronized_samples_per_s / launches.synchronized_samples_per_s)
    assert launches.latency_bound == bound
    assert launches.device_time_share == pytest.approx(device_s / (launch_s + device_s))
    found.listen()
    (window,) = found.windows
    assert (window.kind, window.start_s, window.end_s) == ("warmup", 100.0, launches.end_s)
    assert window.iterations == found.model.calls == 1 + 3 * (2 * count + 2)
    assert window.samples == 4 * found.model.calls


def test_long_iterations_are_compared_in_bounded_time(bench: Callable[..., Bench]) -> None:
    found = bench(itertools.repeat(0.05), device="cuda", device_s=2.0)
    launches = compare(found.load)
    assert found.model.calls == 1 + 3 * 4  # one of each kind, and one after them
    assert launches.ratio == pytest.approx(1.0)


def test_with_two_in_flight_the_host_holds_up_nothing(bench: Callable[..., Bench]) -> None:
    found = bench(itertools.repeat(0.004), device="cuda", device_s=0.006, in_flight=2)
    launches = compare(found.load)
    assert launches.synchronized_samples_per_s == pytest.approx(4 / 0.006, rel=0.02)
    assert launches.ratio == pytest.approx(1.0, abs=0.02)
    assert not launches.latency_bound
    assert launches.device_time_share == pytest.approx(1.0, abs=0.02)


def test_of_several_stages_the_one_that_waits_most_is_told() -> None:
    prefill, decode = (
        Launches(synchronized_samples_per_s=100.0, unsynchronized_samples_per_s=free, device_time_share=100.0 / free, end_s=0.0)
        for free in (101.0, 180.0)
    )
    assert worst([prefill, decode]) == decode
    assert worst([]) is None

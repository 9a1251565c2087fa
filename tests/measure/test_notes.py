"""What the figures of a command do not say by themselves."""

import numpy as np
import pytest

from greenray.measure.command import _surprises
from greenray.measure.run import Ended
from greenray.power.trace import Series, Trace, readings


@pytest.mark.parametrize(
    ("start_s", "end_s", "paused_s"),
    [
        (10.0, 20.0, "3.0"),
        (10.0, 16.995, "3.0"),  # it ended while nobody looked, and that was heard before the next sample
        (14.5, 20.0, "2.5"),
        (10.0, 14.5, None),
        (17.0, 20.0, None),
    ],
)
def test_a_stop_is_told_also_where_the_command_began_or_ended_in_it(start_s: float, end_s: float, paused_s: str | None) -> None:
    times = np.concatenate([np.arange(9.0, 14.0, 0.02), np.arange(17.0, 21.0, 0.02)])
    trace = Trace(hz=50, series={"cpu:host": Series(sensor="cpu:host", part="activity", fast=readings(times, cpu_seconds=times))})
    notes = _surprises(trace, Ended(start_s=start_s, end_s=end_s, exit_code=0))
    told = [] if paused_s is None else [f"nothing was sampled for {paused_s} s of it: it was stopped, or the machine slept"]
    assert notes == told

"""The sampling thread: reads every sensor at a steady rate, outside the process that does the work."""

import logging
import math
import statistics
import threading
import time
from array import array
from collections import deque
from collections.abc import Callable, Sequence

import numpy as np

from greenray.power.renewal import EXTRA_HZ, Renewal
from greenray.power.sensors import Follower, Sampler, Sensor
from greenray.power.trace import Readings, Series, Trace
from greenray.processes.awake import AwakeClock

logger = logging.getLogger(__name__)

SLOW_HZ = 5.0
_INTERRUPTED_S = 1e-3
_LATEST = 31  # readings by which it is known how long one takes just now: with a driver that is busy, all take longer
_LATE_S = 0.05
STEP = 0.9727
"""The sampling step as a share of 1 / hz. A little short of it, so that the samples never run in step with a counter that itself
moves at a round rate: only samples at every phase of the counter's period show when it moves."""


class _Buffer:
    """Rows of floats in one growing array; a row is appended in one call, so that a reader never sees half of it."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names
        self._data = array("d")

    def append(self, time_s: float, values: Sequence[float]) -> None:
        self._data.extend((time_s, *values))

    def readings(self, last: int | None = None) -> Readings:
        width = len(self._names) + 1
        # A copy: numpy must not hold the array's memory while the recorder appends to it.
        data = self._data[:] if last is None else self._data[-width * last :]
        table = np.array(data, dtype=np.float64).reshape(-1, width)
        return Readings(
            times=np.ascontiguousarray(table[:, 0]),
            columns={name: np.ascontiguousarray(table[:, i + 1]) for i, name in enumerate(self._names)},
        )

    def last_s(self) -> float:
        width = len(self._names) + 1
        return self._data[-width] if len(self._data) else float("-inf")


class _Sampled:
    """One sensor, and all that it told."""

    def __init__(self, sensor: Sampler, *, step_s: float) -> None:
        self._sensor = sensor
        expects: Callable[..., Renewal | None] | None = getattr(sensor, "renewal", None)
        self._renewal = None if expects is None else expects(sampled_s=step_s)
        self.fast, self.slow = _Buffer(sensor.fast), _Buffer(sensor.slow)
        self._faults: list[tuple[float, str]] = []
        self._failing: str | None = None
        self._took_s: deque[float] = deque(maxlen=_LATEST)

    @property
    def last_s(self) -> float:
        """Time of the latest reading."""
        return (self.fast if self._sensor.fast else self.slow).last_s()

    def sample(self) -> None:
        sensor, clock = self._sensor, time.monotonic
        if not sensor.fast:
            return
        before_s, values, after_s = clock(), sensor.sample(), clock()
        if after_s - before_s > (statistics.median(self._took_s) if self._took_s else 0.0) + _INTERRUPTED_S:
            # The thread lost its processor on the way, so nobody knows to which moment the reading belongs: read again.
            before_s, values, after_s = clock(), sensor.sample(), clock()
        self._took_s.append(after_s - before_s)
        # The reading belongs to some moment of the call: the middle halves the doubt.
        self.fast.append((before_s + after_s) / 2, values)
        if self._renewal is not None:
            self._renewal.saw((before_s + after_s) / 2, values[0])
        self._note_fault(before_s)

    def due_s(self) -> float:
        """When it is worth reading besides the regular samples."""
        return math.inf if self._renewal is None else self._renewal.due_s()

    def sample_slow(self) -> None:
        if self._sensor.slow:
            self.slow.append(time.monotonic(), self._sensor.sample_slow())
            if not self._sensor.fast:
                self._note_fault(self.slow.last_s())

    def _note_fault(self, at_s: float) -> None:
        fault = self._sensor.fault
        if fault is not self._failing:
            self._failing = fault
            if fault is not None:
                self._faults.append((at_s, fault))
                logger.warning("%s: %s", self._sensor.name, fault)

    def series(self) -> Series:
        sensor, fast, slow, faults = self._sensor, self.fast.readings(), self.slow.readings(), tuple(self._faults)
        return Series(sensor=sensor.name, part=sensor.part, fast=fast, slow=slow, range_j=sensor.range_j, faults=faults)


class Recorder:
    """Samples `sensors` at `hz` from `start` to `stop`.

    Deadlines are absolute, so a late sample delays none after it and the rate never drifts; samples whose time has passed
    altogether are left out. Sensors that renew their readings seldom and unsteadily are read some more around the moments at
    which they are expected to. A reading that fails is NaN and its reason is kept; the thread goes on. Sensors that follow
    something slow in threads of their own are not sampled; their readings are put into the trace when it is asked for.
    """

    def __init__(self, sensors: Sequence[Sensor], *, hz: float) -> None:
        regular = [sensor for sensor in sensors if not isinstance(sensor, Follower)]
        self._sampled = {sensor.name: _Sampled(sensor, step_s=STEP / hz) for sensor in regular}
        self._followers = [sensor for sensor in sensors if isinstance(sensor, Follower)]
        self._begin_s, self._end_s = float("inf"), float("inf")
        self._hz = hz
        self._stopping, self._marked = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="greenray-recorder", daemon=True)

    def start(self) -> None:
        self._begin_s = time.monotonic()
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread; the trace stays readable."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)
        self._end_s = min(self._end_s, time.monotonic())

    def running(self) -> bool:
        """Whether samples still arrive."""
        return self._thread.is_alive()

    def last_s(self) -> float:
        """Time of the latest complete round of samples."""
        return min((one.last_s for one in self._sampled.values()), default=float("inf"))

    def mark(self) -> None:
        """Has the slow readings taken in the next round too: one close to an edge is worth as much as many around it."""
        self._marked.set()

    def wait_past(self, moment_s: float, *, limit_s: float) -> None:
        """Waits until every sensor was read after a moment, at most `limit_s` seconds past it or past now."""
        look_s = 0.5 / self._hz
        clock = AwakeClock(longest_turn_s=look_s + _LATE_S)  # stopped together, the sampling thread may be the last to go on
        deadline_s = max(moment_s, clock()) + limit_s
        marked = False
        while self.running() and self.last_s() < moment_s and clock() < deadline_s:
            if not marked and time.monotonic() >= moment_s:
                self.mark()
                marked = True
            time.sleep(min(look_s, max(moment_s - time.monotonic(), 0.001)))

    def latest(self, sensor: str, *, seconds: float) -> Readings:
        """The fast readings of one sensor over about the last `seconds`."""
        found = self._sampled[sensor].fast.readings(last=int(seconds * (self._hz / STEP + 2 * EXTRA_HZ)) + 1)
        return found.within(time.monotonic() - seconds, float("inf"))

    def latest_slow(self, sensor: str, *, seconds: float) -> Readings:
        """The slow readings of one sensor over about the last `seconds`."""
        found = self._sampled[sensor].slow.readings(last=int(2 * seconds * SLOW_HZ) + 1)
        return found.within(time.monotonic() - seconds, float("inf"))

    def trace(self) -> Trace:
        """Everything so far."""
        found = {name: one.series() for name, one in self._sampled.items()}
        for follower in self._followers:
            found[follower.name] = follower.series(start_s=self._begin_s, end_s=min(self._end_s, time.monotonic()))
        return Trace(hz=self._hz, series=found)

    def wait_for_followers(self, at_s: float) -> None:
        """Waits, within bounds, until the slow sensors too have a reading after a moment."""
        for follower in self._followers:
            follower.wait_past(at_s)

    def _run(self) -> None:
        period_s = STEP / self._hz
        slow_period_s = 1 / SLOW_HZ
        due_s = slow_due_s = time.monotonic()
        while not self._stopping.is_set():
            now_s = time.monotonic()
            next_s = min(due_s, *(one.due_s() for one in self._sampled.values())) if self._sampled else due_s
            if now_s < next_s:
                # The wait is also how the thread is told to stop.
                self._stopping.wait(next_s - now_s)
                continue
            for one in self._sampled.values():
                if now_s >= min(due_s, one.due_s()):
                    one.sample()
            if now_s < due_s:
                continue
            marked = self._marked.is_set()
            if marked or now_s >= slow_due_s:
                self._marked.clear()
                for one in self._sampled.values():
                    one.sample_slow()
            if now_s >= slow_due_s:
                slow_due_s += slow_period_s * (1 + int((now_s - slow_due_s) / slow_period_s))
            due_s += period_s * (1 + int((now_s - due_s) / period_s))
        for one in self._sampled.values():
            one.sample()
            one.sample_slow()

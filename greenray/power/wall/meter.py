"""A meter outside the host, followed by a thread of its own: it is slow, it may fall silent, and its clock is not ours.

The 50 Hz recorder never waits for it. Its readings have their own times, put on CLOCK_MONOTONIC here, and reach the trace when
the trace is asked for. Energy is read off them by `greenray.power.wall.plug`.
"""

import itertools
import logging
import math
import socket
import statistics
import threading
import time
from array import array
from collections import deque
from collections.abc import Callable

import numpy as np

from greenray.config.settings import WallMeter
from greenray.power.sensors import Setup
from greenray.power.trace import Readings, Series
from greenray.power.wall.from_command import CommandSource
from greenray.power.wall.source import CsvSource, Found, HttpSource, Source, epoch_s, in_words, number

logger = logging.getLogger(__name__)

_UNITS = {"W": ("power_w", 1.0), "J": ("counter_j", 1.0), "Wh": ("counter_j", 3600.0), "kWh": ("counter_j", 3.6e6)}
_WIDTH = 3  # time, reading, doubt about the time
_KEEP_S = 90_000.0  # longer than a cell may last
_LONGEST_WAIT_S = 30.0
_LOOKS_AT_CLOCKS = 5


class WallSensor:
    """Follows one meter from its making to `close`; see `greenray.power.sensors.Follower`."""

    part = "wall"

    def __init__(
        self,
        source: Source,
        *,
        meter: WallMeter,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.name = f"wall:{source.name}"
        self._source = source
        self._meter = meter
        self._column, self._factor = _UNITS[meter.unit]
        self._clock = clock
        # Once and for all: a host's clock that is set anew must not move readings against each other.
        self._epoch_s = _between_clocks(clock, wall_clock)
        self._begun_s = clock()
        self._changed = threading.Condition()
        self._data = array("d")
        self._lags_s: deque[float] = deque(maxlen=10)  # how late the latest readings were; some meters send several at once
        self._faults: deque[tuple[float, str, int]] = deque(maxlen=1000)
        self._failing = False
        self._told: set[str] = set()
        self._thread = threading.Thread(target=self._run, name="greenray-wall", daemon=True)
        self._thread.start()

    @property
    def period_s(self) -> float:
        """Time between readings: the median of the latest, or what was configured while there are few."""
        with self._changed:
            times = self._data[-_WIDTH * 60 :: _WIDTH]
        steps = [after - before for before, after in itertools.pairwise(times)]
        return statistics.median(steps) if len(steps) >= 3 else self._meter.period_s

    def series(self, *, start_s: float, end_s: float) -> Series:
        """The readings of an interval, and the last before it and the first after it."""
        period_s = self.period_s
        with self._changed:
            table = np.array(self._data, dtype=np.float64).reshape(-1, _WIDTH)
            faults = list(self._faults)
        low, high = np.searchsorted(table[:, 0], start_s, side="left"), np.searchsorted(table[:, 0], end_s, side="right")
        times, values, doubts_s = table[max(0, low - 1) : high + 1].T.copy()
        first_s = times[0] if len(times) else -math.inf
        return Series(
            sensor=self.name,
            part=self.part,
            fast=Readings(times=times, columns={self._column: values, "doubt_s": doubts_s}),
            faults=tuple(
                (time_s, f"{sentence} ({count} times)" if count > 1 else sentence)
                for time_s, sentence, count in faults
                if first_s <= time_s <= end_s
            ),
            period_s=period_s,
        )

    def wait_past(self, at_s: float) -> bool:
        """Waits for a reading after a moment, a few periods at most; not at all for a meter that has fallen silent."""
        period_s = self.period_s
        with self._changed:
            patience_s = period_s + max(self._lags_s, default=0.0) + 1.0
            silent_s = self._clock() - max(self._last_s(), self._begun_s)
            if silent_s > 4 * period_s + patience_s or self._source.stopping.is_set():
                return self._last_s() > at_s
            return self._changed.wait_for(
                lambda: self._last_s() > at_s, timeout=min(1.5 * period_s + patience_s, _LONGEST_WAIT_S)
            )

    def problem(self) -> str | None:
        """Why there is no reading yet, after waiting for the first one for a few periods at most; None when there is one."""
        if self.wait_past(-math.inf):
            return None
        with self._changed:
            return self._faults[-1][1] if self._faults else "the wall meter has given no reading yet"

    def close(self) -> None:
        """Ends the thread, and the command if there is one; waits for a moment only, for the thread may be listening."""
        self._source.stopping.set()
        self._thread.join(timeout=2.0)

    def take(self, found: Found) -> None:
        """Checks a reading, puts it on our clock and keeps it. Called in the meter's thread."""
        problem = self._taken(found, now_s=self._clock())
        if problem is not None:
            self.fail(problem)

    def fail(self, sentence: str) -> None:
        """Notes why there is no reading; a run of the same is one entry, with their number."""
        with self._changed:
            begun_s, last, count = self._faults[-1] if self._failing else (0.0, "", 0)
            if last == sentence:
                self._faults[-1] = (begun_s, sentence, count + 1)
            else:
                self._faults.append((self._clock(), sentence, 1))
            self._failing = True
        if sentence not in self._told and len(self._told) < 20:  # a meter that is away for a night would fill the log
            self._told.add(sentence)
            logger.warning("%s: %s", self.name, sentence)

    def _taken(self, found: Found, *, now_s: float) -> str | None:
        """Keeps a reading; why not, if it cannot be one."""
        value = number(found.value)
        if value is None:
            return "the wall meter gave a reading that is no number"
        if value < 0:
            return "the wall meter gave a negative reading"
        value, stamped = value * self._factor, found.stamp is not None
        stamp_s = epoch_s(found.stamp)
        if stamped and stamp_s is None:
            return "the wall meter gave a time stamp that is none"
        time_s = (found.moment_s if stamp_s is None else stamp_s - self._epoch_s) - self._meter.clock_offset_s
        if stamped and time_s > now_s + max(1.0, self._meter.period_s):
            # It would also stand in the way of all that come after it.
            return "the wall meter's time stamps lie in the future: its clock or clock_offset_s is wrong"
        with self._changed:
            if time_s < self._last_s():
                return "the wall meter's time stamps went backwards"
            if time_s == self._last_s():  # it may be asked more often than it measures
                same = found.asked and value == self._data[-_WIDTH + 1]
                return None if same else "the wall meter repeated a time stamp"
            self._data.extend((time_s, value, 0.0 if stamped else found.doubt_s))
            if self._data[0] < time_s - _KEEP_S - 3600:
                kept = next(i for i in range(0, len(self._data), _WIDTH) if self._data[i] >= time_s - _KEEP_S)
                del self._data[:kept]
            if time_s > self._begun_s:
                self._lags_s.append(max(0.0, now_s - time_s))
            self._failing = False
            self._changed.notify_all()
            return None

    def _last_s(self) -> float:
        return self._data[-_WIDTH] if self._data else -math.inf

    def _run(self) -> None:
        """Reads the source again and again, on the beat while it answers, and less and less often while it does not."""
        source = self._source
        due_s, pause_s = time.monotonic(), source.pause_s
        while not source.stopping.wait(max(0.0, due_s - time.monotonic())):
            failed = False
            try:
                for found in source.read():
                    if failed := isinstance(found, str):
                        self.fail(found)
                    else:
                        self.take(found)
                        pause_s = source.pause_s
            except Exception as error:  # nothing may end a sweep because of a plug; the windows say why they have no figure
                self.fail(f"{source.trouble} ({in_words(error)})")
                source.close()
                failed = True
            if failed:
                due_s, pause_s = time.monotonic() + pause_s, min(2 * pause_s, source.longest_pause_s)
            else:
                due_s, pause_s = max(due_s + source.pause_s, time.monotonic()), source.pause_s
        source.close()


def _between_clocks(clock: Callable[[], float], wall_clock: Callable[[], float]) -> float:
    """What is to be added to one clock for the other: of a few looks the quickest, for between two clocks one may be stopped."""
    looks: list[tuple[float, float]] = []
    for _ in range(_LOOKS_AT_CLOCKS):
        before_s, wall_s, after_s = clock(), wall_clock(), clock()
        looks.append((after_s - before_s, wall_s - (before_s + after_s) / 2))
    return min(looks)[1]


def open_sensors(setup: Setup) -> list[WallSensor]:
    """The meter of the setup, if it has one; readings begin to come in when this returns."""
    return [] if setup.wall_meter is None else [follow(setup.wall_meter, host=socket.gethostname())]


def follow(meter: WallMeter, *, host: str) -> WallSensor:
    """Starts to follow a meter; `host` is what `{host}` stands for, a relative path starts at the working directory."""
    source = HttpSource if meter.url is not None else CommandSource if meter.command is not None else CsvSource
    return WallSensor(source(meter, host=host), meter=meter)

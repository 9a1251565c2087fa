"""A meter outside the host, followed by a thread of its own: it is slow, it may fall silent, and its clock is not ours.

The 50 Hz recorder never waits for it. Its readings have their own times, put on CLOCK_MONOTONIC here, and reach the trace when
the trace is asked for. Energy is read off them by `greenray.power.wall.plug`.
"""

import itertools
import logging
import math
import shlex
import socket
import statistics
import threading
import time
from array import array
from collections import deque
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from greenray.config.settings import WallMeter
from greenray.power.sensors import Setup
from greenray.power.trace import Readings, Series
from greenray.power.wall.follow import Found, Source
from greenray.power.wall.from_command import CommandSource
from greenray.power.wall.from_csv import CsvSource
from greenray.power.wall.from_http import HttpSource

logger = logging.getLogger(__name__)

_UNITS = {"W": ("power_w", 1.0), "J": ("counter_j", 1.0), "Wh": ("counter_j", 3600.0), "kWh": ("counter_j", 3.6e6)}
_WIDTH = 3  # time, reading, doubt about the time
_KEEP_S = 90_000.0  # longer than a cell may last
_LONGEST_WAIT_S = 30.0


class WallSensor:
    """Follows one meter from its making to `close`; see `greenray.power.sensors.Follower`."""

    part = "wall"
    range_j = math.nan

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
        self._epoch_s = wall_clock() - clock()
        self._changed = threading.Condition()
        self._data = array("d")
        self._begun_s = clock()
        self._lags_s: deque[float] = deque(maxlen=10)  # how late the latest readings were; some meters send several at once
        self._faults: deque[tuple[float, str, int]] = deque(maxlen=1000)
        self._failing = False
        self._told: set[str] = set()
        self._stopping = threading.Event()
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
            faults = tuple(
                (time_s, f"{sentence} ({count} times)" if count > 1 else sentence)
                for time_s, sentence, count in self._faults
                if time_s <= end_s
            )
        low = max(0, int(np.searchsorted(table[:, 0], start_s, side="left")) - 1)
        high = int(np.searchsorted(table[:, 0], end_s, side="right")) + 1
        table = table[low:high]
        columns = {self._column: table[:, 1].copy(), "doubt_s": table[:, 2].copy()}
        return Series(
            sensor=self.name,
            part=self.part,
            fast=Readings(times=table[:, 0].copy(), columns=columns),
            faults=tuple(fault for fault in faults if not len(table) or fault[0] >= table[0, 0]),
            period_s=period_s,
        )

    def wait_past(self, at_s: float) -> bool:
        """Waits for a reading after a moment, a few periods at most; not at all for a meter that has fallen silent."""
        period_s = self.period_s
        with self._changed:
            lag_s = max(self._lags_s, default=0.0)
            silent_s = self._clock() - max(self._last_s(), self._begun_s)
            if silent_s > 5 * period_s + lag_s + 1.0 or self._stopping.is_set():
                return self._last_s() > at_s
            limit_s = min(2.5 * period_s + lag_s + 1.0, _LONGEST_WAIT_S)
            return self._changed.wait_for(lambda: self._last_s() > at_s, timeout=limit_s)

    def problem(self) -> str | None:
        """Why there is no reading yet, after waiting for the first one for a few periods at most; None when there is one."""
        if self.wait_past(-math.inf):
            return None
        with self._changed:
            return self._faults[-1][1] if self._faults else "the wall meter has given no reading yet"

    def close(self) -> None:
        """Ends the thread, and the command if there is one; waits for a moment only, for the thread may be listening."""
        self._stopping.set()
        self._source.close()
        self._thread.join(timeout=2.0)

    def take(self, found: Found) -> None:
        """Checks a reading, puts it on our clock and keeps it. Called by the source, in the meter's thread."""
        now_s = self._clock()
        value = _number(found.value)
        if value is None:
            return self.fail("the wall meter gave a reading that is no number")
        if value < 0:
            return self.fail("the wall meter gave a negative reading")
        time_s = found.moment_s
        if found.stamp is not None:
            epoch_s = _epoch_s(found.stamp)
            if epoch_s is None:
                return self.fail("the wall meter gave a time stamp that is none")
            time_s = epoch_s - self._epoch_s
        time_s -= self._meter.clock_offset_s
        if found.stamp is not None and time_s > now_s + max(1.0, self._meter.period_s):
            # It would also stand in the way of all that come after it.
            return self.fail("the wall meter's time stamps lie in the future: its clock or clock_offset_s is wrong")
        with self._changed:
            last_s = self._last_s()
            repeated = time_s == last_s
            if repeated and found.asked and value * self._factor == self._data[-_WIDTH + 1]:
                return None  # asked more often than it measures
            if time_s > last_s:
                self._data.extend((time_s, value * self._factor, 0.0 if found.stamp is not None else found.doubt_s))
                self._forget(time_s - _KEEP_S)
                if time_s > self._begun_s:
                    self._lags_s.append(max(0.0, now_s - time_s))
                self._failing = False
                self._changed.notify_all()
                return None
        return self.fail("the wall meter repeated a time stamp" if repeated else "the wall meter's time stamps went backwards")

    def fail(self, sentence: str) -> None:
        """Notes why there is no reading; a run of the same is one entry, with their number."""
        with self._changed:
            if self._failing and self._faults and self._faults[-1][1] == sentence:
                begun_s, _, count = self._faults[-1]
                self._faults[-1] = (begun_s, sentence, count + 1)
            else:
                self._faults.append((self._clock(), sentence, 1))
            self._failing = True
        if sentence not in self._told and len(self._told) < 20:  # a meter that is away for a night would fill the log
            self._told.add(sentence)
            logger.warning("%s: %s", self.name, sentence)

    def _run(self) -> None:
        try:
            self._source.follow(self, self._stopping)
        except Exception as error:
            # Nothing may end a sweep because of a plug; the windows say why they have no figure.
            self.fail(f"the wall meter is no longer followed ({type(error).__name__})")
            logger.debug("%s", self.name, exc_info=True)

    def _last_s(self) -> float:
        return self._data[-_WIDTH] if self._data else -math.inf

    def _forget(self, before_s: float) -> None:
        if self._data[0] < before_s - 3600:
            keep = next(i for i in range(0, len(self._data), _WIDTH) if self._data[i] >= before_s)
            del self._data[:keep]


def open_sensors(setup: Setup) -> list[WallSensor]:
    """The meter of the setup, if it has one; readings begin to come in when this returns."""
    return [] if setup.wall_meter is None else [follow(setup.wall_meter, host=socket.gethostname())]


def follow(meter: WallMeter, *, host: str) -> WallSensor:
    """Starts to follow a meter.

    Args:
        meter: the meter; a relative path starts at the working directory.
        host: what `{host}` stands for.
    """

    def filled_in(text: str) -> str:
        return text.replace("{host}", host)

    source: Source
    if meter.url is not None:
        source = HttpSource(filled_in(meter.url), value=meter.value, stamp=meter.time, period_s=meter.period_s)
    elif meter.command is not None:
        command = (
            meter.command.replace("{host}", shlex.quote(host))
            if isinstance(meter.command, str)
            else [filled_in(word) for word in meter.command]
        )
        source = CommandSource(command, value=meter.value, stamp=meter.time, period_s=meter.period_s)
    else:
        path = Path(filled_in(meter.csv or "")).expanduser()
        source = CsvSource(path, value=meter.value or 0, stamp=meter.time, period_s=meter.period_s)
    return WallSensor(source, meter=meter)


def _number(value: Any) -> float | None:
    """A finite number, also one that is written as text."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _epoch_s(stamp: Any) -> float | None:
    """Seconds since 1970 of a stamp in seconds, milliseconds or ISO 8601."""
    number = _number(stamp)
    if number is None:
        try:
            return datetime.fromisoformat(stamp).timestamp()
        except (TypeError, ValueError, OverflowError, OSError):
            return None
    seconds = number / 1000 if number > 1e11 else number
    return seconds if 1e9 < seconds < 1e11 else None  # anything else counts from some other beginning

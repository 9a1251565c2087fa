"""What becomes of a wall meter's readings: checked, put on our clock, kept in one unit."""

import math
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from greenray.config.settings import WallMeter
from greenray.power.wall.meter import WallSensor
from greenray.power.wall.source import Found, Source
from tests.support.plugmeter import everything

EPOCH_S = 1_700_000_000.0


class Silent(Source):
    """A source that hands on nothing by itself."""

    name = "made"

    def read(self) -> Iterator[Found | str]:
        self.stopping.wait()
        yield from ()


class Clocks:
    """The host's two clocks, set by hand."""

    def __init__(self) -> None:
        self.monotonic_s, self.epoch_s = 1000.0, EPOCH_S

    def sensor(self, **meter: Any) -> WallSensor:
        made = WallMeter(url="http://plug.lan/", **meter)
        return WallSensor(Silent(made), meter=made, clock=lambda: self.monotonic_s, wall_clock=lambda: self.epoch_s)


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


def found(value: Any, stamp: Any = None, *, moment_s: float = 1000.0, asked: bool = False) -> Found:
    return Found(value=value, stamp=stamp, moment_s=moment_s, doubt_s=0.01, asked=asked)


def test_who_is_stopped_between_the_two_clocks_does_not_shift_every_stamp() -> None:
    now_s, looks = 1000.0, 0

    def wall_clock() -> float:
        nonlocal now_s, looks
        read_s, looks = EPOCH_S + now_s, looks + 1
        now_s += 3.0 if looks == 1 else 0.0
        return read_s

    made = WallMeter(url="http://plug.lan/", period_s=1)
    sensor = WallSensor(Silent(made), meter=made, clock=lambda: now_s, wall_clock=wall_clock)
    sensor.take(found(10.0, EPOCH_S + now_s))
    sensor.close()
    assert everything(sensor).fast.times.tolist() == [now_s]


def test_what_cannot_be_a_reading_is_dropped_and_counted_in_words(clocks: Clocks) -> None:
    sensor = clocks.sensor(period_s=1)
    now_s = EPOCH_S
    for value, stamp in [
        (10.0, now_s - 9),
        (math.nan, now_s - 8),
        ("nan", now_s - 8),
        (-1.0, now_s - 8),
        (True, now_s - 8),
        ("12,5", now_s - 8),
        ("11.5 ", now_s - 7),
        (12.0, now_s - 7),
        (11.5, now_s - 7),
        (12.0, now_s - 8),
        (12.0, "yesterday"),
        (12.0, 17.0),
        (12.0, now_s + 60),
        (12.0, None),
        (13.0, now_s + 0.5),
    ]:
        sensor.take(found(value, stamp, moment_s=996.0))
    series = everything(sensor)
    sensor.close()
    assert series.fast.times.tolist() == [991.0, 993.0, 996.0, 1000.5]
    assert series.fast.column("power_w").tolist() == [10.0, 11.5, 12.0, 13.0]
    assert [text for _, text in series.faults] == [
        "the wall meter gave a reading that is no number (2 times)",
        "the wall meter gave a negative reading",
        "the wall meter gave a reading that is no number (2 times)",
        "the wall meter repeated a time stamp (2 times)",
        "the wall meter's time stamps went backwards",
        "the wall meter gave a time stamp that is none (2 times)",
        "the wall meter's time stamps lie in the future: its clock or clock_offset_s is wrong",
    ]


def test_a_meter_that_is_asked_too_often_repeats_itself_without_fault(clocks: Clocks) -> None:
    sensor = clocks.sensor()
    for value in (10.0, 10.0, 10.5):
        sensor.take(found(value, EPOCH_S - 1, asked=True))
    sensor.close()
    assert everything(sensor).fast.column("power_w").tolist() == [10.0]
    assert [text for _, text in everything(sensor).faults] == ["the wall meter repeated a time stamp"]


def test_stamps_in_every_form_are_the_same_moment_and_outlive_a_clock_that_is_set(clocks: Clocks) -> None:
    sensor = clocks.sensor(clock_offset_s=2)
    moment = datetime.fromtimestamp(EPOCH_S - 50, UTC)
    stamps = [
        EPOCH_S - 50,
        str(EPOCH_S - 49),
        (EPOCH_S - 48) * 1000,
        (moment + timedelta(seconds=3)).isoformat(),
        (moment + timedelta(seconds=4)).astimezone(timezone(timedelta(hours=9))).isoformat(),
        (moment + timedelta(seconds=5)).astimezone().replace(tzinfo=None).isoformat(sep=" "),
        "2023-11-14T22:12:36Z",  # the sixth second
    ]
    clocks.epoch_s += 3600
    for stamp in stamps:
        sensor.take(found(1.0, stamp))
    sensor.close()
    assert everything(sensor).fast.times.tolist() == pytest.approx([948.0 + k for k in range(7)], abs=1e-3)


@pytest.mark.parametrize(("unit", "joules"), [("J", 1.0), ("Wh", 3600.0), ("kWh", 3.6e6)])
def test_energies_are_kept_in_joules(clocks: Clocks, unit: str, joules: float) -> None:
    sensor = clocks.sensor(unit=unit)
    sensor.take(found("2.5"))
    sensor.close()
    assert everything(sensor).fast.column("counter_j").tolist() == [2.5 * joules]


def test_the_beat_is_the_meters_own(clocks: Clocks) -> None:
    sensor = clocks.sensor(period_s=1)
    for second in range(3):
        sensor.take(found(1.0, moment_s=900.0 + 5 * second))
    assert sensor.period_s == 1
    for second in range(3, 6):
        sensor.take(found(1.0, moment_s=900.0 + 5 * second))
    assert sensor.period_s == 5
    assert everything(sensor).period_s == 5
    part = sensor.series(start_s=908.0, end_s=912.0)
    sensor.close()
    assert part.fast.times.tolist() == [905.0, 910.0, 915.0]  # what a window needs lies around it


def test_nobody_waits_for_a_meter_that_has_fallen_silent(clocks: Clocks) -> None:
    sensor = clocks.sensor(period_s=1)
    sensor.take(found(1.0, moment_s=1000.0))
    clocks.monotonic_s += 60
    begin_s = time.monotonic()
    assert not sensor.wait_past(1059.0)
    assert time.monotonic() - begin_s < 3.0  # 3.5 s for one that may still answer
    sensor.close()

"""The wall meter followed over HTTP: its times, its outages, the instrument around it, and off the recorder's back."""

import json
import math
import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from greenray.config.settings import CpuModel, WallMeter
from greenray.power.instrument import Instrument
from greenray.power.recorder import Recorder
from greenray.power.sensors import Follower, Setup, open_sensors
from greenray.power.wall.meter import WallSensor
from greenray.power.wall.plug import plug_energy
from tests.support.plugmeter import everything, following, http_meter, until
from tests.support.powercap import LiveTree, make_tree

ANSWER: dict[str, Any] = {"value": "plug.0.watts", "period_s": 0.1}
STAMPED: dict[str, Any] = {**ANSWER, "time": "plug.0.at"}


ORIGIN_S = time.monotonic()


def ramp(now_s: float) -> float:
    """Power that grows by 100 W a second, so that an energy says when it was measured."""
    return 100 + 100 * (now_s - ORIGIN_S)


def ramp_j(start_s: float, end_s: float) -> float:
    return (end_s - start_s) * (ramp(start_s) + ramp(end_s)) / 2


def whole_window(*sensors: WallSensor, duration_s: float = 0.5, most_doubt_s: float = 0.1) -> tuple[float, float] | None:
    """A window from now on; None where a busy host kept a meter from being read in time, so that another must be taken."""
    start_s = time.monotonic()
    end_s = start_s + duration_s
    past = [sensor.wait_past(end_s) for sensor in sensors]
    known = all(past) and all(plug_energy(everything(sensor), start_s, end_s).energy_j is not None for sensor in sensors)
    near = [sensor.series(start_s=start_s, end_s=end_s).fast.column("doubt_s") for sensor in sensors]
    return (start_s, end_s) if known and all(doubts_s.max() <= most_doubt_s for doubts_s in near) else None


def test_a_stamped_meter_gives_the_energy_of_its_own_times_and_the_offset_moves_them() -> None:
    with (
        http_meter(ramp, ahead_s=0.3, delay_s=0.05) as meter,
        following(url=meter.url, **STAMPED, clock_offset_s=0.3) as right,
        following(url=meter.url, **STAMPED) as uncorrected,
    ):
        until(lambda: all(len(everything(one).fast.times) for one in (right, uncorrected)))
        start_s, end_s = until(lambda: whole_window(right, uncorrected))
        energy = plug_energy(everything(right), start_s, end_s)
        shifted = plug_energy(everything(uncorrected), start_s, end_s)
    # Stamps are taken with the power, so that nothing but rounding is between the figure and the truth.
    assert energy.energy_j == pytest.approx(ramp_j(start_s, end_s), abs=0.5)
    assert shifted.energy_j is not None
    assert shifted.energy_j == pytest.approx(ramp_j(start_s - 0.3, end_s - 0.3), abs=0.5)
    assert energy.energy_j - shifted.energy_j == pytest.approx(100 * 0.3 * 0.5, abs=1)


def test_a_reading_without_a_stamp_is_of_the_middle_of_the_asking() -> None:
    with http_meter(ramp, delay_s=0.4) as meter, following(url=meter.url, **ANSWER) as sensor:
        until(lambda: len(everything(sensor).fast.times))
        start_s, end_s = until(lambda: whole_window(sensor, duration_s=1.0, most_doubt_s=0.25), timeout_s=60)
        energy = plug_energy(everything(sensor), start_s, end_s)
        assert everything(sensor).fast.column("doubt_s").min() >= 0.2
    # Taken at the end of the asking it would be 100 W/s x 0.2 s x 1 s = 20 J less; a loaded machine delays thread and server.
    assert energy.energy_j == pytest.approx(ramp_j(start_s, end_s), abs=8)
    assert energy.error_j is not None
    assert energy.error_j >= 0.2 * 100  # nobody knows when within 0.4 s it was


def test_an_outage_is_null_in_words_and_passes() -> None:
    with http_meter(lambda _: 80.0) as meter, following(url=meter.url, **STAMPED) as sensor:
        assert until(lambda: sensor.wait_past(time.monotonic() + 0.3))
        for says, code, words in [
            ("watts: 80", 200, "the wall meter's answer is not JSON"),
            ('{"plug": []}', 200, "the wall meter's answer has no 'plug.0.watts'"),
            ('{"plug": [{"watts": NaN, "at": 1.7e9}]}', 200, "the wall meter gave a reading that is no number"),
            ("[" * 100_000, 200, "the wall meter's answer is not JSON"),
            ("{}", 503, "the wall meter answers 503 Service Unavailable"),
        ]:
            meter.says, meter.code = says, code
            assert until(
                lambda w=words: w in everything(sensor).faults[-1][1] if everything(sensor).faults else False, what=words
            )
        start_s = time.monotonic() - 0.1
        meter.says, meter.code = None, 200
        assert until(lambda: sensor.wait_past(start_s + 0.3), what="healing")
        faulty = plug_energy(everything(sensor), start_s - 0.2, start_s)
        start_s, end_s = until(lambda: whole_window(sensor))
        healed = plug_energy(everything(sensor), start_s, end_s)
    assert faulty.energy_j is None
    assert faulty.reason is not None
    assert "the wall meter gave no reading for" in faulty.reason
    assert "503 Service Unavailable" in faulty.reason
    assert healed.energy_j == pytest.approx(80.0 * (end_s - start_s), rel=1e-6)


def test_a_meter_that_is_not_there_says_so_and_holds_nobody_up() -> None:
    with http_meter(lambda _: 1.0) as meter:
        address = meter.url
    with following(url=address, **ANSWER) as sensor:
        begin_s = time.monotonic()
        problem = sensor.problem()
        assert time.monotonic() - begin_s < 5
        assert problem == "the wall meter does not answer (Connection refused)"
    assert not sensor.wait_past(begin_s)


def test_the_recorder_does_not_wait_for_a_slow_meter() -> None:
    class Quick:
        name, part, fast, slow, range_j, fault = "gpu:made", "gpu", ("power_w",), (), math.nan, None

        def sample(self) -> tuple[float]:
            return (1.0,)

        def sample_slow(self) -> tuple[()]:
            return ()

        def close(self) -> None:
            """Nothing is held."""

    with http_meter(ramp, delay_s=0.4) as meter, following(url=meter.url, **ANSWER) as sensor:
        recorder = Recorder([Quick(), sensor], hz=50)
        recorder.start()
        until(lambda: len(everything(sensor).fast.times) >= 4)
        recorder.stop()
        trace = recorder.trace()
    steps = np.diff(trace.series["gpu:made"].fast.times)
    assert len(steps) >= 20  # three, if it waited: the meter was read four times
    assert float(np.median(steps)) < 2 / 50
    wall = trace.series[f"wall:{meter.address}"]
    assert wall.part == "wall"
    assert wall.period_s >= 0.38  # its own, not the 0.1 s of the config
    rows = trace.rows()
    assert {name for name, watts in zip(rows["sensor"], rows["power_w"], strict=True) if watts is not None and watts > 50} == {
        wall.sensor
    }


def test_windows_wait_for_the_meter_only_when_asked_to() -> None:
    with http_meter(lambda _: 120.0, delay_s=0.2) as meter:
        wall_meter = WallMeter(url=meter.url, **ANSWER)
        instrument = Instrument(accelerator=None, hz=50, cpu_model=CpuModel(), wall_meter=wall_meter)
        assert instrument.wall_problem() is None
        recording = instrument.record()
        recording.follow(os.getpid())
        start_s = time.monotonic()
        recording.wait_for_wall(start_s + 0.4)
        end_s = time.monotonic()
        early = SimpleNamespace(**recording.read(start_s=start_s, end_s=end_s, device="cpu").row())
        recording.wait_for_wall(end_s)
        late = SimpleNamespace(**recording.read(start_s=start_s, end_s=end_s, device="cpu").row())
        trace = recording.stop()
        recording.wait_for_wall(time.monotonic() + 0.5)
        later = recording.trace()
        instrument.close()
    assert early.wall_energy_j is None
    assert any(reason.startswith("wall: the wall meter's last reading is of") for reason in early.grade_reasons)
    assert early.total_energy_j is not None
    assert late.wall_energy_j == pytest.approx(120.0 * (end_s - start_s), rel=1e-6)
    # A recording ends with the attempt, though the meter goes on; only the reading next to its end may come later.
    counts = [len(part.series[f"wall:{meter.address}"].fast.times) for part in (trace, later)]
    assert counts[1] - counts[0] in (0, 1)


@pytest.mark.parametrize(("share", "holds"), [(1.6, True), (0.5, False)])
def test_the_parts_must_fit_into_the_plug(share: float, holds: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_tree(tmp_path, {"intel-rapl:0": "package-0", "intel-rapl:0/intel-rapl:0:0": "dram"})
    files = sorted(root.glob("intel-rapl:0/**/energy_uj"))
    monkeypatch.setenv("GREENRAY_POWERCAP_ROOT", str(root))
    with LiveTree(root, idle_w=30, active_w=20), http_meter(ramp) as meter:
        meter.energy_j = lambda: share * sum(int(file.read_text()) for file in files) * 1e-6
        wall_meter = WallMeter(url=meter.url, value="plug.0.joules", time="plug.0.at", unit="J", period_s=0.1)
        instrument = Instrument(accelerator=None, hz=50, cpu_model=CpuModel(), wall_meter=wall_meter)
        assert instrument.wall_problem() is None
        recording = instrument.record()
        recording.follow(os.getpid())

        def window() -> SimpleNamespace | None:
            """A reading of the next second; None where a busy host kept the meter from being read, or the tree from moving."""
            start_s = time.monotonic()
            recording.wait_for_wall(start_s + 1.0)
            row = recording.read(start_s=start_s, end_s=start_s + 1.0, device="cpu").row()
            if row["wall_energy_j"] is None or row["wall_parts_energy_j"] is None:
                return None
            return SimpleNamespace(**row) if row["wall_energy_error_j"] < 0.2 * row["wall_energy_j"] else None

        reading = until(window, timeout_s=60)
        recording.stop()
        instrument.close()
    assert len(files) == 2
    assert reading.wall_parts == "cpu+dram"
    assert reading.host_cpu_energy_j is not None
    assert reading.host_dram_energy_j == pytest.approx(reading.host_cpu_energy_j / 10, rel=0.1)
    assert reading.wall_parts_energy_j == reading.host_cpu_energy_j + reading.host_dram_energy_j
    assert reading.wall_energy_error_j is not None
    # The tree moves every 5 ms or, on a busy host, less often, and a reading's stamp is not of the very moment.
    assert reading.wall_energy_j == pytest.approx(share * reading.wall_parts_energy_j, rel=0.2)
    assert reading.wall_check is holds
    told = [reason for reason in reading.grade_reasons if reason.startswith("the parts add up to more than the plug delivered")]
    assert bool(told) is not holds


def test_a_host_without_a_meter_has_no_wall_sensor() -> None:
    assert not any(isinstance(sensor, Follower) for sensor in open_sensors(Setup()))


def test_credentials_reach_the_meter_and_nobody_else(caplog: pytest.LogCaptureFixture) -> None:
    with http_meter(ramp) as meter:
        meter.code = 401
        url = f"http://user:s%40cret@{meter.address}/x?token=s3cr3t"
        wall_meter = WallMeter(url=url, **ANSWER)
        with following(url=url, **ANSWER) as sensor:
            assert until(lambda: everything(sensor).faults)
    assert meter.hits[0] == ("/x?token=s3cr3t", "Basic dXNlcjpzQGNyZXQ=")
    shown = f"{sensor.name} {everything(sensor).faults} {wall_meter!r} {wall_meter.model_dump_json()} {caplog.text}"
    assert "401 Unauthorized" in shown
    assert "cret" not in shown
    assert "s3cr3t" not in shown
    assert json.loads(wall_meter.model_dump_json())["url"] == f"http://***@{meter.address}/x?***"
    assert wall_meter.model_dump()["url"] == url  # what the worker gets


def test_the_hosts_name_is_filled_in() -> None:
    with http_meter(ramp) as meter, following(url=f"http://{meter.address}/{{host}}/x", **ANSWER):
        assert until(lambda: meter.hits)
    assert meter.hits[0][0] == "/here/x"

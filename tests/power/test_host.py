"""What a host says of itself, where it says less than one would like."""

from types import SimpleNamespace

import psutil
import pytest

from greenray.power.host import host_info


@pytest.mark.parametrize(("plugged", "on_battery"), [(True, False), (False, True), (None, None)])
def test_a_battery_that_does_not_say_whether_it_is_plugged_in_is_unknown(
    monkeypatch: pytest.MonkeyPatch, plugged: bool | None, on_battery: bool | None
) -> None:
    monkeypatch.setattr(psutil, "sensors_battery", lambda: SimpleNamespace(power_plugged=plugged))
    assert host_info().on_battery is on_battery


def test_a_host_without_a_battery_runs_on_none_and_one_that_hides_it_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "sensors_battery", lambda: None)
    assert host_info().on_battery is False

    def hidden() -> None:
        raise FileNotFoundError("/sys/class/power_supply")

    monkeypatch.setattr(psutil, "sensors_battery", hidden)
    assert host_info().on_battery is None

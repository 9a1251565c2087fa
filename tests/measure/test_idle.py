"""`greenray measure` on a host that is not idle while its idle power is read."""

from pathlib import Path

import pytest

from tests.measure.test_measure import measure
from tests.support.burning import running
from tests.support.powercap import INTEL, LiveTree, make_tree


@pytest.mark.parametrize("idle_s", [None, 0.5])
def test_an_idle_power_that_neighbours_have_raised_is_doubtful(tmp_path: Path, idle_s: float | None) -> None:
    root = make_tree(tmp_path, INTEL)
    with LiveTree(root, idle_w=70, active_w=20), running():
        _, found = measure(tmp_path, "sleep", "0.5", idle_s=idle_s, env={"GREENRAY_POWERCAP_ROOT": str(root)})
    assert found["cpu"]["grade"] == "C"
    assert any("processors busy while idle power was read" in reason for reason in found["cpu"]["reasons"])

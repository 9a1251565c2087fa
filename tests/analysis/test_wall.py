"""What the wall meter's check comes to over a store."""

from pathlib import Path
from typing import Any

import pytest

from greenray import report
from greenray.analysis import Analysis, analyse
from tests.support.synthetic import Sweep

WALL: dict[str, Any] = {"wall_energy_j": 20.0, "wall_parts": "gpu+cpu+dram", "wall_parts_energy_j": 15.0, "wall_check": True}


def analysed(out: Path, *windows: dict[str, Any]) -> Analysis:
    sweep = Sweep(out=out)
    steady = [{**sweep._steady(index, 0.004, {}), **columns} for index, columns in enumerate(windows)]
    sweep.visit("vit-tiny", family="vit", energy_j=0.004, tactics={"compile": 0.8})
    sweep.cell(
        "prune-local", energy_j=0.004, windows=steady, model="vit-tiny", model_family="vit", visit=1, block_id="b1-vit-tiny-1"
    )
    return analyse(sweep.finish())


def sentences(analysis: Analysis) -> list[tuple[bool, str]]:
    found = [(caveat.weighty, caveat.text) for caveat in analysis.caveats]
    return [(weighty, text) for weighty, text in found if "all meter" in text or "the plug delivered" in text]


def test_without_a_meter_nothing_is_said(tmp_path: Path) -> None:
    assert sentences(analysed(tmp_path, {}, {})) == []


def test_what_the_parts_explain_is_a_share_of_the_plugs_energy(tmp_path: Path) -> None:
    ((weighty, text),) = sentences(analysed(tmp_path, WALL, {**WALL, "wall_energy_j": 60.0, "wall_parts_energy_j": 51.0}, {}))
    assert not weighty
    assert text.startswith(
        "Wall meter: on host-1, gpu+cpu+dram explain 82 % of the energy at the plug (75 to 85 % in a window). The rest goes to"
    )
    assert "weak" not in text


def test_where_workers_share_a_host_the_check_is_called_weak(tmp_path: Path) -> None:
    ((_, text),) = sentences(analysed(tmp_path, {**WALL, "cpu_apportioned": True}))
    assert text.endswith(
        "A worker adds up its own board only: other boards of the host are in the rest, and the check is a weak one."
    )


def test_parts_that_are_more_than_the_whole_stand_in_the_headline(tmp_path: Path) -> None:
    analysis = analysed(tmp_path, WALL, {**WALL, "wall_parts_energy_j": 25.0, "wall_check": False})
    ((weighty, text),) = sentences(analysis)
    assert weighty
    assert text.startswith(
        "The parts add up to more than the plug delivered: on host-1, in 1 of 2 windows, gpu+cpu+dram took up to 25 % more"
    )
    report.write(analysis, html=tmp_path / "r.html", markdown=tmp_path / "r.md")
    assert "more than the plug delivered" in (tmp_path / "r.md").read_text().split("## ")[1]


@pytest.mark.parametrize("parts", [None, "cpu"])
def test_a_check_that_was_not_made_is_no_check(tmp_path: Path, parts: str | None) -> None:
    columns = {"wall_energy_j": 20.0, "wall_parts": parts}
    ((weighty, text),) = sentences(analysed(tmp_path, columns, columns))
    assert not weighty
    assert text == (
        "Wall meter: 40.0 J at the plug of host-1 in 2 windows. The energy of the host's parts is not known there, so they "
        "could not be held against it."
    )

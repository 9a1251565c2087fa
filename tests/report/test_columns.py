"""Columns of the tables are told: each once, none that no table has, with the unit of its name."""

import csv
from collections import Counter
from importlib import import_module, resources
from pathlib import Path

import pytest

from greenray.analysis import analyse
from greenray.report import tables
from tests.support.synthetic import Sweep

UNITS = {"_j": ("J", "J/sample"), "_s": ("s", "s/sample", "samples/s"), "_w": ("W",), "_bytes": ("B",), "_share": ("0-1",)}


def told() -> list[dict[str, str]]:
    text = resources.files("greenray.report.tables").joinpath(tables.DICTIONARY).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def columns(name: str) -> tuple[str, ...]:
    found: tuple[str, ...] = import_module(name, tables.__name__).COLUMNS
    return found


@pytest.mark.parametrize("name", tables.TABLES)
def test_every_column_of_a_table_is_told_once(name: str) -> None:
    own = Counter(row["column"] for row in told() if row["table"] == name.removeprefix("."))
    shared = Counter(row["column"] for row in told() if row["table"] == "*")
    assert all(own[column] == 1 or (own[column], shared[column]) == (0, 1) for column in columns(name))
    assert set(own) <= set(columns(name))


def test_no_column_is_told_that_is_nowhere_and_units_are_those_of_names() -> None:
    known = {column for name in tables.TABLES for column in columns(name)}
    for row in told():
        assert row["column"] in known
        assert row["meaning"]
        for ending, units in UNITS.items():
            assert not row["column"].endswith(ending) or row["unit"] in units, row


def test_they_lie_beside_the_tables(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out")
    sweep.visit("m", family="f", energy_j=0.01, tactics={})
    assert tmp_path / "tables" / "columns.csv" in tables.write(analyse(sweep.finish()), tmp_path / "tables")
    with (tmp_path / "tables" / "columns.csv").open(encoding="utf-8", newline="") as file:
        assert list(csv.DictReader(file)) == told()

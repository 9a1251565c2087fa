"""A section in a file of its own, as a newcomer would add one: the cell that took longest."""

from typing import Any

import polars as pl

from greenray.analysis.analyse import Analysis
from greenray.analysis.wording import quantity
from greenray.report.document import Section, Text


def load(analysis: Analysis) -> dict[str, Any] | None:
    cells = analysis.frames.settled.filter(pl.col("status") == "ok").sort("duration_s", descending=True)
    return cells.row(0, named=True) if cells.height else None


def show(cell: dict[str, Any], analysis: Analysis) -> Section:
    text = f"{cell['tactic']} on {cell['model']} took {quantity(cell['duration_s'], 's')}."
    return Section(id="longest", title="The longest cell", blocks=(Text(text=text),))

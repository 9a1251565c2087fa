"""The console that commands print to."""

import os
import sys
from collections.abc import Iterable, Sequence
from typing import TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

_WIDTH_WITHOUT_TERMINAL = 160  # a log or a pipe has no width; 80 columns would cut tables that nobody's window cuts


def make_console(stream: TextIO | None = None, *, stderr: bool = False) -> Console:
    """A console as wide as the terminal, or wide enough for tables where there is none; COLUMNS overrides."""
    target = stream or (sys.stderr if stderr else sys.stdout)
    width = None if target.isatty() or "COLUMNS" in os.environ else _WIDTH_WITHOUT_TERMINAL
    return Console(file=target, width=width)


def table(*columns: str, rows: Iterable[Sequence[str]] = (), width: int | None = None) -> Table:
    """A table without lines; of a given `width`, if that has room for its longest words: no word is cut then."""
    lines = [tuple(row) for row in rows]
    gap, widths = _fitted([columns, *lines], width=width) if width is not None else (2, [])
    # Else both sides of a cell are padded, and the space between two is that of both.
    grid = Table(*columns, box=None, header_style="bold", pad_edge=False, padding=(0, gap, 0, 0) if widths else (0, 1))
    for column, cells in zip(grid.columns, widths, strict=False):
        column.width = cells
    for line in lines:
        grid.add_row(*line)
    return grid


def _fitted(lines: Sequence[Sequence[str]], *, width: int) -> tuple[int, list[int]]:
    """Space between columns, and the width of each: that of its longest word, and more as there is room; [] if there is none.

    Figures keep their % if that has room as well.
    """
    columns = list(zip(*lines, strict=True))
    whole = [max(map(cell_len, cells)) for cells in columns]
    for kept, gap in (("_%", 2), ("_%", 1), (" %", 2), (" %", 1)):
        split = [[word for cell in cells for word in cell.replace(" %", kept).split()] for cells in columns]
        found = [max(map(cell_len, words), default=0) for words in split]
        spare = width - sum(found) - gap * (len(found) - 1)
        if spare >= 0:
            break
    else:
        return gap, []
    while spare and found != whole:
        tightest = max(range(len(found)), key=lambda place: whole[place] / max(1, found[place]))
        found[tightest] += 1
        spare -= 1
    return gap, found

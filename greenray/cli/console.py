"""The console that commands print to."""

import os
import sys
from collections.abc import Iterable, Sequence
from typing import TextIO

from rich.console import Console
from rich.table import Table

_WIDTH_WITHOUT_TERMINAL = 160  # a log or a pipe has no width; 80 columns would cut tables that nobody's window cuts


def make_console(stream: TextIO | None = None, *, stderr: bool = False) -> Console:
    """A console as wide as the terminal, or wide enough for tables where there is none; COLUMNS overrides."""
    target = stream or (sys.stderr if stderr else sys.stdout)
    width = None if target.isatty() or "COLUMNS" in os.environ else _WIDTH_WITHOUT_TERMINAL
    return Console(file=target, width=width)


def table(*columns: str, rows: Iterable[Sequence[str]] = ()) -> Table:
    grid = Table(*columns, box=None, header_style="bold", pad_edge=False)
    for row in rows:
        grid.add_row(*row)
    return grid

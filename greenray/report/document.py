"""A page as data: sections of blocks, built once and shown twice, so that the HTML and the Markdown carry the same numbers."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any, TypeVar

T = TypeVar("T")
NAMES: Mapping[str, Callable[[Any], str]] = {"model": attrgetter("label"), "tactic": attrgetter("named")}
"""The first columns of a table of findings."""


@dataclass(frozen=True, slots=True)
class Text:
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bullets:
    items: tuple[str, ...]
    heading: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notes:
    """What the numbers next to it cannot tell."""

    items: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiles:
    """A few figures that stand for the whole: (value, label)."""

    items: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """A table; `text_columns` (indices) are set left, all others right. `folded` tables are shown on demand."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    heading: str = ""
    text_columns: frozenset[int] = frozenset({0, 1})
    folded: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A Plotly figure as plain data, and what it shows in a sentence. Its numbers stand in a table too."""

    id: str
    figure: Mapping[str, Any]
    caption: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    text: str
    heading: str = ""


Block = Text | Bullets | Notes | Tiles | Grid | Chart | Code


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    id: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    title: str
    subtitle: str
    sections: tuple[Section, ...]


def grid(
    rows: Iterable[T],
    columns: Mapping[str, Callable[[T], str]],
    *,
    text: Collection[str] = ("model", "tactic"),
    heading: str = "",
    folded: bool = False,
) -> Grid:
    """A table with a row for each of `rows`; `columns` say how they are headed and what stands in them, `text` which are text."""
    cells = tuple(tuple(show(row) for show in columns.values()) for row in rows)
    left = frozenset(place for place, name in enumerate(columns) if name in text)
    return Grid(columns=tuple(columns), rows=cells, heading=heading, text_columns=left, folded=folded)


def section(id: str, title: str, *blocks: Block | None) -> Section:
    """A section of these blocks, without None and lists that say nothing."""
    told = (block for block in blocks if block is not None and not (isinstance(block, Notes | Bullets) and not block.items))
    return Section(id=id, title=title, blocks=tuple(told))


def without_empty(grid: Grid, *, empty: str = "") -> Grid:
    """The table without the columns that say nothing in any row."""
    if not grid.rows:
        return grid
    kept = [index for index in range(len(grid.columns)) if any(row[index] not in ("", empty) for row in grid.rows)]
    return replace(
        grid,
        columns=tuple(grid.columns[index] for index in kept),
        rows=tuple(tuple(row[index] for index in kept) for row in grid.rows),
        text_columns=frozenset(place for place, index in enumerate(kept) if index in grid.text_columns),
    )

"""A table as data: rows in full precision for machines, lines for print."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from greenray.analysis.arms import Arm
from greenray.analysis.wording import MINUS, UNKNOWN, number
from greenray.report.document import Grid, grid

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """What is written of a table.

    Attributes:
        caption: what it shows, in a sentence.
        columns: names of the columns for machines, with units.
        rows: values by column; None is unknown, and a column says why where it matters.
        printed: the same for readers, with units in its heads.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    printed: Grid


def table(
    rows: Sequence[Row],
    *,
    columns: Sequence[str],
    caption: str,
    printed: Mapping[str, Callable[[Row], str]],
    text: Sequence[str],
    lines: Sequence[Row] | None = None,
) -> Table:
    """A table whose printed lines are made of its rows, or of `lines`; `text` are the heads of columns that are set left."""
    shown = grid(rows if lines is None else lines, dict(printed), text=text)
    return Table(caption=caption, columns=tuple(columns), rows=tuple(rows), printed=shown)


def figure(column: str, *, factor: float = 1.0, digits: int = 3) -> Callable[[Row], str]:
    """Says a number of a row, times a factor; nothing where it is unknown."""
    return lambda row: "" if row[column] is None else _signed(row[column] * factor, digits)


def text(column: str) -> Callable[[Row], str]:
    return lambda row: "" if row[column] is None else str(row[column])


def with_interval(value: str, *, factor: float = 1.0, digits: int = 3) -> Callable[[Row], str]:
    """Says a number with its interval, of the columns `value`, `value`_low and `value`_high."""

    def say(row: Row) -> str:
        if row[value] is None:
            return UNKNOWN
        ends = [row[f"{value}_{end}"] for end in ("low", "high")]
        said = _signed(row[value] * factor, digits)
        return said if None in ends else f"{said} ({' to '.join(_signed(end * factor, digits) for end in ends)})"

    return say


def _signed(value: float, digits: int) -> str:
    return number(value, digits=digits).replace("-", MINUS)


def identity(arm: Arm, label: str) -> dict[str, Any]:
    """What tells the cells of a model from those of others."""
    cell = arm.cell
    named = ("sweep", "model", "model_family", "model_source", "model_revision", "dataset", "batch_size", "device")
    return {"label": label} | {name: cell[name] for name in named} | {"hardware": arm.hardware, "energy_scope": arm.scope}


IDENTITY = (
    *("label", "sweep", "model", "model_family", "model_source", "model_revision", "dataset", "batch_size", "device"),
    *("hardware", "energy_scope"),
)

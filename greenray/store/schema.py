"""Which tables, columns, types and units the store holds: `columns.csv` says it, once, for writers, readers and people.

Columns are added, never retyped; a reader passes these schemas, so that old files and new ones scan together.
`sweep` and `tactic` are path keys only (in path and file both, pandas and pyarrow refuse to read).
"""

import csv
import functools
from importlib import resources
from typing import NamedTuple

import pyarrow as pa

SCHEMA_VERSION = 1
PARTITION_KEYS = ("sweep", "tactic")
WINDOW_KINDS = ("data", "load", "idle", "optimize", "warmup", "steady", "evaluate", "epoch")
TABLES = ("cells", "windows", "trace", "predictions")
DERIVED = ("comparisons",)
"""Tables that the analysis writes, one file each; they can be made again from the others at any time."""

_TYPES = {
    "text": pa.string(),
    "texts": pa.list_(pa.string()),
    "int": pa.int64(),
    "float": pa.float64(),
    "bool": pa.bool_(),
    "time": pa.timestamp("us", tz="UTC"),
}
_EVERY_TABLE = "*"


class Column(NamedTuple):
    """One column of the data dictionary; `unit` is '' where there is none."""

    table: str
    column: str
    type: str
    unit: str
    meaning: str


@functools.cache
def columns(table: str) -> tuple[Column, ...]:
    text = resources.files("greenray.store").joinpath("columns.csv").read_text(encoding="utf-8")
    every = [Column(**row) for row in csv.DictReader(text.splitlines())]
    shared = (_EVERY_TABLE, table) if table in TABLES else (table,)
    return tuple(column._replace(table=table) for column in every if column.table in shared)


@functools.cache
def arrow_schema(table: str) -> pa.Schema:
    fields = [pa.field(c.column, _TYPES[c.type], metadata={"unit": c.unit, "meaning": c.meaning}) for c in columns(table)]
    return pa.schema(fields, metadata={"greenray_schema_version": str(SCHEMA_VERSION)})


def dictionary() -> list[dict[str, str]]:
    """The data dictionary, one entry a column, partition keys included."""
    meanings = ("name of the sweep; a key of the path", "slug of the tactic chain; a key of the path")
    found = []
    for table in (*TABLES, *DERIVED):
        keys = [Column(table, key, "text", "", meaning) for key, meaning in zip(PARTITION_KEYS, meanings, strict=True)]
        every = [*keys, *columns(table)] if table in TABLES else columns(table)
        found += [{**column._asdict(), "type": str(_TYPES[column.type])} for column in every]
    return found

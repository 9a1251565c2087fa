"""Reading a store: lazily, with the schema passed, committed rows only."""

import json
from pathlib import Path
from typing import Any

import polars as pl

from greenray.errors import StoreError
from greenray.store import layout
from greenray.store.schema import PARTITION_KEYS, arrow_schema


def polars_schema(table: str) -> pl.Schema:
    """The schema of a table as Polars sees it, path keys included (always text: 2.10 must not become 2.1)."""
    empty = pl.from_arrow(arrow_schema(table).empty_table())
    assert isinstance(empty, pl.DataFrame)
    return pl.Schema({**empty.schema, **dict.fromkeys(PARTITION_KEYS, pl.String())})


def scan(out: Path, *, table: str, sweep: str | None = None) -> pl.LazyFrame:
    """One table of a store, lazily; rows without a commit in `cells` are left out.

    Raises:
        StoreError: `out` is no store.
    """
    layout.require_store(out)
    frame = _scan_raw(out, table=table, sweep=sweep)
    if table == "cells":
        return frame
    committed = _scan_raw(out, table="cells", sweep=sweep).select("run_id")
    return frame.join(committed, on="run_id", how="semi")


def settled(out: Path, *, sweep: str | None = None) -> pl.LazyFrame:
    """The row that counts of each cell: its first ok attempt, else its last."""
    rank = pl.when(pl.col("status") == "ok").then(pl.col("attempt")).otherwise(pl.col("attempt").neg() + 10**9)
    return (
        scan(out, table="cells", sweep=sweep)
        .with_columns(rank.alias("_rank"))
        .sort("sweep", "cell_id", "_rank")
        .unique(subset=["sweep", "cell_id"], keep="first", maintain_order=True)
        .drop("_rank")
    )


def manifests(out: Path) -> dict[str, dict[str, Any]]:
    """Every sweep's manifest by name.

    Raises:
        StoreError: `out` is no store, or a manifest cannot be read.
    """
    layout.require_store(out)
    found = {}
    for path in sorted((out / "manifests").glob("*.json")):
        try:
            found[path.stem] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise StoreError(f"{path}: this manifest cannot be read ({error}).") from None
    return found


def _scan_raw(out: Path, *, table: str, sweep: str | None) -> pl.LazyFrame:
    schema = polars_schema(table)
    files = [entry.path for entry in layout.entries(out, table=table, sweep=sweep)]
    if not files:
        return pl.LazyFrame(schema=schema)
    return pl.scan_parquet(
        files,
        schema=schema,
        hive_partitioning=True,
        hive_schema={key: pl.String() for key in PARTITION_KEYS},
        missing_columns="insert",
        extra_columns="ignore",
        cast_options=pl.ScanCastOptions(integer_cast="upcast"),
    )

"""Reading a store: lazily, with the schema passed, committed rows only."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from greenray.errors import StoreError
from greenray.store.base import Store
from greenray.store.registry import open_store
from greenray.store.schema import PARTITION_KEYS, arrow_schema
from greenray.store.tables import Entry, entries, read_manifests, require_store


def polars_schema(table: str) -> pl.Schema:
    """The schema of a table as Polars sees it, path keys included (always text: 2.10 must not become 2.1)."""
    empty = pl.from_arrow(arrow_schema(table).empty_table())
    assert isinstance(empty, pl.DataFrame)
    return pl.Schema({**empty.schema, **dict.fromkeys(PARTITION_KEYS, pl.String())})


def scan(store: Store | Path, *, table: str, sweep: str | None = None) -> pl.LazyFrame:
    """One table of a store, lazily, without rows that have no commit in `cells`. Raises StoreError where it is no store."""
    store = open_store(store) if isinstance(store, Path) else store
    require_store(store)
    frame = scan_files(store, table=table, files=entries(store, table=table, sweep=sweep))
    if table == "cells":
        return frame
    committed = scan_files(store, table="cells", files=entries(store, table="cells", sweep=sweep)).select("run_id")
    return frame.join(committed, on="run_id", how="semi")


def settle(cells: pl.LazyFrame) -> pl.LazyFrame:
    """The row that counts of each cell: its first ok attempt, else its last."""
    rank = pl.when(pl.col("status") == "ok").then(pl.col("attempt")).otherwise(pl.col("attempt").neg() + 10**9)
    return (
        cells.with_columns(rank.alias("_rank"))
        .sort("sweep", "cell_id", "_rank")
        .unique(subset=["sweep", "cell_id"], keep="first", maintain_order=True)
        .drop("_rank")
    )


def manifests(store: Store | Path) -> dict[str, dict[str, Any]]:
    """Every sweep's manifest by name. Raises StoreError where it is no store, or a manifest is none."""
    store = open_store(store) if isinstance(store, Path) else store
    require_store(store)
    found = {}
    for name, manifest in read_manifests(store):
        if manifest is None:
            raise StoreError(f"{store.out}: manifests/{name}.json was not written by a sweep; put it right or move it elsewhere.")
        found[name] = manifest
    return found


def scan_files(store: Store, *, table: str, files: Sequence[Entry]) -> pl.LazyFrame:
    """These files of a table and no others, lazily; whether their rows are committed is for the caller to know."""
    schema = polars_schema(table)
    if not files:
        return pl.LazyFrame(schema=schema)
    return pl.scan_parquet(
        [store.scan_path(file.key) for file in files],
        schema=schema,
        hive_partitioning=True,
        hive_schema={key: pl.String() for key in PARTITION_KEYS},
        missing_columns="insert",
        extra_columns="ignore",
        cast_options=pl.ScanCastOptions(integer_cast="upcast"),
    )

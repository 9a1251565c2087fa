"""Where things lie in a store, what makes a folder one, and how an attempt is committed.

    <table>/sweep=<name>/tactic=<slug>/<cell_id>.<attempt>.parquet
    manifests/<name>.json       config, cells, hardware and versions; written before the first cell
    checkpoints/<cell_id>/      what training saved; in place before its row of `cells`
    logs/<cell_id>.<attempt>.log, logs/driver.log
    report.html, report.md, comparisons.parquet     written from the tables, and at any time again
    .staging/, .lock            of the local store: files on their way, and the driver that writes

Rows of windows, trace and predictions are written first; that of `cells` is the commit. What has none does not exist for readers,
and the next sweep on the store removes it.
"""

import contextlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from greenray.errors import StoreError
from greenray.store.base import Store
from greenray.store.schema import DERIVED, TABLES, arrow_schema

DRIVER_LOG = "logs/driver.log"
_FOLDERS = (*TABLES, "manifests", "checkpoints", "logs", ".staging")
_BEGUN = {".lock", ".staging", "logs"}
_DERIVED = {"report.html", "report.md", *(f"{table}.parquet" for table in DERIVED)}
_FILE = re.compile(
    r"[a-z]+/sweep=(?P<sweep>[^/]+)/tactic=(?P<tactic>[^/]+)/(?P<cell_id>c\d+-[0-9a-f]{16})\.(?P<attempt>\d+)\.parquet"
)

Rows = Sequence[Mapping[str, Any]] | Mapping[str, Sequence[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    key: str
    sweep: str
    tactic: str
    cell_id: str
    attempt: int


def require_store(store: Store) -> None:
    """Raises StoreError where there is no store, is no folder or holds neither manifest nor cells of a sweep."""
    names = store.names()
    if not names:
        raise StoreError(f"{store.out}: there is no such store; run `greenray sweep CONFIG --out {store.out}` first.")
    _require_folders(store, names)
    if not _is_ours(store, names) and not entries(store, table="cells"):
        raise StoreError(f"{store.out}: not a GreenRay store; give the OUT folder of a sweep.")


def require_writable(store: Store) -> None:
    """Raises StoreError where this is a file, holds files that no sweep wrote, or cannot be written; it need not exist."""
    names = store.names()
    _require_folders(store, names)
    if names and not _is_ours(store, names):
        raise StoreError(
            f"{store.out}: not a GreenRay store, it holds other files and no sweep's manifest; "
            "give a new or empty folder with --out."
        )
    store.replace(".staging/writable", b"")
    store.remove(".staging/writable")


def _require_folders(store: Store, names: Mapping[str, str]) -> None:
    for name in _FOLDERS:
        if names.get(name) == "file":
            raise StoreError(f"{store.out}: {name} is a file where a store has a folder; give a new or empty folder with --out.")


def _is_ours(store: Store, names: Mapping[str, str]) -> bool:
    """Whether there is a sweep's manifest, or nothing but the traces of a sweep that ended before it had written one."""
    if any(manifest is not None for _, manifest in read_manifests(store)):
        return True
    logs = store.list("logs")
    return logs in ([], [DRIVER_LOG]) and names.keys() <= (_BEGUN | _DERIVED if logs else _BEGUN)


def read_manifests(store: Store) -> Iterator[tuple[str, dict[str, Any] | None]]:
    """What lies in `manifests`, by name; None for what is no sweep's manifest, as other people's files are not."""
    for key in filter(lambda key: key.endswith(".json"), store.list("manifests")):
        manifest = None
        with contextlib.suppress(ValueError, RecursionError):
            match json.loads(store.read(key) or b""):
                case {"schema_version": int(), "auto_device": str(), "config": {"limits": {"max_attempts": int()}}} as found:
                    cells = found.get("cells")
                    fits = isinstance(cells, list) and all(isinstance(cell, dict) and "cell_id" in cell for cell in cells)
                    manifest = found if fits else None
        yield key.removeprefix("manifests/").removesuffix(".json"), manifest


def entries(store: Store, *, table: str, sweep: str | None = None) -> list[Entry]:
    """Every file of a table, in a stable order, by listing."""
    found = filter(None, map(_FILE.fullmatch, store.list(f"{table}/sweep={sweep}" if sweep else table)))
    return [Entry(key=m[0], sweep=m["sweep"], tactic=m["tactic"], cell_id=m["cell_id"], attempt=int(m["attempt"])) for m in found]


def table_key(*, table: str, sweep: str, tactic: str, cell_id: str, attempt: int) -> str:
    return f"{table}/sweep={sweep}/tactic={tactic}/{cell_id}.{attempt}.parquet"


def commit(
    store: Store,
    *,
    sweep: str,
    tactic: str,
    cell: Mapping[str, Any],
    windows: Rows = (),
    trace: Rows = (),
    predictions: Rows = (),
    checkpoint: Path | None = None,
) -> bool:
    """Write one attempt; columns not given are NULL, and all rows get the keys of `cell`: cell_id, run_id and attempt.

    Files are created, never replaced: where the attempt is there already (a worker that was given up on was still at it),
    nothing changes and the answer is False. The folder `checkpoint` goes to `checkpoints/<cell_id>`. Raises StoreError where the
    store cannot be written (nothing that was committed before is touched), ValueError where the schema does not know a column.
    """
    rows: dict[str, Rows] = {"trace": trace, "predictions": predictions, "windows": windows, "cells": [cell]}
    keys = {name: cell[name] for name in ("cell_id", "run_id", "attempt")}
    tables = {name: _table(name, given, keys=keys) for name, given in rows.items()}
    where: dict[str, Any] = {"sweep": sweep, "tactic": tactic, "cell_id": cell["cell_id"], "attempt": cell["attempt"]}
    if store.exists(table_key(table="cells", **where)):  # else its checkpoint would be replaced
        return False
    if checkpoint is not None:
        store.upload_folder(checkpoint, f"checkpoints/{cell['cell_id']}")
    written = (store.create(table_key(table=name, **where), parquet(table)) for name, table in tables.items() if table.num_rows)
    return all(written)


def clean(store: Store, *, sweep: str) -> int:
    """Remove what interrupted commits left behind; returns how many files of tables. Call it with the lock held."""
    found = {table: entries(store, table=table, sweep=sweep) for table in reversed(TABLES)}  # its commit last, as it is written
    committed = {(e.tactic, e.cell_id, e.attempt) for e in found["cells"]}
    left = [e.key for files in found.values() for e in files if (e.tactic, e.cell_id, e.attempt) not in committed]
    for key in left:
        store.remove(key)
    store.remove(".staging")
    return len(left)


def write_manifest(store: Store, *, sweep: str, manifest: Mapping[str, Any]) -> None:
    store.replace(f"manifests/{sweep}.json", (json.dumps(manifest, indent=2, sort_keys=True) + "\n").encode())


def parquet(table: pa.Table) -> bytes:
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer, compression="zstd")
    return bytes(buffer.getvalue())


def _table(name: str, rows: Rows, *, keys: Mapping[str, Any]) -> pa.Table:
    schema = arrow_schema(name)
    if isinstance(rows, Mapping):
        columns = {key: list(value) for key, value in rows.items()}
        length = len(next(iter(columns.values()))) if columns else 0
    else:
        length = len(rows)
        names = dict.fromkeys(key for row in rows for key in row)
        columns = {key: [row.get(key) for row in rows] for key in names}
    columns |= {key: [value] * length for key, value in keys.items()}
    unknown = set(columns) - set(schema.names)
    if unknown:
        raise ValueError(f"table {name} has no column {', '.join(sorted(unknown))}")
    arrays = [pa.array(columns.get(field.name, [None] * length), type=field.type) for field in schema]
    return pa.Table.from_arrays(arrays, schema=schema)

"""Committing attempts: atomic files, the row of `cells` last.

Rows of windows, trace and predictions are moved into place first; the move of the `cells` file is the commit. What has
no row there does not exist for readers, and the next sweep on the store removes it.
"""

import errno
import fcntl
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from greenray.errors import StoreError
from greenray.store import layout
from greenray.store.schema import TABLES, arrow_schema

Rows = Sequence[Mapping[str, Any]] | Mapping[str, Sequence[Any]]


def commit(
    out: Path,
    *,
    sweep: str,
    tactic: str,
    cell: Mapping[str, Any],
    windows: Rows,
    trace: Rows,
    predictions: Rows,
    checkpoint: Path | None = None,
) -> bool:
    """Write one attempt. Every row gets the keys of `cell`; columns not given are NULL.

    Files are created, never replaced: where the attempt is there already (a worker that was given up on was still at it),
    nothing changes and the answer is False.

    Args:
        out: the store.
        sweep: name of the sweep.
        tactic: slug of the tactic chain.
        cell: the row of `cells`, with cell_id, run_id and attempt.
        windows: rows of `windows`, as a list of rows or as columns.
        trace: rows of `trace`, likewise.
        predictions: rows of `predictions`, likewise.
        checkpoint: folder under `.staging` to move to `checkpoints/<cell_id>`.

    Raises:
        StoreError: no space left, or the store cannot be written; nothing that was committed before is touched.
        ValueError: a row has a column that the schema does not know.
    """
    keys = {name: cell[name] for name in ("cell_id", "run_id", "attempt")}
    tables = {
        "trace": _table("trace", trace, keys=keys),
        "predictions": _table("predictions", predictions, keys=keys),
        "windows": _table("windows", windows, keys=keys),
        "cells": _table("cells", [cell], keys=keys),
    }
    with _readable_errors(out):
        if checkpoint is not None:
            _move_folder(checkpoint, out / "checkpoints" / str(cell["cell_id"]))
        for name, table in tables.items():
            if table.num_rows == 0:
                continue
            target = layout.table_file(
                out, table=name, sweep=sweep, tactic=tactic, cell_id=str(cell["cell_id"]), attempt=int(cell["attempt"])
            )
            staged = out / ".staging" / f"{uuid.uuid4().hex}.parquet"
            staged.parent.mkdir(parents=True, exist_ok=True)
            with staged.open("wb") as file:
                pq.write_table(table, file, compression="zstd")
                os.fsync(file.fileno())
            if not _create(staged, target):
                return False
    return True


def write_text(path: Path, text: str) -> None:
    """Replace a file as a whole; raises StoreError when the disk is full or not writable."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, data: bytes) -> None:
    """The same for what is no text."""
    with _readable_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        staged = path.parent / f".{path.name}.{uuid.uuid4().hex}"
        try:
            with staged.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            _move(staged, path)
        finally:
            staged.unlink(missing_ok=True)


def write_manifest(out: Path, *, sweep: str, manifest: Mapping[str, Any]) -> None:
    """Write `manifests/<sweep>.json`."""
    write_text(out / "manifests" / f"{sweep}.json", json.dumps(manifest, indent=2, sort_keys=True) + "\n")


@contextmanager
def lock(out: Path) -> Iterator[None]:
    """Hold the store for one driver; the kernel lets go of it when the process ends, however it ends.

    Raises:
        StoreError: another sweep holds it.
    """
    path = out / ".lock"
    with _readable_errors(out):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = path.read_text(encoding="utf-8").strip() or "another process"
            raise StoreError(
                f"{out}: in use by another sweep ({owner}); wait for it or give another folder with --out."
            ) from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"pid {os.getpid()} on {os.uname().nodename}".encode())
        yield
    finally:
        os.close(descriptor)


def clean(out: Path, *, sweep: str) -> int:
    """Remove what interrupted commits left behind; returns how many files of tables. Call it with the lock held."""
    committed = {(e.tactic, e.cell_id, e.attempt) for e in layout.entries(out, table="cells", sweep=sweep)}
    removed = 0
    for table in TABLES:
        for entry in layout.entries(out, table=table, sweep=sweep):
            if (entry.tactic, entry.cell_id, entry.attempt) not in committed:
                entry.path.unlink(missing_ok=True)
                removed += 1
    for left in (out / ".staging").glob("*"):
        shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)
    return removed


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


def _create(staged: Path, target: Path) -> bool:
    """Move a file to a name that must be free; False if it is not."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(staged, target)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        if target.exists():  # a file system without hard links: as good as it can be there
            return False
        staged.replace(target)
    finally:
        staged.unlink(missing_ok=True)
    _sync_folder(target.parent)
    return True


def _move(staged: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    staged.replace(target)
    _sync_folder(target.parent)


def _move_folder(staged: Path, target: Path) -> None:
    for file in staged.rglob("*"):
        if file.is_file():
            with file.open("rb") as opened:
                os.fsync(opened.fileno())
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():  # left by an attempt that died between this move and its commit
        shutil.rmtree(target)
    staged.replace(target)
    _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _readable_errors(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise layout.no_space(out) from None
        raise StoreError(f"{out}: cannot be written ({error.strerror or error}); what is committed is safe.") from None

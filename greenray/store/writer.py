"""Passing: the former names, by folder, until every caller holds a Store."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from greenray.store import tables
from greenray.store.local import write_file
from greenray.store.registry import open_store


def commit(out: Path, **rows: Any) -> bool:
    return tables.commit(open_store(out), **rows)


def write_text(path: Path, text: str) -> None:
    write_file(path, text.encode())


write_bytes = write_file


def write_manifest(out: Path, *, sweep: str, manifest: Mapping[str, Any]) -> None:
    tables.write_manifest(open_store(out), sweep=sweep, manifest=manifest)


@contextmanager
def lock(out: Path) -> Iterator[None]:
    with open_store(out).lock():
        yield


def clean(out: Path, *, sweep: str) -> int:
    return tables.clean(open_store(out), sweep=sweep)

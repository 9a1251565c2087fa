"""Passing: the former names, by folder, until every caller holds a Store."""

from pathlib import Path

from greenray.store import tables
from greenray.store.registry import open_store


def local_path(out: str | Path) -> Path:
    open_store(out)
    return Path(str(out).removeprefix("file://")).expanduser()


def require_store(out: Path) -> None:
    tables.require_store(open_store(out))


def require_writable(out: Path) -> None:
    tables.require_writable(open_store(out))


def require_space(out: Path) -> None:
    open_store(out).require_space()


def is_held(out: Path) -> bool:
    return open_store(out).is_locked()

"""Where things lie in a store, and what makes a folder one.

OUT/<table>/sweep=<name>/tactic=<slug>/<cell_id>.<attempt>.parquet
OUT/manifests/<name>.json      config, cells, hardware and versions; written before the first cell
OUT/checkpoints/<cell_id>/     what training saved; in place before its row of `cells`
OUT/logs/<cell_id>.<attempt>.log
OUT/comparisons.parquet        each tactic against the baselines of its visit; written with the report, from the tables
OUT/.staging/                  files on their way; nothing in it counts
OUT/.lock                      held by the driver that writes
"""

import fcntl
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from greenray.errors import StoreError
from greenray.store.schema import TABLES

_MARKS = (*TABLES, "manifests", ".staging", ".lock")
_FULL_BYTES = 2**20
_FILE = re.compile(r"(?P<cell_id>c\d+-[0-9a-f]{16})\.(?P<attempt>\d+)\.parquet")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One file of a table, known from its path alone."""

    path: Path
    table: str
    sweep: str
    tactic: str
    cell_id: str
    attempt: int


def local_path(out: str | Path) -> Path:
    """OUT as a local path.

    Raises:
        StoreError: OUT is a URI; a sweep needs a file system with atomic renames and locks.
    """
    text = str(out)
    if text.startswith("file://"):
        text = text.removeprefix("file://")
    elif "://" in text:
        raise StoreError(f"{text}: object stores are not supported; give a folder that every host sees (NFS, a shared volume).")
    return Path(text).expanduser()


def require_store(out: Path) -> None:
    """Check that `out` is a store that can be read.

    Raises:
        StoreError: it does not exist, is no folder or holds no sweep.
    """
    if not out.exists():
        raise StoreError(f"{out}: there is no such store; run `greenray sweep CONFIG --out {out}` first.")
    if not out.is_dir() or not any((out / mark).exists() for mark in _MARKS):
        raise StoreError(f"{out}: not a GreenRay store; give the OUT folder of a sweep.")


def require_writable(out: Path) -> None:
    """Check that `out` is a store, or may become one, and can be written.

    Raises:
        StoreError: it is a file, a folder with other content, or not writable.
    """
    if out.exists() and not out.is_dir():
        raise StoreError(f"{out}: is a file; give a folder with --out.")
    try:
        if out.is_dir() and any(out.iterdir()) and not any((out / mark).exists() for mark in _MARKS):
            raise StoreError(f"{out}: holds other files and is not a GreenRay store; give a new or empty folder with --out.")
        staging = out / ".staging"
        staging.mkdir(parents=True, exist_ok=True)
        probe = staging / "writable"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise StoreError(f"{out}: cannot be written ({error.strerror}); give another folder with --out.") from None


def require_space(out: Path) -> None:
    """Check that the file system of `out` is not full.

    Raises:
        StoreError: it is.
    """
    if shutil.disk_usage(out).free < _FULL_BYTES:
        raise no_space(out)


def no_space(out: Path) -> StoreError:
    """The error for a full disk."""
    return StoreError(f"{out}: no space left; free some and run the same command again, what is committed is safe.")


def table_file(out: Path, *, table: str, sweep: str, tactic: str, cell_id: str, attempt: int) -> Path:
    """The place of one table's rows of one attempt."""
    return out / table / f"sweep={sweep}" / f"tactic={tactic}" / f"{cell_id}.{attempt}.parquet"


def entries(out: Path, *, table: str, sweep: str | None = None) -> list[Entry]:
    """Every file of a table, in a stable order, by listing."""
    found = []
    for path in sorted((out / table).glob(f"sweep={sweep or '*'}/tactic=*/*.parquet")):
        match = _FILE.fullmatch(path.name)
        if match:
            found.append(
                Entry(
                    path=path,
                    table=table,
                    sweep=path.parent.parent.name.removeprefix("sweep="),
                    tactic=path.parent.name.removeprefix("tactic="),
                    cell_id=match["cell_id"],
                    attempt=int(match["attempt"]),
                )
            )
    return found


def is_held(out: Path) -> bool:
    """Whether a driver holds the store's lock right now."""
    try:
        with (out / ".lock").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False

"""What earlier rounds of a cell have compiled, so that later ones need not: compiling costs more than all the rest of a round.

A cell's first attempt begins with an empty folder and pays for what it compiles, which is the tactic's one-off cost. If it ends
well the folder is kept, and the next round of the same cell begins with it. Nothing is handed to another cell, and nothing
outlives the worker: each has a folder of its own, held by a lock, and removes those whose owner is gone.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

PREFIX = "greenray-caches-"
_LOCK = ".lock"


@dataclass(slots=True, kw_only=True)
class Lent:
    """A folder for the caches of one attempt; `warm`: an earlier one has left files in it. Set `keep` to have it kept."""

    folder: Path
    warm: bool
    keep: bool = False


class CompileCaches:
    """The folders that a worker keeps, at most `limit_bytes` together: the least recently used go first."""

    def __init__(self, *, parent: Path | None = None, limit_bytes: int = 2 * 2**30) -> None:
        """Makes this worker's folder in `parent` (by default the one for temporary files) and removes those of dead workers."""
        self._parent = parent or Path(tempfile.gettempdir())
        self._limit_bytes = limit_bytes
        self._kept: dict[str, int] = {}  # bytes, the least recently used first
        remove_stale(self._parent)
        self.folder, self._lock = self._make()

    @contextlib.contextmanager
    def lend(self, key: str) -> Iterator[Lent]:
        """The folder of a key, empty at first; removed at the end unless its borrower has it kept and files are in it."""
        folder = self.folder / key
        folder.mkdir(exist_ok=True)
        lent = Lent(folder=folder, warm=self._kept.pop(key, 0) > 0)
        try:
            yield lent
        finally:
            self._take_back(key, lent)

    def close(self) -> None:
        """Remove all of it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self._kept.clear()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _take_back(self, key: str, lent: Lent) -> None:
        # What a broken attempt leaves may be half written.
        if not lent.keep or not (size := _bytes_under(lent.folder)):
            shutil.rmtree(lent.folder, ignore_errors=True)
            return
        self._kept[key] = size
        while sum(self._kept.values()) > self._limit_bytes:
            oldest = next(iter(self._kept))
            del self._kept[oldest]
            shutil.rmtree(self.folder / oldest, ignore_errors=True)

    def _make(self) -> tuple[Path, int]:
        while True:
            folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=self._parent))
            lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(lock, fcntl.LOCK_EX)
            if (folder / _LOCK).exists():
                return folder, lock
            os.close(lock)  # another worker took it for a dead one's before it was locked


def remove_stale(parent: Path) -> int:
    """Remove the folders of workers that were killed: whoever can take a lock owns a dead one's. Returns how many."""
    removed = 0
    for folder in parent.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):  # somebody else's, in use, or being removed
            lock = os.open(folder / _LOCK, os.O_RDWR)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
                removed += 1
            finally:
                os.close(lock)
    return removed


def _bytes_under(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            total += path.lstat().st_size if path.is_file() else 0
    return total

"""A store's tables as everything here reads them: each is read once, when it is first asked for, and shared from then on."""

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

import polars as pl

from greenray.store import reader
from greenray.store.base import Store
from greenray.store.tables import Entry, entries, require_store

Key = tuple[str, str, int]


def grades(windows: Iterable[str | None]) -> dict[str, int]:
    """Number of windows by grade, best first; "" counts those without one."""
    counted = Counter(grade or "" for grade in windows)
    return {grade: counted[grade] for grade in sorted(counted, key=lambda grade: (not grade, grade))}


class Frames:
    """The tables of a store, or StoreError. To look at one in a new way, query these frames: never scan a table again."""

    def __init__(self, store: Store) -> None:
        require_store(store)
        self.store = store
        self._read: dict[str, dict[Key, pl.DataFrame]] = {}
        self._files: dict[str, dict[Key, Entry]] = {}

    @cached_property
    def attempts(self) -> pl.DataFrame:
        return reader.scan(self.store, table="cells").collect()

    @cached_property
    def settled(self) -> pl.DataFrame:
        """The row of `cells` that counts of each cell."""
        return reader.settle(self.attempts.lazy()).collect()

    @cached_property
    def windows(self) -> pl.DataFrame:
        """The windows of settled cells, of every kind."""
        found = reader.scan_files(self.store, table="windows", files=entries(self.store, table="windows"))
        return found.join(self.settled.lazy().select("sweep", "run_id"), on=["sweep", "run_id"], how="semi").collect()

    @cached_property
    def work(self) -> pl.DataFrame:
        """Those whose figures are used: steady ones and epochs, not rejected, with work in them."""
        used = pl.col("kind").is_in(["steady", "epoch"]) & pl.col("rejected").is_null() & (pl.col("samples") > 0)
        return self.windows.filter(used)

    @cached_property
    def manifests(self) -> dict[str, dict[str, Any]]:
        return reader.manifests(self.store)

    def rows(self, table: str, cells: Iterable[Mapping[str, Any]]) -> dict[str, pl.DataFrame]:
        """Rows of `trace` or `predictions` of these rows of `cells`, by run_id where there are any; no file is opened twice."""
        if table not in self._files:
            self._files[table] = {(e.sweep, e.cell_id, e.attempt): e for e in entries(self.store, table=table)}
        files, read = self._files[table], self._read.setdefault(table, {})
        wanted = {key: cell["run_id"] for cell in cells if (key := (cell["sweep"], cell["cell_id"], cell["attempt"])) in files}
        new = [files[key] for key in wanted if key not in read]
        if new:
            found = reader.scan_files(self.store, table=table, files=new).collect()
            groups = found.group_by("sweep", "cell_id", "attempt", maintain_order=True)
            read |= {(str(sweep), str(cell), int(attempt)): rows for (sweep, cell, attempt), rows in groups}
        return {run_id: read[key].filter(pl.col("run_id") == run_id) for key, run_id in wanted.items() if key in read}

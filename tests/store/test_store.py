"""The store: what is committed can be read, what is not does not exist, and a full disk costs nothing that was there."""

import json
import multiprocessing
import random
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import polars as pl
import pyarrow.dataset as ds
import pytest

from greenray.errors import StoreError
from greenray.store import reader, tables
from greenray.store.registry import open_store
from greenray.store.schema import TABLES, WINDOW_KINDS, arrow_schema, dictionary
from greenray.worker.supervise import Status
from tests.support.synthetic import manifest

CELL_ID = "c1-0123456789abcdef"


def commit(out: Path, *, attempt: int = 1, status: str = "ok", cell_id: str = CELL_ID, **changes: Any) -> bool:
    return tables.commit(
        open_store(out),
        sweep=changes.pop("sweep", "s-2.10"),
        tactic=changes.pop("tactic", "prune-global_amount-0.5+compile"),
        cell={
            "cell_id": cell_id,
            "run_id": f"{cell_id}.{attempt}",
            "attempt": attempt,
            "status": status,
            "started_at": datetime.now(UTC),
        },
        windows=[{"window": 0, "kind": "steady", "throttle_reasons": ["sw_power_cap"], "total_energy_j": None}],
        trace={"monotonic_s": [1.0, 2.0], "sensor": ["cpu:host", "cpu:host"], "cpu_seconds": [0.5, 0.7]},
        predictions={"sample": [0, 1], "label": [3, 4], "prediction": [3, 5]},
        **changes,
    )


def test_what_is_committed_is_read_back_with_path_keys_as_text(tmp_path: Path) -> None:
    commit(tmp_path)
    for table, rows in {"cells": 1, "windows": 1, "trace": 2, "predictions": 2}.items():
        frame = reader.scan(open_store(tmp_path), table=table).collect()
        assert frame.height == rows
        assert frame.schema == reader.polars_schema(table)
        assert set(frame["sweep"]) == {"s-2.10"}
        assert set(frame["tactic"]) == {"prune-global_amount-0.5+compile"}
    assert reader.scan(open_store(tmp_path), table="windows").collect()["total_energy_j"].to_list() == [None]


def test_other_readers_open_it_and_the_keys_are_not_in_the_files(tmp_path: Path) -> None:
    commit(tmp_path)
    table = ds.dataset(tmp_path / "cells", partitioning="hive").to_table()
    assert table.num_rows == 1
    assert {"sweep", "tactic"} <= set(table.column_names)
    (file,) = (tmp_path / "cells").rglob("*.parquet")
    assert file.name == f"{CELL_ID}.1.parquet"
    assert not {"sweep", "tactic"} & set(pl.read_parquet_schema(file))


def test_without_its_cells_row_an_attempt_does_not_exist_and_is_cleaned_up(tmp_path: Path) -> None:
    commit(tmp_path)
    commit(tmp_path, attempt=2)
    store = open_store(tmp_path)
    where = {"sweep": "s-2.10", "tactic": "prune-global_amount-0.5+compile", "cell_id": CELL_ID, "attempt": 2}
    store.remove(tables.table_key(table="cells", **where))
    (tmp_path / ".staging" / "left.parquet").write_bytes(b"half")
    assert reader.scan(open_store(tmp_path), table="predictions").collect().height == 2
    assert tables.clean(store, sweep="s-2.10") == 3
    assert len(tables.entries(store, table="trace")) == 1
    assert not (tmp_path / ".staging").exists()


@pytest.mark.parametrize(
    ("statuses", "settled"), [(["crashed", "ok", "crashed"], 2), (["crashed", "timeout"], 2), (["ok", "ok"], 1), (["failed"], 1)]
)
def test_a_cell_is_settled_by_its_first_ok_else_by_its_last(tmp_path: Path, statuses: list[str], settled: int) -> None:
    for attempt, status in enumerate(statuses, 1):
        commit(tmp_path, attempt=attempt, status=status)
    assert reader.settle(reader.scan(open_store(tmp_path), table="cells")).collect()["attempt"].to_list() == [settled]


def test_older_files_without_a_column_still_scan(tmp_path: Path) -> None:
    commit(tmp_path)
    (file,) = (tmp_path / "cells").rglob("*.parquet")
    old = file.with_name("c1-ffffffffffffffff.1.parquet")
    pl.read_parquet(file, hive_partitioning=False).drop("grade").with_columns(
        cell_id=pl.lit("c1-ffffffffffffffff")
    ).write_parquet(old)
    frame = reader.scan(open_store(tmp_path), table="cells").collect()
    assert frame.height == 2
    assert frame.schema == reader.polars_schema("cells")


def test_an_attempt_is_committed_once_and_never_replaced(tmp_path: Path) -> None:
    assert commit(tmp_path, status="ok")
    assert not commit(tmp_path, status="crashed")
    assert reader.scan(open_store(tmp_path), table="cells").collect()["status"].to_list() == ["ok"]
    assert reader.scan(open_store(tmp_path), table="windows").collect().height == 1
    assert not list((tmp_path / ".staging").iterdir())


def test_an_unknown_column_is_a_fault_and_not_silently_lost(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no column joules"):
        tables.commit(
            open_store(tmp_path),
            sweep="s",
            tactic="t",
            cell={"cell_id": CELL_ID, "run_id": "r", "attempt": 1},
            windows=[{"joules": 1.0}],
            trace=[],
            predictions=[],
        )


def test_a_full_disk_is_one_sentence_and_what_was_committed_stays(small_disk: Path) -> None:
    commit(small_disk)
    numbers = random.Random(0)
    size = 2_000_000
    big = {"monotonic_s": [numbers.random() for _ in range(size)], "sensor": ["cpu:host"] * size}
    with pytest.raises(StoreError, match="no space left"):
        tables.commit(
            open_store(small_disk),
            sweep="s-2.10",
            tactic="t",
            cell={"cell_id": "c1-ffffffffffffffff", "run_id": "r", "attempt": 1},
            windows=[],
            trace=big,
            predictions=[],
        )
    assert reader.scan(open_store(small_disk), table="cells").collect()["cell_id"].to_list() == [CELL_ID]
    assert reader.scan(open_store(small_disk), table="trace").collect().height == 2


@pytest.mark.parametrize("folder", [*TABLES, "manifests", "checkpoints", "logs"])
def test_a_file_where_a_store_has_a_folder_is_named(tmp_path: Path, folder: str) -> None:
    tables.write_manifest(open_store(tmp_path), sweep="s", manifest=manifest("s"))
    shutil.rmtree(tmp_path / folder, ignore_errors=True)
    (tmp_path / folder).write_text("mine")
    for check in (tables.require_store, tables.require_writable):
        with pytest.raises(StoreError, match=f"{folder} is a file"):
            check(open_store(tmp_path))


@pytest.mark.parametrize(
    ("mine", "text"),
    [
        *((name, "mine") for name in ("notes.txt", "cells/mine.parquet", "logs/server.log", "windows/x/y", "report.html")),
        ("manifests/deployment.yaml", "kind: Deployment"),
        ("manifests/a.json", "[]"),
        ("manifests/deployment.json", '{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x"}}'),
        ("manifests/deep.json", 100_000 * "["),
        ("manifests/half.json", '{"schema_version": 1, "auto_device": "cpu", "config": {"name": "x"}, "cells": []}'),
        ("manifests/cells.json", json.dumps(manifest("x", cells=["c1"]))),
    ],
)
def test_what_others_wrote_is_never_swept_into_nor_read(tmp_path: Path, mine: str, text: str) -> None:
    (tmp_path / mine).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / mine).write_text(text)
    with pytest.raises(StoreError, match="not a GreenRay store, it holds other files"):
        tables.require_writable(open_store(tmp_path))
    with pytest.raises(StoreError, match="not a GreenRay store; give the OUT folder"):
        tables.require_store(open_store(tmp_path))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / mine]


def test_what_others_wrote_among_manifests_is_named(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    tables.write_manifest(store, sweep="s", manifest=manifest("s"))
    (tmp_path / "manifests" / "notes.json").write_text("[]")
    tables.require_writable(store)
    with pytest.raises(StoreError, match=r"manifests/notes\.json was not written by a sweep"):
        reader.manifests(store)


def test_what_is_no_store_is_refused(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    (tmp_path / "file").write_text("x")
    for bad in ("none", "full", "file"):
        with pytest.raises(StoreError):
            tables.require_store(open_store(tmp_path / bad))
    with pytest.raises(StoreError, match="is a file"):
        tables.require_writable(open_store(tmp_path / "file"))
    with pytest.raises(StoreError, match="object stores"):
        open_store("s3://bucket/x")
    new = open_store(tmp_path / "new" / "deep")
    tables.require_writable(new)
    with new.log_file(tables.DRIVER_LOG) as log, new.lock():
        log.write_text("a sweep that ended before its manifest")
        (tmp_path / "new" / "deep" / "report.html").touch()  # of an earlier version, which wrote one all the same
        tables.require_writable(new)  # may go on
        tables.require_store(new)


def _hold(out: Path, held: Any, release: Any) -> None:
    with open_store(out).lock():
        held.set()
        release.wait(30)


def test_the_lock_admits_one_driver_and_dies_with_it(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    held, release = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(tmp_path, held, release))
    other.start()
    try:
        assert held.wait(30)
        assert open_store(tmp_path).is_locked()
        with pytest.raises(StoreError, match=f"in use by another sweep .pid {other.pid} "), open_store(tmp_path).lock():
            pass
    finally:
        other.kill()
        other.join(10)
    with open_store(tmp_path).lock():
        pass
    assert not open_store(tmp_path).is_locked()


def test_a_checkpoint_is_in_place_when_its_row_is(tmp_path: Path) -> None:
    staged = tmp_path / ".staging" / "checkpoint-x"
    staged.mkdir(parents=True)
    (staged / "model.safetensors").write_bytes(b"w")
    commit(tmp_path, checkpoint=staged)
    assert (tmp_path / "checkpoints" / CELL_ID / "model.safetensors").read_bytes() == b"w"
    assert not staged.exists()


def test_the_dictionary_has_every_column_of_every_table_with_a_meaning() -> None:
    rows = dictionary()
    for table in TABLES:
        named = {row["column"] for row in rows if row["table"] == table}
        assert named == {*arrow_schema(table).names, "sweep", "tactic"}
    assert all(row["meaning"] and row["type"] for row in rows)


def test_the_dictionary_names_the_statuses_and_kinds_that_there_are() -> None:
    meaning = {(row["table"], row["column"]): row["meaning"] for row in dictionary()}
    assert meaning["cells", "status"] == "one of " + ", ".join(get_args(Status))
    assert meaning["windows", "kind"] == "one of " + ", ".join(WINDOW_KINDS)

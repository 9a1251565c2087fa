"""What every kind of store must do: the local one, and one that speaks to object storage, by the same calls."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from greenray.errors import StoreError
from greenray.store import reader, registry, tables
from greenray.store.base import Store
from tests.support.object_store import ObjectStore
from tests.support.synthetic import manifest

CELL = {"cell_id": "c1-0123456789abcdef", "run_id": "r", "attempt": 1, "status": "ok"}


@pytest.fixture(params=["file", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A store of either kind, opened by its address; the second kind is one line in the registry."""
    monkeypatch.setitem(registry.STORES, "bucket", "tests.support.object_store:ObjectStore")
    opened = registry.open_store(f"{request.param}://{tmp_path / 'out'}")
    yield opened
    if isinstance(opened, ObjectStore):
        opened.close()


def test_an_object_is_created_once(store: Store) -> None:
    assert store.create("a/b", b"first")
    assert not store.create("a/b", b"second")
    assert store.read("a/b") == b"first"
    store.replace("a/b", b"third")
    assert store.read("a/b") == b"third"
    assert store.read("a/c") is None
    assert (store.exists("a/b"), store.exists("a/c")) == (True, False)


def test_of_many_who_create_the_same_object_one_succeeds(store: Store) -> None:
    with ThreadPoolExecutor(8) as pool:
        created = list(pool.map(lambda number: store.create("the/one", b"%d" % number), range(24)))
    assert sum(created) == 1
    assert store.read("the/one") == b"%d" % created.index(True)


def test_keys_are_listed_below_a_folder_and_removed_with_it(store: Store) -> None:
    for key in ("t/s=1/b", "t/s=1/a", "t/s=10/c", "u"):
        store.replace(key, b"")
    assert store.list("t/s=1") == ["t/s=1/a", "t/s=1/b"]
    assert store.list("nothing") == []
    store.remove("t/s=1")
    store.remove("t/s=1")
    store.remove("u")
    assert store.list("t") == ["t/s=10/c"]
    assert {name: kind for name, kind in store.names().items() if name != ".staging"} == {"t": "folder"}


def test_one_driver_holds_it(store: Store) -> None:
    assert not store.is_locked()
    with store.lock():
        assert store.is_locked()
        with pytest.raises(StoreError, match="in use by another sweep"), store.lock():
            pass
    assert not store.is_locked()


def test_a_log_is_there_when_its_block_ends_and_grows(store: Store) -> None:
    for word in (b"one", b"two"):
        with store.log_file("logs/x.log") as path, path.open("ab") as file:
            file.write(word)
    assert store.read("logs/x.log") == b"onetwo"


def test_a_sweep_begins_commits_reads_and_cleans_up(store: Store) -> None:
    tables.require_writable(store)
    tables.write_manifest(store, sweep="s", manifest=manifest("s"))
    for weights in (b"old", b"new"):
        staged = store.scratch() / "checkpoint"
        (staged / "deep").mkdir(parents=True)
        (staged / "deep" / "model").write_bytes(weights)
        committed = tables.commit(
            store, sweep="s", tactic="t", cell=CELL, windows=[{"window": 0}], trace=[], predictions=[], checkpoint=staged
        )
        assert committed == (weights == b"old")
    orphan = {"table": "windows", "sweep": "s", "tactic": "t", "cell_id": "c1-ffffffffffffffff", "attempt": 1}
    assert store.create(tables.table_key(**orphan), store.read(tables.entries(store, table="windows")[0].key) or b"")
    assert tables.clean(store, sweep="s") == 1
    tables.require_store(store)
    assert reader.manifests(store) == {"s": manifest("s")}
    assert reader.settle(reader.scan(store, table="cells")).collect()["cell_id"].to_list() == [CELL["cell_id"]]
    assert reader.scan(store, table="windows").collect().height == 1
    fetched = store.fetch_folder(f"checkpoints/{CELL['cell_id']}")
    assert (fetched / "deep" / "model").read_bytes() == b"old"
    assert not store.fetch_folder("checkpoints/none").exists()

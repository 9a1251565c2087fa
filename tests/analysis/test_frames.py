"""The store is read once for all of a report, however many sections look at it."""

import ctypes
import os
import struct
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from greenray.analysis import analyse
from greenray.analysis.frames import Frames
from greenray.report import build
from greenray.store import reader
from greenray.store.registry import open_store
from tests.support.synthetic import Sweep, quickstart

IN_OPEN, IN_CLOSE_NOWRITE, IN_NONBLOCK = 0x20, 0x10, 0o4000


@contextmanager
def openings(out: Path) -> Iterator[Counter[str]]:
    """How often each file of a store is opened in the block, as the kernel counts it (inotify)."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor, counted = libc.inotify_init1(IN_NONBLOCK), Counter[str]()
    # Closings are asked for too: without one in between the kernel takes two openings of a file for one.
    watched = {
        libc.inotify_add_watch(descriptor, bytes(folder), IN_OPEN | IN_CLOSE_NOWRITE): folder
        for folder in (out, *out.rglob("*"))
        if folder.is_dir()
    }
    assert min(watched) > 0, os.strerror(ctypes.get_errno())
    try:
        yield counted
        while (events := _read(descriptor)) is not None:
            for watch, mask, name in events:
                if mask & IN_OPEN and name.endswith(".parquet"):
                    counted[(watched[watch] / name).relative_to(out).as_posix()] += 1
    finally:
        os.close(descriptor)


def _read(descriptor: int) -> list[tuple[int, int, str]] | None:
    try:
        data = os.read(descriptor, 2**20)
    except BlockingIOError:
        return None
    events, place = [], 0
    while place < len(data):
        watch, mask, _, length = struct.unpack_from("iIII", data, place)
        events.append((watch, mask, data[place + 16 : place + 16 + length].rstrip(b"\0").decode()))
        place += 16 + length
    return events


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = quickstart(tmp_path_factory.mktemp("frames") / "out", rounds=2)
    other = Sweep(out=out, name="other", seed=7)
    for model in ("a", "b"):
        other.cell("compile", energy_j=0.01, model=model, trace=True)
    other.finish()
    return out


def of(table: str, counted: Counter[str]) -> Counter[str]:
    return Counter({name: number for name, number in counted.items() if name.startswith(f"{table}/")})


def test_every_file_is_opened_as_often_as_a_single_scan_opens_it(out: Path) -> None:
    once: Counter[str] = Counter()
    for table in ("cells", "windows", "trace", "predictions"):
        store = open_store(out)
        with openings(out) as counted:
            reader.scan_files(store, table=table, files=reader.entries(store, table=table)).collect()
        once += of(table, counted)
    with openings(out) as counted:
        build(analyse(out))
    assert of("cells", counted) == of("cells", once)
    assert of("windows", counted) == of("windows", once)
    assert counted <= once
    assert len(of("trace", counted)) == 1  # one of the two is shown
    assert 0 < len(of("predictions", counted)) < len(of("predictions", once))  # those that are compared


def test_a_second_scan_would_be_seen(out: Path) -> None:
    with openings(out) as single:
        Frames(open_store(out)).windows  # noqa: B018
    with openings(out) as twice:
        for _ in range(2):
            Frames(open_store(out)).windows  # noqa: B018
    assert min(of("windows", twice).values()) > max(of("windows", single).values())


def test_rows_of_an_attempt_are_read_once(out: Path) -> None:
    frames = Frames(open_store(out))
    cells = [cell for cell in frames.settled.iter_rows(named=True) if cell["sweep"] == "quick"]
    with openings(out) as counted:
        first = frames.rows("predictions", cells[:3])
        again = frames.rows("predictions", cells[:4])
    assert set(first) <= set(again)
    assert all(first[run_id].equals(again[run_id]) for run_id in first)
    alone = Frames(open_store(out))
    with openings(out) as single:
        alone.rows("predictions", cells[:4])
    assert of("predictions", counted) == of("predictions", single)


def test_what_was_not_committed_is_not_read(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out")
    kept = sweep.cell("compile", energy_j=0.01, model="a", trace=True)
    lost = sweep.cell("compile", energy_j=0.02, model="b", trace=True)
    store = open_store(sweep.finish())
    store.remove(next(entry.key for entry in reader.entries(store, table="cells") if entry.cell_id == lost["cell_id"]))
    frames = Frames(store)
    assert frames.windows["run_id"].unique().to_list() == [kept["run_id"]]
    assert [arm.cell["run_id"] for arm in analyse(store).arms] == [kept["run_id"]]


def test_a_run_is_known_by_its_id_and_not_by_its_file(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out")
    cell = sweep.cell("compile", energy_j=0.01, model="a", trace=True)
    frames = Frames(open_store(sweep.finish()))
    key = {"sweep": "quick", "cell_id": cell["cell_id"], "attempt": 1}
    assert frames.rows("trace", [key | {"run_id": cell["run_id"]}])[cell["run_id"]].height == 250
    assert frames.rows("trace", [key | {"run_id": "another"}])["another"].is_empty()
    assert frames.rows("trace", [key | {"run_id": cell["run_id"], "attempt": 2}]) == {}

"""What earlier rounds have compiled: kept for the same cell, bounded, and never left behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from greenray.config.cell import BASELINE, Cell
from greenray.worker.caches import PREFIX, CompileCaches, remove_stale
from tests.driver.pretend_pool import fresh, plan_of
from tests.support import ROOT


def attempt(caches: CompileCaches, key: str, *, writes: int = 10, ok: bool = True) -> bool:
    """An attempt that writes so many bytes into its caches; returns whether it began with warm ones."""
    with caches.lend(key) as lent:
        assert lent.folder.is_dir()
        assert lent.warm == any(lent.folder.rglob("*"))
        if writes:
            (lent.folder / "inductor").mkdir(exist_ok=True)
            (lent.folder / "inductor" / "kernel.so").write_bytes(b"x" * writes)
        lent.keep = ok
        return lent.warm


@pytest.fixture
def caches(tmp_path: Path) -> Any:
    with CompileCaches(parent=tmp_path, limit_bytes=100) as caches:
        yield caches


def test_the_first_attempt_is_cold_and_those_after_it_are_warm(caches: CompileCaches) -> None:
    assert [attempt(caches, "a"), attempt(caches, "a"), attempt(caches, "b"), attempt(caches, "a")] == [False, True, False, True]


def test_what_compiles_nothing_is_never_warm(caches: CompileCaches) -> None:
    assert [attempt(caches, "a", writes=0) for _ in range(3)] == [False] * 3
    assert [path.name for path in caches.folder.iterdir()] == [".lock"]


@pytest.mark.parametrize("before", [0, 1])
def test_a_bad_end_leaves_nothing_to_the_next(caches: CompileCaches, before: int) -> None:
    for _ in range(before):
        attempt(caches, "a")
    attempt(caches, "a", ok=False)
    assert attempt(caches, "a") is False


def test_an_attempt_that_raises_leaves_nothing(caches: CompileCaches) -> None:
    def breaks() -> None:
        with caches.lend("a") as lent:
            (lent.folder / "half").touch()
            raise KeyError

    with pytest.raises(KeyError):
        breaks()
    assert attempt(caches, "a") is False


def test_the_least_recently_used_go_first(caches: CompileCaches) -> None:
    for key in ("a", "b", "c", "a", "d"):  # b was used longest ago when d comes
        attempt(caches, key, writes=30)
    assert {path.name for path in caches.folder.iterdir()} == {".lock", "a", "c", "d"}
    assert attempt(caches, "huge", writes=1000) is False
    assert attempt(caches, "huge", writes=1000) is False


def test_closing_removes_all_of_it(tmp_path: Path) -> None:
    with CompileCaches(parent=tmp_path) as caches:
        attempt(caches, "a")
        assert remove_stale(tmp_path) == 0  # another worker looks
        assert attempt(caches, "a") is True
    assert list(tmp_path.iterdir()) == []
    caches.close()


def test_the_folder_of_a_killed_worker_goes_when_the_next_one_starts(tmp_path: Path) -> None:
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom greenray.worker.caches import CompileCaches\n"
        "caches = CompileCaches(parent=Path(sys.argv[1]))\n(caches.folder / 'a').mkdir()\nprint('up', flush=True)\n"
        "sys.stdin.read()\n"
    )
    worker = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"up\n"
        (left,) = tmp_path.glob(f"{PREFIX}*")
        with CompileCaches(parent=tmp_path) as beside:
            assert left.is_dir()  # its owner lives
            worker.send_signal(signal.SIGKILL)
            worker.wait(10)
            with CompileCaches(parent=tmp_path):
                assert not left.exists()
                assert beside.folder.is_dir()
    (tmp_path / f"{PREFIX}of-somebody").mkdir()  # not locked yet, or not ours
    assert remove_stale(tmp_path) == 0


def test_rounds_of_a_cell_are_one_and_all_else_is_another() -> None:
    def cells(**changes: Any) -> list[Cell]:
        return [cell for block in plan_of(fresh("compile", "prune-local", **changes)).blocks for cell in block.cells]

    first = {cell.tactic_slug: cell.repeated_id for cell in cells(rounds=1)}
    assert len(set(first.values())) == 2
    for cell in cells(rounds=3):
        assert cell.repeated_id == first[cell.tactic_slug]
        assert cell.cell_id != cell.repeated_id
    assert not {cell.repeated_id for cell in cells(batch_sizes=[7])} & set(first.values())
    (block,) = plan_of(fresh("compile")).blocks
    brackets = [block.bracket(kind, visit=visit) for kind in ("open", "close") for visit in (1, 2)]
    assert brackets[0].tactic == BASELINE
    assert len({cell.repeated_id for cell in brackets}) == 1

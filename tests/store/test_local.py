"""The store in a folder: what its file system cannot do is said, and never taken for nothing being there."""

import errno
import fcntl
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from greenray.errors import StoreError
from greenray.store import reader, tables
from greenray.store.registry import open_store
from tests.support.synthetic import Sweep, manifest


def commit(out: Path) -> None:
    Sweep(out=out, windows=1).cell("baseline", energy_j=0.004, model="vit-tiny")


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE])
def test_what_cannot_be_listed_is_not_taken_for_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    commit(tmp_path)
    store, listing = open_store(tmp_path), os.scandir
    kept = store.list("")

    def scandir(folder: Any) -> Any:
        if str(folder).endswith("cells/sweep=quick"):
            raise OSError(number, os.strerror(number))
        return listing(folder)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", scandir)
        with pytest.raises(StoreError, match=f"sweep=quick: cannot be listed .{os.strerror(number)}"):
            tables.clean(store, sweep="quick")
    assert store.list("") == kept
    assert tables.clean(store, sweep="quick") == 0


AS_NOBODY = """
import os, sys
from greenray.errors import StoreError
from greenray.store import tables
from greenray.store.registry import open_store
store = open_store(sys.argv[1])
if os.getuid() == 0:
    os.setuid(65534)
for call in (lambda: tables.clean(store, sweep="quick"), lambda: store.remove(".staging"), lambda: store.exists("cells/x")):
    try:
        print(call())
    except StoreError as error:
        print(error)
"""


def test_a_store_whose_logs_cannot_be_listed_is_read_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Sweep(out=tmp_path, windows=1).cell("baseline", energy_j=0.004, model="vit-tiny")
    store, listing = open_store(tmp_path), os.scandir
    tables.write_manifest(store, sweep="quick", manifest=manifest("quick"))

    def scandir(folder: Any) -> Any:
        if str(folder).endswith("logs"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return listing(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    assert reader.scan(store, table="cells").collect().height == 1


def test_what_may_not_be_read_or_removed_is_said(python: Callable[..., str]) -> None:
    with tempfile.TemporaryDirectory() as folder:  # pytest's own lie where nobody else may look
        out = Path(folder)
        out.chmod(0o755)
        commit(out)
        (out / ".staging" / "left").touch()
        (out / ".staging").chmod(0o555)
        (out / "cells").chmod(0)
        said = python(AS_NOBODY, out).splitlines()
        assert said[0].startswith(f"{out}/cells/sweep=quick: cannot be listed (Permission denied)")
        assert said[1].startswith(f"{out}/.staging: cannot be removed (Permission denied)")
        assert said[2].startswith(f"{out}/cells/x: cannot be read (Permission denied)")
        (out / "cells").chmod(0o755)
        (out / ".staging").chmod(0o755)
        assert tables.clean(open_store(out), sweep="quick") == 0
        assert reader.scan(out, table="windows").collect().height == 1


def test_what_others_remove_or_add_meanwhile_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    staging, unlink = tmp_path / ".staging", os.unlink
    staging.mkdir()
    (staging / "left").touch()

    def beaten_to_it(name: str, **where: Any) -> None:
        unlink(name, **where)
        (staging / "late").touch()
        raise FileNotFoundError(errno.ENOENT, "gone")

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", beaten_to_it)
        open_store(tmp_path).remove(".staging")
    assert [path.name for path in staging.iterdir()] == ["late"]


def test_what_lies_elsewhere_behind_a_link_is_listed(tmp_path: Path) -> None:
    commit(tmp_path / "out")
    sweep = tmp_path / "out" / "cells" / "sweep=quick"
    sweep.rename(tmp_path / "moved")
    sweep.symlink_to(tmp_path / "moved")
    assert tables.clean(open_store(tmp_path / "out"), sweep="quick") == 0
    assert reader.scan(tmp_path / "out", table="windows").collect().height == 1


def test_a_file_system_without_locks_and_a_folder_that_is_gone_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(tmp_path / "out")
    with pytest.raises(StoreError, match=r"out: cannot be written \(No such file"):
        store.require_space()

    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(StoreError, match=r"out: cannot be locked \(No locks available\)"), store.lock():
        pass


def test_a_home_folder_that_nobody_has_is_said() -> None:
    with pytest.raises(StoreError, match="~nosuchuser/x: nobody here has such a home folder"):
        open_store("~nosuchuser/x")

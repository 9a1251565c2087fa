"""A store in a folder of a file system, local or shared by every host."""

import errno
import fcntl
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from greenray.errors import StoreError

STAGING = ".staging"
_LOCK = ".lock"
_FULL_BYTES = 2**20


class LocalStore:
    """Objects are files. One that must not exist yet gets its name by a hard link, which fails where the name is taken."""

    def __init__(self, out: str) -> None:
        self.out = out.removeprefix("file://")
        self._root = Path(self.out).expanduser()

    @property
    def address(self) -> str:
        return str(self._root.resolve())

    def names(self) -> dict[str, Literal["file", "folder"]]:
        try:
            return {entry.name: "folder" if entry.is_dir() else "file" for entry in sorted(self._root.iterdir())}
        except FileNotFoundError:
            return {}
        except NotADirectoryError:
            raise StoreError(f"{self.out}: is a file; give a folder with --out.") from None
        except OSError as error:
            raise StoreError(f"{self.out}: cannot be read ({error.strerror}).") from None

    def create(self, key: str, data: bytes) -> bool:
        with self._staged(key, data) as (staged, target):
            try:
                os.link(staged, target)
            except FileExistsError:
                return False
            except OSError as error:
                if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS):
                    raise
                if target.exists():  # a file system without hard links: as good as it can be there
                    return False
                staged.replace(target)
        return True

    def replace(self, key: str, data: bytes) -> None:
        with self._staged(key, data) as (staged, target):
            staged.replace(target)

    def read(self, key: str) -> bytes | None:
        try:
            return (self._root / key).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"{self._root / key}: cannot be read ({error.strerror}).") from None

    def exists(self, key: str) -> bool:
        return (self._root / key).is_file()

    def list(self, prefix: str) -> list[str]:
        files = (Path(parent, name) for parent, _, names in os.walk(self._root / prefix) for name in names)
        return sorted(file.relative_to(self._root).as_posix() for file in files)

    def remove(self, key: str) -> None:
        target = self._root / key
        with _readable_errors(self.out):
            if target.is_dir():
                shutil.rmtree(target, ignore_errors=True)
            else:
                target.unlink(missing_ok=True)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """The kernel lets go of it when the process ends, however it ends."""
        path = self._root / _LOCK
        with _readable_errors(self.out):
            self._root.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                owner = path.read_text(encoding="utf-8").strip() or "another process"
                raise StoreError(
                    f"{self.out}: in use by another sweep ({owner}); wait for it or give another folder with --out."
                ) from None
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"pid {os.getpid()} on {os.uname().nodename}".encode())
            yield
        finally:
            os.close(descriptor)

    def is_locked(self) -> bool:
        try:
            with (self._root / _LOCK).open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            return isinstance(error, BlockingIOError)
        return False

    def scratch(self) -> Path:
        with _readable_errors(self.out):
            (self._root / STAGING).mkdir(parents=True, exist_ok=True)
        return self._root / STAGING

    def upload_folder(self, folder: Path, key: str) -> None:
        target = self._root / key
        with _readable_errors(self.out):
            for file in folder.rglob("*"):
                if file.is_file():
                    with file.open("rb") as opened:
                        os.fsync(opened.fileno())
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.exists():  # left by an attempt that died between this move and its commit
                shutil.rmtree(target)
            shutil.move(folder, target)  # a rename where both lie on one file system, as what comes from `scratch` does
            _sync_folder(target.parent)

    def fetch_folder(self, key: str) -> Path:
        return self._root / key

    @contextmanager
    def log_file(self, key: str) -> Iterator[Path]:
        """The file itself, so that it can be read while it grows."""
        path = self._root / key
        with _readable_errors(self.out):
            path.parent.mkdir(parents=True, exist_ok=True)
        yield path

    def scan_path(self, key: str) -> str:
        return str(self._root / key)

    def require_space(self) -> None:
        if shutil.disk_usage(self._root).free < _FULL_BYTES:
            raise _no_space(self.out)

    @contextmanager
    def _staged(self, key: str, data: bytes) -> Iterator[tuple[Path, Path]]:
        target = self._root / key
        with _readable_errors(self.out), _written(self.scratch() / uuid.uuid4().hex, data) as staged:
            target.parent.mkdir(parents=True, exist_ok=True)
            yield staged, target
            _sync_folder(target.parent)


def write_file(path: Path, data: bytes) -> None:
    """Replace a file that lies in no store, as a whole, or raise StoreError."""
    with _readable_errors(str(path.parent)):
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, data)


def replace_file(path: Path, data: bytes) -> None:
    """The same, with the OSError where it fails. A file that is there keeps its permissions."""
    with _written(beside(path), data) as staged:
        if path.exists():
            shutil.copymode(path, staged)
        staged.replace(path)
        _sync_folder(path.parent)


def beside(path: Path) -> Path:
    """A name that is free, in the folder of a file that is to be replaced."""
    return path.parent / f".{path.name}.{uuid.uuid4().hex}"


@contextmanager
def _written(staged: Path, data: bytes) -> Iterator[Path]:
    """A file with this content that has reached the disk; gone afterwards unless it was given its name."""
    try:
        with staged.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield staged
    finally:
        staged.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _no_space(out: str) -> StoreError:
    return StoreError(f"{out}: no space left; free some and run the same command again, what is committed is safe.")


@contextmanager
def _readable_errors(out: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _no_space(out) from None
        raise StoreError(f"{out}: cannot be written ({error.strerror or error}); what is committed is safe.") from None

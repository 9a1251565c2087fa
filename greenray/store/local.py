"""A store in a folder of a file system, local or shared by every host."""

import contextlib
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
        try:
            self._root = Path(self.out).expanduser()
        except RuntimeError:
            raise StoreError(f"{self.out}: nobody here has such a home folder; write the path in full.") from None

    @property
    def address(self) -> str:
        return str(self._root.resolve())

    def names(self) -> dict[str, Literal["file", "folder"]]:
        with _sentences(self.out, "read"):
            try:
                return {entry.name: "folder" if entry.is_dir() else "file" for entry in sorted(self._root.iterdir())}
            except FileNotFoundError:
                return {}
            except NotADirectoryError:
                raise StoreError(f"{self.out}: is a file; give a folder with --out.") from None

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
        path = self._root / key
        with _sentences(path, "read"), contextlib.suppress(FileNotFoundError):
            return path.read_bytes()
        return None

    def exists(self, key: str) -> bool:
        with _sentences(self._root / key, "read"):
            return (self._root / key).is_file()

    def list(self, prefix: str) -> list[str]:
        """Whole or not at all: what cannot be listed must not read as empty, nor its commits as missing."""
        with _sentences(self._root / prefix, "listed"):
            return sorted(Path(file).relative_to(self._root).as_posix() for file in _files(self._root / prefix))

    def remove(self, key: str) -> None:
        target = self._root / key
        with _sentences(target, "removed"):
            if target.is_dir() and not target.is_symlink():
                shutil.rmtree(target, onerror=_unless_gone)
            else:
                target.unlink(missing_ok=True)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """The kernel lets go of it when the process ends, however it ends."""
        path = self._root / _LOCK
        with contextlib.ExitStack() as held:
            with _sentences(self.out, "locked"):
                self._root.mkdir(parents=True, exist_ok=True)
                file = held.enter_context(path.open("ab", buffering=0))
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    owner = path.read_text(encoding="utf-8", errors="replace").strip() or "another process"
                    raise StoreError(
                        f"{self.out}: in use by another sweep ({owner}); wait for it or give another folder with --out."
                    ) from None
                file.truncate(0)
                file.write(f"pid {os.getpid()} on {os.uname().nodename}".encode())
            yield

    def is_locked(self) -> bool:
        try:
            with (self._root / _LOCK).open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            return isinstance(error, BlockingIOError)
        return False

    def scratch(self) -> Path:
        with _sentences(self.out):
            (self._root / STAGING).mkdir(parents=True, exist_ok=True)
        return self._root / STAGING

    def upload_folder(self, folder: Path, key: str) -> None:
        target = self._root / key
        with _sentences(self.out):
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
        with _sentences(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.open("ab").close()
        yield path

    def scan_path(self, key: str) -> str:
        return str(self._root / key)

    def require_space(self) -> None:
        with _sentences(self.out):
            if shutil.disk_usage(self._root).free < _FULL_BYTES:
                raise OSError(errno.ENOSPC, "no space left")

    @contextmanager
    def _staged(self, key: str, data: bytes) -> Iterator[tuple[Path, Path]]:
        target = self._root / key
        with _sentences(self.out), _written(self.scratch() / uuid.uuid4().hex, data) as staged:
            target.parent.mkdir(parents=True, exist_ok=True)
            yield staged, target
            _sync_folder(target.parent)


def write_file(path: Path, data: bytes) -> None:
    """Replace a file that lies in no store, as a whole, or raise StoreError."""
    with _sentences(str(path.parent)):
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


def _files(folder: str | Path) -> Iterator[str]:
    """Every file below a folder, which need not exist. Raises OSError: `os.walk` takes what it cannot read for empty."""
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                yield from _files(entry.path)
            else:
                yield entry.path


def _unless_gone(_call: object, _path: str, raised: tuple[object, BaseException, object]) -> None:
    """What somebody else removed meanwhile is gone, what somebody added or has open (NFS: EBUSY) may stay."""
    error = raised[1]
    if getattr(error, "errno", None) not in (errno.ENOENT, errno.ENOTEMPTY, errno.EBUSY):
        raise error


@contextmanager
def _sentences(what: str | Path, done: str = "written") -> Iterator[None]:
    """Say in a StoreError what could not be done."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            why = "no space left; free some and run the same command again, what is committed is safe"
        else:
            why = f"cannot be {done} ({error.strerror or error}); what is committed is safe"
        raise StoreError(f"{what}: {why}.") from None

"""A second kind of store, by way of obstore: conditional PUTs, prefixes and deletes only, as object storage has them.

Over a folder here; over `obstore.store.S3Store` the same calls speak to S3. It shows that the protocol of
`greenray.store.base` asks for nothing that a bucket cannot do. The lock is an object too, which nobody takes back when its
holder dies.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import obstore
from obstore.exceptions import AlreadyExistsError
from obstore.store import LocalStore as Bucket

from greenray.errors import StoreError

_LOCK = ".lock"


class ObjectStore:
    """See `greenray.store.base.Store`."""

    def __init__(self, out: str) -> None:
        self.out = self.address = out
        self._folder = Path(out.removeprefix("bucket://"))
        self._bucket = Bucket(self._folder, mkdir=True)
        self._local = Path(tempfile.mkdtemp(prefix="greenray-scratch-"))

    def names(self) -> dict[str, Literal["file", "folder"]]:
        found = obstore.list_with_delimiter(self._bucket)
        files: dict[str, Literal["file", "folder"]] = {meta["path"]: "file" for meta in found["objects"]}
        return {**files, **{prefix.rstrip("/"): "folder" for prefix in found["common_prefixes"]}}

    def create(self, key: str, data: bytes) -> bool:
        try:
            obstore.put(self._bucket, key, data, mode="create")
        except AlreadyExistsError:
            return False
        return True

    def replace(self, key: str, data: bytes) -> None:
        obstore.put(self._bucket, key, data)

    def read(self, key: str) -> bytes | None:
        try:
            return bytes(obstore.get(self._bucket, key).bytes())
        except FileNotFoundError:
            return None

    def exists(self, key: str) -> bool:
        try:
            obstore.head(self._bucket, key)
        except FileNotFoundError:
            return False
        return True

    def list(self, prefix: str) -> list[str]:
        return sorted(meta["path"] for batch in obstore.list(self._bucket, prefix) for meta in batch)

    def remove(self, key: str) -> None:
        obstore.delete(self._bucket, [*self.list(key), *([key] if self.exists(key) else [])])

    @contextmanager
    def lock(self) -> Iterator[None]:
        if not self.create(_LOCK, f"pid {os.getpid()}".encode()):
            owner = (self.read(_LOCK) or b"another process").decode()
            raise StoreError(f"{self.out}: in use by another sweep ({owner}); wait for it or give another folder with --out.")
        try:
            yield
        finally:
            self.remove(_LOCK)

    def is_locked(self) -> bool:
        return self.exists(_LOCK)

    def scratch(self) -> Path:
        return self._local

    def upload_folder(self, folder: Path, key: str) -> None:
        self.remove(key)
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            self.replace(f"{key}/{file.relative_to(folder).as_posix()}", file.read_bytes())
        shutil.rmtree(folder)

    def fetch_folder(self, key: str) -> Path:
        for name in self.list(key):
            target = self._local / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(self.read(name) or b"")
        return self._local / key

    @contextmanager
    def log_file(self, key: str) -> Iterator[Path]:
        path = self._local / key.replace("/", "-")
        path.write_bytes(self.read(key) or b"")
        yield path
        self.replace(key, path.read_bytes())

    def scan_path(self, key: str) -> str:
        return str(self._folder / key)

    def require_space(self) -> None:
        """There is always room in a bucket."""

    def close(self) -> None:
        shutil.rmtree(self._local, ignore_errors=True)

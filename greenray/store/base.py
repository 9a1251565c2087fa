"""What a store is: objects under keys, and the few promises that committing rests on.

A key is a path with `/`, relative to OUT. The calls are those that object storage has too: `create` is a conditional PUT, `list`
takes a prefix, and nothing is ever renamed or appended to. Whatever writes or lists results goes through them.

To add a kind of store: a file with a class that has these members, made from the text that the user gave, and one line in
`greenray.store.registry`.
"""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal, Protocol


class Store(Protocol):
    """Where the results of sweeps lie. Every call raises StoreError, in a sentence, where the store cannot be used."""

    @property
    def out(self) -> str:
        """What people call it: the folder or the URI that they gave."""

    @property
    def address(self) -> str:
        """What other processes and hosts open it by."""

    def names(self) -> dict[str, Literal["file", "folder"]]:
        """What lies at the top; empty where nothing does yet."""

    def create(self, key: str, data: bytes) -> bool:
        """Write an object that must not exist yet; False, and nothing is changed, where it does. Whole or not at all."""

    def replace(self, key: str, data: bytes) -> None:
        """Write an object, whole or not at all, whatever was there."""

    def read(self, key: str) -> bytes | None:
        """An object; None where there is none."""

    def exists(self, key: str) -> bool:
        """Whether there is such an object."""

    def list(self, prefix: str) -> list[str]:
        """Keys of all objects below a folder, in order."""

    def remove(self, key: str) -> None:
        """Let go of an object, or of all below a folder; it need not exist."""

    def lock(self) -> AbstractContextManager[None]:
        """Hold the store for one driver, until the block or this process ends. Raises StoreError where another holds it."""

    def is_locked(self) -> bool:
        """Whether a driver holds it right now."""

    def scratch(self) -> Path:
        """A local folder for what is to be uploaded; nothing in it counts."""

    def upload_folder(self, folder: Path, key: str) -> None:
        """Put a local folder below a key, replacing what is there; the local one is gone afterwards."""

    def fetch_folder(self, key: str) -> Path:
        """What was uploaded, as a local folder; it does not exist where nothing was."""

    def log_file(self, key: str) -> AbstractContextManager[Path]:
        """A local file to append to, which is the object's content when the block ends."""

    def scan_path(self, key: str) -> str:
        """What Polars and pyarrow open an object by."""

    def require_space(self) -> None:
        """Raise StoreError if nothing more can be written."""

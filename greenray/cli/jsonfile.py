"""Where `--json` puts its figures."""

import json
import os
import stat
from pathlib import Path
from typing import Any

from greenray.errors import ConfigError
from greenray.store.local import beside, replace_file

_DESCRIPTORS = ("/dev/fd/", "/dev/std", "/proc/")


class JsonFile:
    """A file that is written whole or not at all, and tried before anything is measured.

    A device, a pipe or `/dev/fd/3` is written on from where it is. A file in a folder that takes no new ones is written over.

    Raises:
        ConfigError: nothing can be written there; the sentence says why.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        if str(path) == "-":
            raise ConfigError("--json -: standard output is the command's own; name a file, or /dev/fd/3 with 3>&1.")
        try:
            self._in_place = self._prepare()
        except OSError as error:
            raise ConfigError(f"--json {path}: cannot be written ({error.strerror}).") from None

    def write(self, data: dict[str, Any]) -> None:
        """Writes the figures; OSError when that fails now."""
        text = json.dumps(data, indent=2) + "\n"
        if self._in_place is None:
            replace_file(self._path.resolve(), text.encode())
            return
        # A pipe that nobody reads would hold us for ever: it is an error.
        descriptor = os.open(self._path, os.O_WRONLY | os.O_NONBLOCK | self._in_place)
        os.set_blocking(descriptor, True)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)

    def _prepare(self) -> int | None:
        """How the target itself is opened, where it is written to; None where a new file is to replace it."""
        try:
            mode = self._path.stat().st_mode
        except FileNotFoundError:
            mode = None
        target = self._path.resolve()
        if mode is None:
            if not target.parent.is_dir():
                raise ConfigError(f"--json {self._path}: there is no folder {self._path.parent}.")
            _try(target)
            return None
        if stat.S_ISDIR(mode):
            raise ConfigError(f"--json {self._path}: is a folder.")
        if not os.access(self._path, os.W_OK):
            raise ConfigError(f"--json {self._path}: cannot be written (Permission denied).")
        if not stat.S_ISREG(mode) or str(self._path).startswith(_DESCRIPTORS):
            return os.O_APPEND  # what the command wrote there is not ours to overwrite
        try:
            _try(target)
        except OSError:
            return os.O_TRUNC
        return None


def _try(target: Path) -> None:
    partial = beside(target)
    partial.touch(exist_ok=False)
    partial.unlink()

"""Where `--json` puts its figures."""

import json
import os
import shutil
import stat
from pathlib import Path
from typing import Any

from greenray.errors import ConfigError

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
        self._in_place = os.O_TRUNC
        try:
            self._partial = self._prepare()
        except OSError as error:
            raise ConfigError(f"--json {path}: cannot be written ({error.strerror}).") from None

    def write(self, data: dict[str, Any]) -> None:
        """Writes the figures; OSError when that fails now."""
        text = json.dumps(data, indent=2) + "\n"
        if self._partial is not None:
            self._replace(text, self._partial)
            return
        # A pipe that nobody reads would hold us for ever: it is an error.
        descriptor = os.open(self._path, os.O_WRONLY | os.O_NONBLOCK | self._in_place)
        os.set_blocking(descriptor, True)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)

    def _replace(self, text: str, partial: Path) -> None:
        target = self._path.resolve()
        try:
            with partial.open("x", encoding="utf-8") as file:  # not through a link that somebody put there
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            if target.exists():
                shutil.copymode(target, partial)
            partial.replace(target)
        except OSError:
            partial.unlink(missing_ok=True)
            raise

    def _prepare(self) -> Path | None:
        """The file beside the target that is to replace it; None where the target itself is written to."""
        try:
            mode = self._path.stat().st_mode
        except FileNotFoundError:
            mode = None
        target = self._path.resolve()
        partial = target.parent / f".{target.name}.{os.getpid()}.partial"
        if mode is None:
            if not target.parent.is_dir():
                raise ConfigError(f"--json {self._path}: there is no folder {self._path.parent}.")
            _try(partial)
            return partial
        if stat.S_ISDIR(mode):
            raise ConfigError(f"--json {self._path}: is a folder.")
        if not os.access(self._path, os.W_OK):
            raise ConfigError(f"--json {self._path}: cannot be written (Permission denied).")
        if not stat.S_ISREG(mode) or str(self._path).startswith(_DESCRIPTORS):
            self._in_place = os.O_APPEND  # what the command wrote there is not ours to overwrite
            return None
        try:
            _try(partial)
        except OSError:
            return None
        return partial


def _try(partial: Path) -> None:
    partial.touch(exist_ok=False)
    partial.unlink()

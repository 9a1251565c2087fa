"""Where `--json` puts its figures."""

import json
import os
import shutil
import stat
from pathlib import Path
from typing import Any

from greenray.errors import ConfigError


class JsonFile:
    """A file that is written whole or not at all, and tried before anything is measured.

    A device, a pipe or `/dev/fd/3` is written to as it is; so is a file in a folder that takes no new ones.

    Raises:
        ConfigError: nothing can be written there; the sentence says why.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        if str(path) == "-":
            raise ConfigError("--json -: standard output is the command's own; name a file, or /dev/fd/3 with 3>&1.")
        try:
            self._partial = self._prepare()
        except OSError as error:
            raise ConfigError(f"--json {path}: cannot be written ({error.strerror}).") from None

    def write(self, data: dict[str, Any]) -> None:
        """Writes the figures; OSError when that fails now."""
        text = json.dumps(data, indent=2) + "\n"
        if self._partial is None:
            self._path.write_text(text, encoding="utf-8")
            return
        target = self._path.resolve()
        try:
            with self._partial.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            if target.exists():
                shutil.copymode(target, self._partial)
            self._partial.replace(target)
        except OSError:
            self._partial.unlink(missing_ok=True)
            raise

    def _prepare(self) -> Path | None:
        """The file beside the target that is to replace it; None where the target itself is written to."""
        target = self._path.resolve()
        partial = target.parent / f".{target.name}.{os.getpid()}.partial"
        try:
            mode = self._path.stat().st_mode
        except FileNotFoundError:
            if not target.parent.is_dir():
                raise ConfigError(f"--json {self._path}: there is no folder {self._path.parent}.") from None
            partial.touch(exist_ok=False)
            partial.unlink()
            return partial
        if stat.S_ISDIR(mode):
            raise ConfigError(f"--json {self._path}: is a folder.")
        if not os.access(self._path, os.W_OK):
            raise ConfigError(f"--json {self._path}: cannot be written (Permission denied).")
        if not stat.S_ISREG(mode) or str(self._path).startswith(("/dev/", "/proc/")):
            return None
        try:
            partial.touch(exist_ok=False)
            partial.unlink()
        except OSError:
            return None
        return partial

"""Virtual environments of the tools that GreenRay is compared with: made on first use, one for each benchmark that needs one."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def python_of(folder: Path) -> Path:
    """The interpreter of a virtual environment."""
    return folder / "bin" / "python"


def install(folder: Path, packages: Sequence[str]) -> str | None:
    """Make the virtual environment if it is not there; why not, if that fails."""
    if (folder / ".ready").exists():
        return None
    commands = (
        [sys.executable, "-m", "venv", str(folder)],
        [str(python_of(folder)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages],
    )
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, timeout=1200, check=False)
        if done.returncode != 0:
            return f"it cannot be installed: {(done.stderr.strip().splitlines() or ['?'])[-1]}"
    (folder / ".ready").touch()
    return None

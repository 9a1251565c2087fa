"""What befalls the pretended CUDA of `pretend_cuda.py`: a driver that is too old, and a board that an Xid has stopped.

OLD_DRIVER, a number as CUDA counts its versions (12080: 12.8), makes torch refuse to start, in its own words. XIDS are UUIDs of
boards: the first cell on them ends in CUDA's error, and all that comes after it fails at once, cells and probes alike. So do
their energy and power, by the control file of the simulated NVML: there a process looks whether its board has fallen.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

OLD_DRIVER, XIDS = (f"GREENRAY_TEST_{name}" for name in ("OLD_DRIVER", "XIDS"))
CONTROL, BOARDS = "GREENRAY_TEST_CONTROL", "GREENRAY_TEST_BOARDS"
BUILT_FOR = "13.0"
TOO_OLD = (  # c10/cuda/CUDAFunctions.cpp
    "The NVIDIA driver on your system is too old (found version {}). Please update your GPU driver by downloading and installing "
    "a new version from the URL: http://www.nvidia.com/Download/index.aspx Alternatively, go to: https://pytorch.org to install "
    "a PyTorch version that has been compiled with your version of the CUDA driver."
)
ECC = "CUDA error: uncorrectable ECC error encountered"


def install(torch: Any, *, visible: Callable[[], list[str]]) -> None:
    """Gives torch the start of CUDA, which is where all of this shows."""

    def start() -> None:
        if OLD_DRIVER in os.environ:
            raise RuntimeError(TOO_OLD.format(os.environ[OLD_DRIVER]))
        boards = visible()
        if not boards:
            raise RuntimeError("No CUDA GPUs are available")
        if _line(boards[0]) in _fallen():
            raise torch.AcceleratorError(f"{ECC}\nCUDA kernel errors might be asynchronously reported at some other API call.")

    torch.cuda.init = start
    if OLD_DRIVER in os.environ:
        torch.version.cuda = BUILT_FOR


def strike(torch: Any, uuid: str) -> None:
    """A cell has come to its end on a board: one of XIDS falls with it."""
    if uuid in os.environ.get(XIDS, ""):
        with Path(os.environ[CONTROL]).open("a") as control:
            control.write(f"{_line(uuid)}={time.monotonic()}\n")
        raise torch.AcceleratorError(ECC)


def _line(uuid: str) -> str:
    return f"{os.environ[BOARDS].split(',').index(uuid)}.xid_from"


def _fallen() -> set[str]:
    path = Path(os.environ.get(CONTROL, "/nowhere"))
    return {line.partition("=")[0] for line in path.read_text().splitlines()} if path.exists() else set()

"""Asks a fresh process whether it can use a device: before the first cell, after one that failed on it, and for `doctor`."""

import tempfile
from pathlib import Path

from greenray.cell.protocol import AnyMessage, Failed, Probe, Ready
from greenray.gpu.base import Gpu
from greenray.power.host import memory_bytes
from greenray.processes.launcher import Launcher, LaunchError
from greenray.worker.attempt import cell_environment
from greenray.worker.supervise import supervise

PROBE_TIMEOUT_S = 120.0
HOST_MEMORY_SHARE = 0.8
"""Of a host's memory, what all its cells may take together, and what a probe may."""


def probe(launcher: Launcher, asked: Probe, *, gpu: Gpu | None, deadline_s: float = PROBE_TIMEOUT_S) -> Ready | Failed | str:
    """Its answer, or a clause that says why there is none; the process is gone when this returns."""
    heard: list[AnyMessage] = []
    with tempfile.TemporaryDirectory(prefix="greenray-probe-") as folder:
        env = cell_environment(gpu if asked.device == "cuda" else None, threads=1, caches=Path(folder))
        try:
            outcome = supervise(
                launcher.start(env=env, log_path=Path(folder) / "probe.log"),
                task=asked,
                deadline_s=deadline_s,
                memory_limit_bytes=int(memory_bytes() * HOST_MEMORY_SHARE),
                handle=heard.append,
            )
        except LaunchError as error:
            return str(error)
    silence = outcome.error or "it ended without a word"
    return next((message for message in heard if isinstance(message, Ready | Failed)), silence)


def reason_of(answer: Ready | Failed | str) -> str | None:
    """Why the device cannot be used, in the words of whoever refused; None where it can."""
    if isinstance(answer, Ready):
        return None
    return answer.error if isinstance(answer, Failed) else f"a small task on it did not end well: {answer}"

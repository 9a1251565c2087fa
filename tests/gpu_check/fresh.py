"""Fresh processes as a worker makes them, each of which is asked whether it can use the board."""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from greenray.cell.protocol import AnyMessage, Failed, Probe, Ready
from greenray.processes.launcher import Launcher
from greenray.worker.attempt import cell_environment
from greenray.worker.supervise import supervise
from tests.gpu_check.rig import Rig

PROBE_S = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """How a fresh process fared: seconds until its answer (None: there was none) and until its end; `problem` in a clause."""

    answer_s: float | None
    end_s: float
    problem: str | None


def probe(launcher: Launcher, rig: Rig) -> Probed:
    """One process, which makes a context, multiplies and tells its board."""
    heard: list[tuple[float, AnyMessage]] = []
    start_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="greenray-probe-", dir=rig.folder) as folder:
        env = cell_environment(rig.gpu, threads=1, caches=Path(folder))
        outcome = supervise(
            launcher.start(env=env, log_path=Path(folder) / "probe.log"),
            task=Probe(device="cuda"),
            deadline_s=min(PROBE_S, max(1.0, rig.deadline_s - start_s - 5)),
            memory_limit_bytes=None,
            handle=lambda message: heard.append((time.monotonic() - start_s, message)),
        )
    end_s = time.monotonic() - start_s
    for answer_s, message in heard:
        if isinstance(message, Ready):
            right = message.gpu_uuid is not None and rig.gpu.is_same(message.gpu_uuid)
            return Probed(answer_s=answer_s, end_s=end_s, problem=None if right else f"it is on board {message.gpu_uuid}")
        if isinstance(message, Failed):
            return Probed(answer_s=answer_s, end_s=end_s, problem=message.error)
    return Probed(answer_s=None, end_s=end_s, problem=outcome.error or "it gave no answer")

"""The stand-in for a load where the boards are simulated: the board's own wave plays it, so the true energy is known.

Chosen by `--load tests.gpu_check.waves:open_load`; needs a control file (`tests.simnvml.environment(..., control=...)`).
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from greenray.gpu import registry
from greenray.gpu.base import Gpu
from tests import simnvml
from tests.gpu_check.job import Job
from tests.gpu_check.load import Truth
from tests.support import ROOT

# A little ripple on the steady load, as on a real board: instant power then changes whenever it is refreshed.
MODES = {
    "none": simnvml.Board(high_w=70.0),
    "context": simnvml.Board(high_w=85.0),
    "model": simnvml.Board(high_w=90.0),
    "steady": simnvml.Board(wave="sine", low_w=299.8, high_w=300.2, period_s=0.07),
    "bursts": simnvml.Board(wave="square", low_w=80.0, high_w=620.0),
}
EMPTY_BYTES, HELD_BYTES = 512 << 20, 16 << 30  # the first is the simulated board's own default
_WAVE = ("wave", "low_w", "high_w", "period_s", "duty", "phase_s")
_COUNT = (
    "import sys, time\n"
    "start_s, count = time.monotonic(), 0\n"
    "while (now_s := time.monotonic()) - start_s < float(sys.argv[1]):\n"
    "    sum(range(1000))\n"
    "    count += 1\n"
    "print(count / (now_s - start_s))\n"
)


class HoldingJob(Job):
    """A job of which the board shows a process and its memory until it is killed."""

    def __init__(self, command: Sequence[str], environ: Mapping[str, str], *, show: Callable[..., None]) -> None:
        super().__init__(command, environ)
        self._show = show
        self._show(memory_used=EMPTY_BYTES + HELD_BYTES, processes=f"{self.pid}:{HELD_BYTES}")

    def kill(self) -> None:
        super().kill()
        self._show(memory_used=EMPTY_BYTES, processes="")


class WaveLoad:
    """A `Load` that sets the wave of a simulated board."""

    def __init__(self, gpu: Gpu) -> None:
        found = re.search(r"control=(\S+)", os.environ.get("GREENRAY_SIMNVML", ""))
        assert found is not None, "the simulated boards have no control file"
        self._control = Path(found[1])
        self._index = gpu.index
        self._uuid = gpu.uuid
        self._playing = simnvml.Board()
        self.play("none")

    def play(self, mode: str, *, period_s: float = 0.0, duty: float = 0.0) -> dict[str, Any]:
        fields = asdict(MODES[mode])
        if mode == "bursts":
            fields |= {"period_s": period_s, "duty": duty}
        self._playing = simnvml.Board(**fields)
        entries = {f"{self._index}.{key}": fields[key] for key in _WAVE}
        simnvml.write_control(self._control, **entries)
        return {}

    def work(self, kind: str, *, seconds: float) -> float:
        command = [sys.executable, "-c", _COUNT, str(seconds)]
        return float(subprocess.run(command, capture_output=True, text=True, timeout=seconds + 30, check=True).stdout)

    def job(self, name: str, **params: Any) -> Job:
        """On the processor, with small models; the board's wave stays what it is. What `hold` holds, the board shows."""
        command = [sys.executable, "-m", "tests.gpu_check.pretended", name, json.dumps({**params, "small": True})]
        if name != "hold":
            return Job(command, self._environ())
        return HoldingJob(command, self._environ(), show=self._show)

    def _show(self, **entries: object) -> None:
        simnvml.write_control(self._control, **{f"{self._index}.{key}": value for key, value in entries.items()})

    def contexts(self) -> Job:
        """No board, no context: a process that tells of none."""
        return Job([sys.executable, "-c", "print('{\"end\": true}')"], self._environ())

    def truth(self) -> Truth | None:
        board = self._playing
        return lambda start_s, end_s: simnvml.true_energy_j(board, start_s, end_s)

    def cuda_uuids(self, environ: Mapping[str, str]) -> list[str]:
        """As CUDA answers: without `GPU-`, and only as far as the list makes sense."""
        every = [gpu.uuid.removeprefix("GPU-") for gpu in registry.gpus()]
        wanted = environ.get("CUDA_VISIBLE_DEVICES")
        if wanted is None:
            return every
        chosen = []
        for entry in wanted.split(","):
            bare = entry.removeprefix("GPU-")
            matches = [every[int(entry)]] if entry.isdecimal() else [uuid for uuid in every if uuid.startswith(bare)]
            chosen += matches
        return chosen

    def close(self) -> None:
        """Nothing is held."""

    def _environ(self) -> dict[str, str]:
        boards = ",".join(gpu.uuid for gpu in registry.gpus())
        path = os.pathsep.join([str(ROOT / "tests" / "support" / "plugins"), os.environ.get("PYTHONPATH", "")])
        few = {"OMP_NUM_THREADS": "1"}  # beside other tests two threads wait for each other
        return {**os.environ, **few, "PYTHONPATH": path, "GREENRAY_TEST_BOARDS": boards, "CUDA_VISIBLE_DEVICES": self._uuid}


class SwappedLoad(WaveLoad):
    """A host on which CUDA's order is not the driver's."""

    def cuda_uuids(self, environ: Mapping[str, str]) -> list[str]:
        return super().cuda_uuids(environ)[::-1]


def open_load(gpu: Gpu) -> WaveLoad:
    """A load for simulated boards."""
    return WaveLoad(gpu)


def open_swapped_load(gpu: Gpu) -> SwappedLoad:
    """A load for simulated boards whose CUDA has another order."""
    return SwappedLoad(gpu)

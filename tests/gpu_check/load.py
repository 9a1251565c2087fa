"""The seam between the check and what makes the board work: a `Load` plays modes; `CudaLoad` does so in a process of its own.

A process of its own, as a cell is: the recorder then neither shares an interpreter with the load nor holds a CUDA context.
The stand-in for simulated boards is `tests.gpu_check.waves`.
"""

import contextlib
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from greenray.errors import MeasurementError
from greenray.gpu.base import Gpu
from tests.gpu_check.job import Job
from tests.support import ROOT

Truth = Callable[[float, float], float]

PLAYER = (sys.executable, "-m", "tests.gpu_check.player")
_FIRST_S, _ANSWER_S = 120.0, 60.0  # importing torch and making a context can take long on a cold file system


class Load(Protocol):
    """Makes the board work. Modes: `none` (no process), `context`, `model` (loaded, idle), `steady`, `bursts`.

    `contexts` goes on beside a mode: processes that make a context, hold it for a moment and end.
    """

    def play(self, mode: str, *, period_s: float = 0.0, duty: float = 0.0) -> dict[str, Any]:
        """Begins a mode, which goes on until the next; returns once it runs, with what is known about it."""

    def work(self, kind: str, *, seconds: float) -> float:
        """Iterations a second of `gpu-bound` or `launch-bound` work, run for so long."""

    def job(self, name: str, **params: Any) -> Job:
        """Starts a job of `tests.gpu_check.jobs` on the board, in a process of its own; the caller closes it."""

    def contexts(self) -> Job:
        """Starts the coming and going of contexts: a row of the seconds that each one took to be made; the caller closes it."""

    def truth(self) -> Truth | None:
        """True energy between two moments of what is played now, J; None on a real board, where nobody knows it."""

    def cuda_uuids(self, environ: Mapping[str, str]) -> list[str]:
        """UUIDs of CUDA's devices, in CUDA's order, in a fresh process with these variables added."""

    def close(self) -> None:
        """Ends the work and its process."""


class CudaLoad:
    """The real load: `tests.gpu_check.player` on one board, which is started at the first mode that needs it.

    `command` is the player, which has `answer_s` seconds for an answer.
    """

    def __init__(self, uuid: str, *, command: Sequence[str] = PLAYER, answer_s: float = _ANSWER_S) -> None:
        self._uuid = uuid
        self._command = tuple(command)
        self._answer_s = answer_s
        self._process: subprocess.Popen[str] | None = None
        self._answers: queue.Queue[str | None] = queue.Queue()
        self._log: Any = None

    def play(self, mode: str, *, period_s: float = 0.0, duty: float = 0.0) -> dict[str, Any]:
        if mode == "none":
            self.close()
            return {}
        return self._ask({"do": mode, "period_s": period_s, "duty": duty}, timeout_s=self._answer_s)

    def work(self, kind: str, *, seconds: float) -> float:
        return float(self._ask({"do": kind, "seconds": seconds}, timeout_s=self._answer_s + seconds)["rate"])

    def job(self, name: str, **params: Any) -> Job:
        return Job([sys.executable, "-m", "tests.gpu_check.jobs", name, json.dumps(params)], self._environ())

    def contexts(self) -> Job:
        return Job([sys.executable, "-m", "tests.gpu_check.contexts"], self._environ())

    def truth(self) -> Truth | None:
        return None

    def cuda_uuids(self, environ: Mapping[str, str]) -> list[str]:
        code = (
            "import json, torch\n"
            "print(json.dumps([str(torch.cuda.get_device_properties(i).uuid) for i in range(torch.cuda.device_count())]))"
        )
        clean = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
        done = subprocess.run(
            [sys.executable, "-c", code], env={**clean, **environ}, capture_output=True, text=True, timeout=_FIRST_S, check=False
        )
        if done.returncode != 0:
            raise MeasurementError(f"CUDA does not tell its devices: {_last_line(done.stderr)}")
        return [str(uuid) for uuid in json.loads(done.stdout.splitlines()[-1])]

    def close(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(OSError):
            assert process.stdin is not None
            process.stdin.close()  # the player ends with its standard input
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(15)
        self._log.close()

    def _ask(self, request: Mapping[str, Any], *, timeout_s: float) -> dict[str, Any]:
        if self._process is None:
            self._start()
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            line = self._answers.get(timeout=timeout_s)
        except BrokenPipeError:
            line = None
        except queue.Empty:
            raise MeasurementError(f"the load did not answer to {request['do']} within {timeout_s:.0f} s") from None
        if line is None:
            raise MeasurementError(f"the load ended at {request['do']}: {self._why()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise MeasurementError(f"the load failed at {request['do']}: {answer['error']}")
        return answer

    def _start(self) -> None:
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115  # closed with the process
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        self._process = subprocess.Popen(
            self._command,
            env={**self._environ(), "PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        self._answers = queue.Queue()
        threading.Thread(target=_read, args=(self._process, self._answers), daemon=True).start()
        found = self._ask({"do": "context"}, timeout_s=_FIRST_S)["uuid"]
        if found.removeprefix("GPU-") != self._uuid.removeprefix("GPU-"):
            raise MeasurementError(f"CUDA opened board {found} where {self._uuid} was asked for")

    def _environ(self) -> dict[str, str]:
        """By UUID, so that the load is on the very board that is metered."""
        return {**os.environ, "CUDA_VISIBLE_DEVICES": self._uuid, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}

    def _why(self) -> str:
        self._log.seek(0)
        return _last_line(self._log.read())


def open_load(gpu: Gpu) -> Load:
    """The load of a real board."""
    return CudaLoad(gpu.uuid)


def _read(process: "subprocess.Popen[str]", answers: "queue.Queue[str | None]") -> None:
    """Hands on the player's lines, then None: its standard output ends with it."""
    assert process.stdout is not None
    for line in process.stdout:
        answers.put(line)
    answers.put(None)


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1][:300] if lines else "it said nothing"

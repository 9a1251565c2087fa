"""The entry point of a cell's process: one task in, windows out, one last word."""

import logging
import socket
import sys
import traceback

from greenray.cell import probe, runtime
from greenray.cell.marks import WindowMarker
from greenray.cell.protocol import CellTask, Channel, Failed, Probe, Ready
from greenray.cell.work import PartialResult
from greenray.errors import CellError, GreenRayError, Refused

log = logging.getLogger(__name__)

_TASK_TIMEOUT_S = 60.0
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory", "failed to allocate")


def main(connection: socket.socket) -> int:
    """Run the cell that the worker asks for; returns the exit code: 0 after Done, 1 after Failed or without a worker.

    Args:
        connection: connected to the worker.
    """
    channel = Channel(connection)
    partial = PartialResult()
    try:
        task = channel.receive(timeout_s=_TASK_TIMEOUT_S)
        if isinstance(task, Probe):
            return probe.answer(task, channel)
        if not isinstance(task, CellTask):
            log.error("no task came within %g s", _TASK_TIMEOUT_S)
            return 1
        try:
            _run(task, channel, partial)
            return 0
        except (EOFError, BrokenPipeError, ConnectionResetError):
            raise
        except BaseException as error:
            traceback.print_exc(file=sys.stderr)
            channel.send(last_word(error, partial))
            return 1
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return 1  # the worker is gone; nobody is left to tell


def _run(task: CellTask, channel: Channel, partial: PartialResult) -> None:
    cell = task.cell
    partial.settings = runtime.configure(device=cell.device, threads=task.threads, seed=cell.seed)
    channel.send(Ready(gpu_uuid=runtime.gpu_uuid(cell.device)))
    marker = WindowMarker(channel)
    if cell.phase == "training":
        from greenray.cell import training

        channel.send(training.run(task, marker, partial))
    else:
        from greenray.cell import inference

        channel.send(inference.run(task, marker, partial))


def last_word(error: BaseException, partial: PartialResult) -> Failed:
    """What the cell's row says about an error: a status and one sentence."""
    evidence = partial.evidence
    if isinstance(error, CellError):
        status, sentence, evidence = error.status, str(error), {**partial.evidence, **error.evidence}
    elif is_out_of_memory(error):
        status, sentence = "oom", f"out of memory: {_first_line(error)}"
    elif isinstance(error, GreenRayError):
        status, sentence = "failed", str(error)
    else:
        status, sentence = "failed", f"{type(error).__name__}: {_first_line(error)}"
    return Failed.model_validate(
        {
            "status": status,
            "error": sentence,
            "refused": isinstance(error, Refused),
            "evidence": evidence,
            "model_family": partial.family,
            "versions": runtime.versions(),
        }
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the host or the device refused memory; torch says so in several ways."""
    if isinstance(error, MemoryError):
        return True
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(phrase in str(error).lower() for phrase in _OUT_OF_MEMORY)


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "no message")[:300]

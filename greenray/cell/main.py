"""The entry point of a cell's process: one task in, windows out, one last word."""

import contextlib
import logging
import socket
import sys
import traceback
from typing import Any

from greenray.cell import runtime
from greenray.cell.faults import is_device_error, is_out_of_memory
from greenray.cell.protocol import CellTask, Channel, Done, Failed, Probe, Ready
from greenray.cell.work import WindowMarker
from greenray.errors import CellError, GreenRayError, Refused, ResourceError, first_line

log = logging.getLogger(__name__)

_TASK_TIMEOUT_S = 60.0
_WORKER_GONE = (EOFError, BrokenPipeError, ConnectionResetError)


def main(connection: socket.socket) -> int:
    """Run the cell that the worker at the other end asks for; returns the exit code: 1 after Failed or without a worker."""
    channel = Channel(connection)
    result = Done()
    with contextlib.suppress(*_WORKER_GONE):  # then nobody is left to tell
        task = channel.receive(timeout_s=_TASK_TIMEOUT_S)
        if isinstance(task, Probe):
            channel.send(_try_device(task))
            return 0
        if not isinstance(task, CellTask):
            log.error("no task came within %g s", _TASK_TIMEOUT_S)
            return 1
        try:
            _run(task, channel, result)
            return 0
        except _WORKER_GONE:
            raise
        except BaseException as error:
            traceback.print_exc(file=sys.stderr)
            channel.send(last_word(error, result))
    return 1


def _try_device(probe: Probe) -> Ready | Failed:
    """Whether a fresh process can use the device, by trying."""
    import torch

    try:
        if probe.device == "cuda":
            runtime.start_cuda()
        ones = torch.ones(64, 64, device=probe.device)
        if float((ones @ ones).sum()) != 64.0**3:
            raise RuntimeError(f"a product of small matrices on {probe.device} is wrong")
        if probe.warm_compiler:
            torch.compile(lambda x: (x.sin() + x).relu().sum())(ones)
        return Ready(gpu_uuid=runtime.gpu_uuid(probe.device))
    except Exception as error:
        return last_word(error, Done())


def _run(task: CellTask, channel: Channel, result: Done) -> None:
    cell = task.cell
    result.settings = runtime.configure(device=cell.device, threads=task.threads, seed=cell.seed)
    channel.send(Ready(gpu_uuid=runtime.gpu_uuid(cell.device)))
    if cell.phase == "training":
        from greenray.cell.training import run
    else:
        from greenray.cell.inference import run
    channel.send(run(task, WindowMarker(channel), result))


def last_word(error: BaseException, so_far: Done) -> Failed:
    """What the cell's row says about an error: a status and one sentence."""
    status: Any = "failed"
    evidence = so_far.evidence
    if isinstance(error, CellError):
        status, sentence, evidence = error.status, str(error), {**evidence, **error.evidence}
    elif is_out_of_memory(error):
        status, sentence = "oom", f"out of memory: {first_line(error, longest=300, otherwise='no message')}"
    elif isinstance(error, GreenRayError):
        sentence = str(error)
    else:
        sentence = f"{type(error).__name__}: {first_line(error, longest=300, otherwise='no message')}"
    return Failed(
        status=status,
        error=sentence,
        refused=isinstance(error, Refused),
        resource=isinstance(error, ResourceError),
        device_error=is_device_error(error),
        evidence=evidence,
        model_family=so_far.model_family,
        versions=runtime.versions(),
    )

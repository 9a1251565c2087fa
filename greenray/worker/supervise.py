"""One attempt of one cell, from the start of its process to its outcome: listens, answers, and sees to it that it ends."""

import contextlib
import functools
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from greenray.cell.protocol import AnyMessage, Channel, Done, Failed, Message
from greenray.processes.launcher import CellProcess
from greenray.processes.watchdog import Kill, Watchdog

Status = Literal["ok", "not_applied", "unsupported", "oom", "timeout", "crashed", "failed"]
ErrorKind = Literal["exception", "refused", "withheld", "resource", "signal", "deadline", "memory"]

_LISTEN_S = 0.05
_LAST_WORDS_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How an attempt ended, as in the table of cells.

    Attributes:
        error: one sentence; None, as `error_kind`, if ok.
        done: the cell's result, also when it broke after it had given one.
        failed: the cell's own account of its failure.
        peak_rss_bytes: the most private memory that the cell's processes held on top of the start; None when it never started.
    """

    status: Status
    error: str | None = None
    error_kind: ErrorKind | None = None
    done: Done | None = None
    failed: Failed | None = None
    peak_rss_bytes: int | None = None


def supervise(
    process: CellProcess,
    *,
    task: Message | None = None,
    deadline_s: float,
    memory_limit_bytes: int | None,
    handle: Callable[[AnyMessage], Message | None],
    exit_s: float = 10.0,
) -> Outcome:
    """See a cell process through to its end; afterwards nothing of it is left, however this returns.

    Args:
        deadline_s: seconds from now until the cell is killed.
        memory_limit_bytes: private memory that its processes may take together, on top of the start; None is no limit.
        handle: called with each message, the last word included; what it returns is sent to the cell.
        exit_s: seconds that the cell may take to end after its last word.

    Raises:
        LaunchError: the process cannot be killed.
        Exception: whatever `handle` raises, after the cell was killed.
    """
    watchdog = Watchdog(process, deadline_s=deadline_s, memory_limit_bytes=memory_limit_bytes)
    try:
        last_word, nonsense = _listen(process, task=task, handle=handle)
        # A cell that has closed its channel, or said its last word, has nothing to do but end.
        lingers = process.wait(timeout_s=exit_s if watchdog.killed is None else 0.0) is None
    finally:
        watchdog.stop()
        exit_status = process.close()
    killed = watchdog.killed
    if lingers and killed is None:
        killed = Kill(kind="deadline", sentence=f"the cell had finished but did not end within {exit_s:g} s")
    if exit_status.code is not None or exit_status.signal not in (None, signal.SIGKILL):
        killed = None  # it had ended by itself: who was stopped for a while looks at a deadline too late
    done = last_word if isinstance(last_word, Done) else None
    failed = last_word if isinstance(last_word, Failed) else None
    outcome = functools.partial(Outcome, done=done, failed=failed, peak_rss_bytes=watchdog.peak_bytes)
    if failed is not None:
        return outcome(status=failed.status, error=failed.error, error_kind=_kind_of(failed))
    if killed is not None:
        return outcome(status="oom" if killed.kind == "memory" else "timeout", error=killed.sentence, error_kind=killed.kind)
    if nonsense is not None:
        return outcome(status="crashed", error=nonsense, error_kind="exception")
    if done is not None and exit_status.code == 0:
        return outcome(status="ok")
    when = "after it had given its result" if done is not None else "without a last word"
    hint = "; not by GreenRay: the system may have run out of memory" if exit_status.signal == signal.SIGKILL else ""
    error = f"the cell {exit_status.describe()} {when}{hint}"
    return outcome(status="crashed", error=error, error_kind="exception" if exit_status.code is not None else "signal")


def _kind_of(failed: Failed) -> ErrorKind:
    if failed.resource:
        return "withheld" if failed.refused else "resource"
    return "refused" if failed.refused else "exception"


def _listen(
    process: CellProcess, *, task: Message | None, handle: Callable[[AnyMessage], Message | None]
) -> tuple[Done | Failed | None, str | None]:
    """Answer the cell until its last word, the end of its channel or of its process; the word, or what was wrong with it."""
    channel = Channel(process.socket)
    _send(channel, task)
    ended = False
    while True:
        try:
            message = channel.receive(timeout_s=_LAST_WORDS_S if ended else _LISTEN_S)
        except EOFError:
            return None, None
        except ValueError as error:
            process.kill()
            return None, f"the cell sent something that is no message: {str(error).splitlines()[0]}"
        if message is not None:
            _send(channel, handle(message))
            if isinstance(message, Done | Failed):
                return message, None
        elif ended:  # a helper of the cell still holds the channel: no end of file will come
            return None, None
        else:
            ended = process.poll() is not None


def _send(channel: Channel, message: Message | None) -> None:
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it died; how, the exit status tells
        if message is not None:
            channel.send(message)

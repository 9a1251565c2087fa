"""Whether a board still works, asked after a cell whose end may be its doing: after an Xid all its cells fail within a second."""

import math
import time
from collections.abc import Callable

from greenray.gpu.base import Gpu, Meter
from greenray.worker.supervise import Outcome

_COUNTER_PERIODS = 10
_LEAST_WAIT_S = 1.0


def may_be_the_boards(outcome: Outcome, *, ready: bool) -> bool:
    """Whether the end of a cell on a board may be the board's doing: an error of the device, or an end before the cell was ready.

    So may one without a last word. Memory that ran out is not, nor what a cell that had its device says of its model.
    """
    failed = outcome.failed
    if failed is None:
        return outcome.status in ("crashed", "timeout", "failed")
    return failed.device_error or (not ready and failed.status == "failed" and not failed.refused)


def fault_of(gpu: Gpu, *, period_s: float | None, compute: Callable[[], str | None]) -> str | None:
    """Why a board must not be used any more, in a sentence; None if it can be read, and computes.

    Args:
        period_s: how often its energy counter moved when the worker started; None if it had none, or did not move then either.
        compute: has a fresh process do a small task on it, and says why that went wrong, None if it did not.
    """
    meter = gpu.meter()
    try:
        before_j, _ = meter.sample()
        reason = compute() or _unreadable(meter, before_j=before_j, period_s=period_s)
    finally:
        meter.close()
    return None if reason is None else f"board {gpu.uuid} failed: {reason.rstrip('.')}"


def _unreadable(meter: Meter, *, before_j: float, period_s: float | None) -> str | None:
    """What is wrong with a meter that could be read when the worker started; waits for its counter to move.

    A reading may fail, as they do while others make a context: only what lasts is a fault.
    """
    if meter.lost:
        return "it no longer answers"
    if period_s is None:
        meter.sample()
        return meter.fault
    if meter.counter_missing is not None:
        return "its energy counter cannot be read any more"
    deadline_s = time.monotonic() + max(_LEAST_WAIT_S, _COUNTER_PERIODS * period_s)
    wrong = "its energy counter stands still"
    while time.monotonic() < deadline_s:
        now_j, power_w = meter.sample()
        if meter.fault is not None:
            wrong = meter.fault
        elif now_j != before_j and not math.isnan(now_j):
            if meter.power_source is None or not math.isnan(power_w):
                return None
            wrong = "its power cannot be read any more"
        time.sleep(period_s / 4)
    return wrong

"""Section 16: a full board, and a process that is killed while it holds one: what is told, and how soon all is as before."""

import time
from typing import Any

from greenray.errors import MeasurementError
from tests.gpu_check.finding import Finding, Table
from tests.gpu_check.job import Collected
from tests.gpu_check.rig import Rig

_SLACK_BYTES = 64 << 20
_WAIT_S = 20.0
_HELD = 0.25


def run(rig: Rig) -> Finding:
    """Fills the board, then kills a process that holds a quarter of it and computes."""
    before = rig.gpu.memory_used_bytes()
    filled = _filled(rig)
    after_fill_s = _returned(rig, level=before, listed=0, since_s=time.monotonic())["memory_back_s"]
    killed, notes = _killed(rig, before)
    computes_s, why_not = _fresh(rig)
    wrong = [row["what"] for row in filled.rows if row["error"] is not None and not row["recognised"]]
    usable = filled.rows[-1]["error"] is None if filled.rows and filled.problem is None else None
    if filled.problem is not None:
        notes.append(f"{filled.problem[:1].upper()}{filled.problem[1:]}.")
    if wrong:
        notes.append(f"An error is not recognised as out of memory: {'; '.join(wrong)}.")
    if why_not is not None:
        notes.append(f"A fresh process cannot use the board afterwards: {why_not}.")
    verdict = "ok"
    if wrong or not usable or why_not is not None or killed["memory_back_s"] is None or after_fill_s is None:
        verdict = "off"
    elif killed["rose_bytes"] is None or killed["rose_bytes"] < _SLACK_BYTES:
        verdict = "unclear"
        notes.append("The board's used memory did not rise while it was held: what its return says is nothing.")
    rows = [
        [row["what"], row.get("taken_bytes", 0) / 2**30 or "-", row["error"] or "works", _yes(row["recognised"])]
        for row in filled.rows
    ]
    return Finding(
        verdict=verdict,  # type: ignore[arg-type]
        summary=f"{'Not every error is' if wrong else 'Every error is'} recognised as out of memory; after a SIGKILL the memory "
        f"is back {_after(killed['memory_back_s'])}, nobody is listed on the board {_after(killed['unlisted_s'])}, and a fresh "
        f"process computes on it {_after(computes_s)}, its imports included.",
        method="A process asks for more than there is, takes all there is and calls cuBLAS and cuDNN on the full board; another "
        f"holds {100 * _HELD:.0f} % of it, multiplies without a pause and is killed. Memory counts as back within 64 MiB of its "
        "level before.",
        tables=[Table(title="A full board", columns=["call", "GiB taken", "it says", "recognised"], rows=rows)],
        notes=notes,
        data={
            "filled": filled.rows,
            "after_fill_s": after_fill_s,
            "killed": killed,
            "fresh_computes_s": computes_s,
        },
    )


def _filled(rig: Rig) -> Collected:
    job = rig.load.job("fill")
    try:
        return job.collect(until_s=min(rig.deadline_s - 40, time.monotonic() + 60))
    finally:
        job.close()


def _fresh(rig: Rig) -> tuple[float | None, str | None]:
    """How soon a new process has computed on the board, or why it has not."""
    start_s = time.monotonic()
    job = rig.load.job("touch")
    try:
        job.next(timeout_s=min(60.0, rig.deadline_s - start_s - 5))
        return time.monotonic() - start_s, None
    except MeasurementError as error:
        return None, str(error)
    finally:
        job.close()


def _killed(rig: Rig, before: int | None) -> tuple[dict[str, Any], list[str]]:
    """What was seen of a process that was killed while it computed, and what could not be seen."""
    job = rig.load.job("hold", share=_HELD)
    try:
        job.next(timeout_s=min(60.0, rig.deadline_s - time.monotonic()))
        time.sleep(1.0 * min(1.0, rig.scale))
        held, listed = rig.gpu.memory_used_bytes(), rig.gpu.processes()
        start_s = time.monotonic()
        job.kill()
    except MeasurementError as error:
        return {"rose_bytes": None, "listed": 0, "memory_back_s": None, "unlisted_s": None}, [f"Nothing was killed: {error}."]
    finally:
        job.close()
    seen = _returned(rig, level=before, listed=len(listed or []), since_s=start_s)
    rose = None if held is None or before is None else held - before
    notes = [] if listed else ["The driver listed no process on the board while one computed there: its end cannot be seen so."]
    return {"rose_bytes": rose, "listed": len(listed or []), **seen}, notes


def _returned(rig: Rig, *, level: int | None, listed: int, since_s: float) -> dict[str, float | None]:
    """When the memory was back, and a process fewer listed, in seconds from a moment on; None where that was not seen."""
    found: dict[str, float | None] = {"memory_back_s": None, "unlisted_s": None}
    while (taken_s := time.monotonic() - since_s) < _WAIT_S:
        used = rig.gpu.memory_used_bytes()
        if found["memory_back_s"] is None and used is not None and level is not None and used <= level + _SLACK_BYTES:
            found["memory_back_s"] = taken_s
        if found["unlisted_s"] is None and listed and len(rig.gpu.processes() or []) < listed:
            found["unlisted_s"] = taken_s
        if found["memory_back_s"] is not None and (found["unlisted_s"] is not None or not listed):
            break
        time.sleep(0.005)
    return found


def _after(seconds: float | None) -> str:
    return "at an unknown time" if seconds is None else f"after {seconds:.2f} s"


def _yes(value: bool | None) -> str:
    return "-" if value is None else "yes" if value else "no"

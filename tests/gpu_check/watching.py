"""Section 11: does looking wake the board? Idle power while it is polled 50 times a second against a look at both ends only."""

import math
import time
from collections.abc import Callable
from typing import Any

from greenray.power.recorder import Recorder
from tests.benchmarks.paired import Ratio, ratio_of
from tests.gpu_check.finding import Finding, Table
from tests.gpu_check.rig import HZ, Rig

ALLOWED = 1.02
"""Polling may raise idle power by a fiftieth."""
PAIRS, SEGMENT_S = 4, 6.0
_EDGE_S, _CLOSE_S = 1.0, 0.003


def run(rig: Rig) -> Finding:
    """Pairs of segments without and with a context; the mean power of each by the counter, from update to update."""
    rows: list[list[Any]] = []
    data: dict[str, Any] = {}
    ratios: dict[str, Ratio] = {}
    notes: list[str] = []
    seconds = max(0.4, SEGMENT_S * rig.scale)
    for name, mode in (("no context", "none"), ("context", "context")):
        rig.load.play(mode)
        time.sleep(5.0 * rig.scale)
        watts = pairs_w(rig, count=PAIRS, seconds=seconds)
        data[name] = watts
        if any(value is None for values in watts.values() for value in values):
            notes.append(f"{name}: the counter did not move at the edge of a segment, so that its power is unknown.")
            continue
        ratios[name] = ratio = ratio_of(watts["ends"], watts["polled"])
        ends_w, polled_w = (sum(watts[kind]) / len(watts[kind]) for kind in ("ends", "polled"))
        rows.append([name, ratio.pairs, ends_w, polled_w, polled_w - ends_w, ratio.mean, ratio.low, ratio.high])
    rig.load.play("none")
    verdict, summary = verdict_of(ratios)
    columns = ["state", "pairs", "W looked at twice", "W polled", "difference W", "polled / twice", "low", "high"]
    return Finding(
        verdict=verdict,
        summary=summary,
        method=f"{PAIRS} pairs of segments of {seconds:g} s, every other pair the other way round: the recorder at "
        f"{HZ:.0f} Hz (temperature, clocks and the rest at 5 Hz), or no call at all. Each segment begins and ends with the "
        "counter's next update, for which it is read every half millisecond. With 95 % interval.",
        tables=[Table(title="Idle power", columns=columns, rows=rows)],
        notes=notes,
        data=data,
    )


def pairs_w(rig: Rig, *, count: int, seconds: float) -> dict[str, list[float | None]]:
    """Mean power of the segments, looked at twice (`ends`) and polled."""
    found: dict[str, list[float | None]] = {"ends": [], "polled": []}
    for pair in range(count):
        for kind in ("polled", "ends") if pair % 2 else ("ends", "polled"):
            first = next_update(rig.sensor.sample)
            if kind == "polled":
                recorder = Recorder([rig.sensor], hz=HZ)
                recorder.start()
                time.sleep(seconds)
                recorder.stop()
            else:
                time.sleep(seconds)
            last = next_update(rig.sensor.sample)
            known = first is not None and last is not None
            found[kind].append((last[1] - first[1]) / (last[0] - first[0]) if known else None)  # type: ignore[index]
    return found


def next_update(sample: Callable[[], tuple[float, float]]) -> tuple[float, float] | None:
    """The moment at which the counter moves next, and its value then; None if that is not seen within a second."""
    until_s = time.monotonic() + _EDGE_S
    read_s, before_j = time.monotonic(), sample()[0]
    while read_s < until_s:
        last_s, read_s = read_s, time.monotonic()
        counter_j = sample()[0]
        moved = math.isfinite(counter_j) and counter_j != before_j
        # A process that was stopped meanwhile does not know when it moved: the next time, then.
        if moved and time.monotonic() - last_s < _CLOSE_S:
            return (last_s + read_s) / 2, counter_j
        before_j = counter_j
        time.sleep(0.0004)
    return None


def verdict_of(ratios: dict[str, Ratio]) -> Any:
    """Off where polling surely costs more than is allowed, ok where it surely does not, else unclear."""
    if not ratios:
        return "off", "Idle power could not be told."
    told = "; ".join(f"{name} {r.mean:.4f} ({r.low:.4f} to {r.high:.4f})" for name, r in ratios.items())
    summary = f"Idle power polled over not polled: {told}; allowed is {ALLOWED}."
    if any(r.low > ALLOWED for r in ratios.values()):
        return "off", summary
    return ("ok" if all(r.high <= ALLOWED for r in ratios.values()) else "unclear"), summary

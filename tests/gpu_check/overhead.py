"""Section 5: what the recorder costs the work: paired, interleaved, at 50 Hz, on a GPU-bound and on a launch-bound load."""

import statistics
import time
from typing import Any

from greenray.config.settings import CpuModel
from greenray.power.instrument import Instrument
from tests.benchmarks.paired import Ratio, ratio_of
from tests.gpu_check.finding import Finding, Table
from tests.gpu_check.rig import HZ, Rig

ALLOWED = 1.005
PAIRS, SEGMENT_S = 24, 0.5


def run(rig: Rig) -> Finding:
    """Rates with and without the recorder, pair by pair."""
    rows: list[list[Any]] = []
    data: dict[str, Any] = {}
    ratios: dict[str, Ratio] = {}
    pairs = max(3, round(PAIRS * rig.scale))
    instrument = Instrument(accelerator=rig.gpu.uuid, hz=HZ, cpu_model=CpuModel())
    try:
        for kind in ("gpu-bound", "launch-bound"):
            rig.load.work(kind, seconds=1.0)  # warm
            on, off, shares = _pairs(rig, instrument, kind=kind, pairs=pairs)
            ratio = ratios[kind] = ratio_of(on, off)
            share = statistics.median(shares)
            rows.append([kind, ratio.pairs, statistics.median(off), ratio.mean, ratio.low, ratio.high, 100 * share])
            data[kind] = {"on": on, "off": off, "ratio": ratio.mean, "low": ratio.low, "high": ratio.high, "core_share": share}
    finally:
        instrument.close()
    rig.load.play("none")
    columns = ["work", "pairs", "iterations/s without", "without / with", "low", "high", "recorder: % of a core"]
    verdict, summary = verdict_of(ratios)
    return Finding(
        verdict=verdict,
        summary=summary,
        method=f"{pairs} pairs of {SEGMENT_S} s, in turns with and without the worker's recorder at {HZ:.0f} Hz, every other "
        "pair the other way round; geometric mean of the pairs' ratios without the farthest tenth on each side, with its 95 % "
        "interval. The work runs in a process of its own. GPU-bound: 8192 x 8192 products in half precision; launch-bound: "
        "60 tiny layers, batch 1, each call synchronised.",
        tables=[Table(title="Cost of looking", columns=columns, rows=rows)],
        data=data,
    )


def _pairs(rig: Rig, instrument: Instrument, *, kind: str, pairs: int) -> tuple[list[float], list[float], list[float]]:
    """Rates with the recorder, rates without it, and the recorder's share of one core."""
    rates: dict[bool, list[float]] = {True: [], False: []}
    shares: list[float] = []
    for pair in range(pairs):
        for recording in (True, False) if pair % 2 else (False, True):
            if not recording:
                rates[False].append(rig.load.work(kind, seconds=SEGMENT_S))
                continue
            running = instrument.record()
            used_s, start_s = time.process_time(), time.monotonic()
            rates[True].append(rig.load.work(kind, seconds=SEGMENT_S))
            shares.append((time.process_time() - used_s) / (time.monotonic() - start_s))
            running.stop()
    return rates[True], rates[False], shares


def verdict_of(ratios: dict[str, Ratio]) -> Any:
    """The verdict and its summary: off where an interval lies above what is allowed, ok where all lie below, else unclear."""
    told = "; ".join(f"{kind} {r.mean:.4f} ({r.low:.4f} to {r.high:.4f})" for kind, r in ratios.items())
    summary = f"Throughput without the recorder over with it: {told}; allowed is {ALLOWED}."
    if any(r.low > ALLOWED for r in ratios.values()):
        return "off", summary
    if all(r.high <= ALLOWED for r in ratios.values()):
        return "ok", summary
    return "unclear", f"{summary} The interval is too wide to tell: run it on a quiet host, without --quick."

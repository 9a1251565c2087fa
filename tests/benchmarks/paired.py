"""Ratios of paired, interleaved runs, and what may be said about them on a noisy machine."""

import math
import os
import resource
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import psutil
from scipy import stats

MET, MISSED, UNRESOLVED = 0, 1, 3
"""Exit codes of a benchmark; `run` tells them apart. 1 is also a traceback's, 2 bad usage."""
_QUIET_CORES = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """Ratio of the second to the first of each pair: `median` of the pairs; `mean` (geometric) with its 95 % interval."""

    median: float
    mean: float
    low: float
    high: float
    pairs: int

    def __str__(self) -> str:
        return f"{self.mean:.4f} ({self.low:.4f} to {self.high:.4f}, {self.pairs} pairs; median {self.median:.4f})"


def ratio_of(first: Sequence[float], second: Sequence[float]) -> Ratio:
    """Compare two conditions pair by pair: t interval on the log ratios.

    A pair in which something else took the processor says nothing about either condition. The farthest tenth on each side is
    therefore left out, and the interval is the trimmed mean's (Yuen).
    """
    logs = np.sort(np.log(np.asarray(second) / np.asarray(first)))
    count, cut = len(logs), int(0.1 * len(logs))
    kept = logs[cut : count - cut]
    mean = float(kept.mean())
    spread = float(np.std(np.clip(logs, kept[0], kept[-1]), ddof=1))
    half = float(stats.t.ppf(0.975, len(kept) - 1)) * spread * math.sqrt(count) / len(kept)
    return Ratio(
        median=math.exp(float(np.median(logs))),
        mean=math.exp(mean),
        low=math.exp(mean - half),
        high=math.exp(mean + half),
        pairs=count,
    )


def verdict(ratio: Ratio, *, at_most: float, others_cores: float) -> tuple[int, str]:
    """Exit code and words: a target is met or missed only when the whole interval says so.

    On a busy machine it cannot be missed: there a meter takes its time from the work because others take the idle core.
    """
    if ratio.high <= at_most:
        return MET, "ok"
    if others_cores > _QUIET_CORES:
        return UNRESOLVED, "not resolved on this machine: it is busy with other work"
    if ratio.low > at_most:
        return MISSED, "MISSED"
    return UNRESOLVED, "not resolved on this machine: the interval holds the target"


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """A stretch of time (CLOCK_MONOTONIC) in which a process ran (`on`) or was stopped."""

    on: bool
    start_s: float
    end_s: float


def switch(pid: int, *, seconds: float, slice_s: float) -> list[Slice]:
    """Stop and continue a process in turn, the order changing from pair to pair; it runs on in the end.

    Short slices tell a small cost on a noisy machine: what else goes on there lasts longer and falls on both kinds alike.
    """
    found = []
    try:
        for pair in range(round(seconds / slice_s / 2)):
            for on in (True, False) if pair % 2 else (False, True):
                os.kill(pid, signal.SIGCONT if on else signal.SIGSTOP)
                start_s = time.monotonic()
                time.sleep(slice_s)
                found.append(Slice(on=on, start_s=start_s, end_s=time.monotonic()))
    finally:
        os.kill(pid, signal.SIGCONT)
    return found


class TooBusyError(Exception):
    """Others left the work no time, so that nothing can be told; in a sentence."""


def rates(ended_s: np.ndarray, slices: Sequence[Slice]) -> tuple[list[float], list[float]]:
    """Passes per second of each pair's slice with the process off and on, of the moments at which passes of some work ended."""
    ended_s = np.sort(ended_s)
    found: dict[bool, list[float]] = {False: [], True: []}
    for part in slices:
        # From the first pass that ends in the slice to the last: whole passes over the time that they took.
        first, end = np.searchsorted(ended_s, (part.start_s, part.end_s))
        if end - first < 2:
            raise TooBusyError(f"the work stood still for {part.end_s - part.start_s:.2f} s: the machine is too busy")
        found[part.on].append(float((end - first - 1) / (ended_s[end - 1] - ended_s[first])))
    return found[False], found[True]


class Neighbours:
    """How busy the machine was with the work of others; to be told beside a ratio, which their work makes vague."""

    def __init__(self) -> None:
        self._began = time.monotonic(), _host_busy_s(), _own_busy_s()

    def cores(self) -> float:
        """Cores that others kept busy since the beginning, on average. Children count as own once they have ended."""
        began_s, host_s, own_s = self._began
        return max(0.0, (_host_busy_s() - host_s - (_own_busy_s() - own_s)) / (time.monotonic() - began_s))


def _host_busy_s() -> float:
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + times.irq + times.softirq)


def _own_busy_s() -> float:
    uses = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(use.ru_utime + use.ru_stime for use in uses)

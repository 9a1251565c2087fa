"""How often the analysis' 95 % intervals hold what is true: simulated sweeps through the whole of it, in worlds of several kinds.

    python -m tests.benchmarks.coverage [--worlds heavy,step] [--models 3,12] [--scale 1]

Effects are drawn anew in each sweep (`worlds.TACTICS`): the truth about a model is its own effect, the truth over models the mean
of all there could be. `prune-global` does nothing anywhere: "called clear" is how often its interval leaves out 0. Over models,
coverage is that of the tactics that differ between models; where none does, the interval is wider than it need be by intention
(`overall`). The error beside a share is two standard errors over sweeps, since what is in one sweep shares baselines.
"""

import argparse
import os
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import numpy as np

from greenray.analysis.analyse import Analysis, analyse_frames
from greenray.analysis.stats import Estimate
from tests.benchmarks.paired import MET, MISSED, UNRESOLVED
from tests.benchmarks.simulated import Simulated
from tests.benchmarks.worlds import FAMILIES, TACTICS, WORLDS, Sweeps, World, simulate

SWEEPS = {1: 700, 3: 650, 12: 450, 42: 280}
"""How many sweeps of so many models: what keeps the errors near 1 %."""
COVERAGE, NULL = (0.93, 0.97), (0.0, 0.07)
"""Targets: shares of intervals that hold the truth, and of null effects that are called clear."""
CHUNK_CELLS = 20_000
_BY_NAME = {tactic.name: number for number, tactic in enumerate(TACTICS)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """Of how many intervals something is so; `error` is two standard errors, None where there are none to tell."""

    hits: int
    total: int
    error: float | None

    @property
    def value(self) -> float:
        return self.hits / self.total if self.total else float("nan")

    def verdict(self, target: tuple[float, float]) -> int:
        """Within the target, outside by less than the error, or outside for sure; of nothing, nothing is missed."""
        if not self.total or target[0] <= self.value <= target[1]:
            return MET
        outside = max(target[0] - self.value, self.value - target[1])
        return UNRESOLVED if outside <= (self.error or 0.0) else MISSED


@dataclass(slots=True)
class Count:
    """Hits and intervals by sweep."""

    hits: list[int] = field(default_factory=list)
    totals: list[int] = field(default_factory=list)

    def add(self, sweeps: int, seen: Sequence[tuple[int, bool]]) -> None:
        """Pairs of sweep and hit."""
        where, hit = np.array([one for one, _ in seen], dtype=int), np.array([one for _, one in seen], dtype=float)
        self.hits += np.bincount(where, hit, minlength=sweeps).astype(int).tolist()
        self.totals += np.bincount(where, minlength=sweeps).tolist()

    def share(self) -> Share:
        """A ratio of sums over sweeps, with the error of such a ratio: sweeps are independent, their intervals are not."""
        hits, totals = np.array(self.hits), np.array(self.totals)
        count, total = len(totals), int(totals.sum())
        if not total or count < 2:
            return Share(hits=int(hits.sum()), total=total, error=None)
        residuals = hits - totals * hits.sum() / total
        error = 2 * float(np.sqrt((residuals**2).sum() * count / (count - 1))) / total
        return Share(hits=int(hits.sum()), total=total, error=error)


@dataclass(slots=True)
class Outcome:
    """What was seen of a world and a number of models.

    Attributes:
        model, over: intervals that hold the truth, of models and over them; `*_width` their half-widths in points.
        model_null, over_null: intervals of what does nothing that leave out 0.
        check: intervals of the null check that hold 0.
        effects, known: effects of models in all, and those that have an interval.
    """

    counts: dict[str, Count] = field(default_factory=lambda: defaultdict(Count))
    widths: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    effects: int = 0

    def share(self, name: str) -> Share:
        return self.counts[name].share()

    def add(self, other: "Outcome") -> None:
        for name, count in other.counts.items():
            self.counts[name].hits += count.hits
            self.counts[name].totals += count.totals
        for name, widths in other.widths.items():
            self.widths[name] += widths
        self.effects += other.effects


def judge(analysis: Analysis, sweeps: Sweeps) -> Outcome:
    """Hold what the analysis says of simulated sweeps against what was simulated."""
    found, seen = Outcome(), defaultdict[str, list[tuple[int, bool]]](list)

    def look(level: str, sweep: str, tactic: int, energy: Estimate | None, truth: float) -> None:
        if energy is None or energy.low is None or energy.high is None:
            return
        number, fixed = int(sweep[1:]), not TACTICS[tactic].families
        held = energy.low <= np.exp(truth) <= energy.high
        if level == "model" or not fixed:
            seen[level].append((number, held))
            found.widths[level].append(energy.half_width_points or 0.0)
        if fixed:
            seen[f"{level} null"].append((number, bool(energy.clear)))

    for finding in analysis.findings:
        subject, tactic = finding.effect.subject, _BY_NAME[finding.tactic]
        truth = sweeps.effects[int(subject.sweep[1:]), int(subject.model.removeprefix("model-")), tactic]
        look("model", subject.sweep, tactic, finding.effect.energy, truth)
    for effect in analysis.overall:
        tactic = _BY_NAME[effect.tactic]
        look("over", effect.group.sweep, tactic, effect.energy, TACTICS[tactic].mean)
    found.effects = len(analysis.findings)
    for name, pairs in seen.items():
        found.counts[name].add(len(sweeps.levels), pairs)
    return found


def run(world: World, models: int, sweeps: int, seed: int) -> Outcome:
    """Simulate some sweeps, analyse them together, and judge."""
    simulated = simulate(world, models=models, sweeps=sweeps, seed=seed)
    return judge(analyse_frames(Simulated(simulated)), simulated)


def tasks(worlds: Sequence[World], sizes: Sequence[int], *, scale: float) -> Iterator[tuple[World, int, int, int]]:
    """What `run` is to be asked for: pieces that fit into memory, each with a seed of its own."""
    for world in worlds:
        for models in sizes:
            total = max(2, round(SWEEPS[models] * scale))
            piece = max(2, CHUNK_CELLS // (models * world.most_rounds * (len(TACTICS) + 2)))
            for seed, begun in enumerate(range(0, total, piece)):
                yield world, models, min(piece, total - begun), seed


COLUMNS = ("model", "over", "model null", "over null", "check")
HEADER = f"{'world':44}{'models':>7}" + "".join(
    f"{title:>{width}}"
    for title, width in (("of models %", 17), ("±", 6), ("over models %", 17), ("±", 6), ("null: clear %", 17), ("over %", 15))
)


def targets(world: World) -> dict[str, tuple[float, float]]:
    """What each share should lie within."""
    return {"model": COVERAGE, "over": COVERAGE, "model null": NULL, "over null": NULL}


def line(world: World, models: int, outcome: Outcome) -> tuple[str, int]:
    """A row of the table, and its verdict."""
    shares = {name: outcome.share(name) for name in targets(world)}
    codes = {name: share.verdict(targets(world)[name]) for name, share in shares.items()}
    widths = {name: f"{median(found):6.1f}" if (found := outcome.widths[name]) else f"{'-':>6}" for name in ("model", "over")}
    text = "".join(
        f"{shown(shares[name], codes[name]):>{17 if name != 'over null' else 15}}{widths.get(name, '')}" for name in shares
    )
    worst = MISSED if MISSED in codes.values() else max(codes.values())
    given = shares["model"].total / outcome.effects
    rest = "" if given == 1 else f"   {given:.0%} with an interval"
    return f"{world.name:44}{models:7}{text}{rest}", worst


def shown(share: Share, code: int) -> str:
    """A share in per cent with its error; `!` where it misses its target, `?` where that cannot be told."""
    mark = {MET: " ", UNRESOLVED: "?", MISSED: "!"}[code]
    return f"{share.value * 100:.1f} ±{(share.error or 0) * 100:.1f}{mark}" if share.total else "- "


def main() -> int:
    """Print the table; the worst verdict."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", default="", help="parts of the names of those wanted  [default: all]")
    parser.add_argument("--models", default=",".join(map(str, FAMILIES)), help="[default: %(default)s]")
    parser.add_argument("--scale", type=float, default=1.0, help="times the default number of sweeps")
    options = parser.parse_args()
    worlds = [world for world in WORLDS if any(part in world.name for part in options.worlds.split(","))]
    sizes = [int(models) for models in options.models.split(",")]
    begun_s, codes, outcomes = time.monotonic(), [], defaultdict[tuple[str, int], Outcome](Outcome)
    print(HEADER)
    with ProcessPoolExecutor(max_workers=os.cpu_count()) as pool:
        wanted = list(tasks(worlds, sizes, scale=options.scale))
        for (world, models, *_), outcome in zip(wanted, pool.map(_run, wanted), strict=True):
            outcomes[world.name, models].add(outcome)
    for world in worlds:
        for models in sizes:
            text, code = line(world, models, outcomes[world.name, models])
            codes.append(code)
            print(text)
    missed, unresolved = codes.count(MISSED), codes.count(UNRESOLVED)
    print("targets: 93-97 % hold the truth, at most 7 % of null effects are called clear; ± is two standard errors over sweeps")
    print(f"missed in {missed} of {len(codes)} rows (!), not resolved in {unresolved} (?); {time.monotonic() - begun_s:.0f} s")
    return MISSED if missed else max(codes, default=MET)


def _run(task: tuple[Any, ...]) -> Outcome:
    return run(*task)


if __name__ == "__main__":
    sys.exit(main())

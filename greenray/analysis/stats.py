"""The few statistics that the analysis needs, each with its assumptions stated.

Ratios are handled as natural logarithms: they are symmetric there, and a mean of logs is a geometric mean.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import covariance, fmean

from scipy import special

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A ratio of tactic to baseline (0.7 means 30 % less) with its 95 % interval; None where none can be given.

    `basis` says what it rests on, or why there is no interval, for a reader: "5 rounds", "one round", ...
    """

    ratio: float
    low: float | None
    high: float | None
    basis: str

    @property
    def percent(self) -> float:
        """Change; negative = less than the baseline."""
        return (self.ratio - 1) * 100

    @property
    def half_width_points(self) -> float | None:
        return None if self.low is None or self.high is None else (self.high - self.low) / 2 * 100

    @property
    def log_half_width(self) -> float | None:
        return None if self.low is None or self.high is None else math.log(self.high / self.low) / 2

    @property
    def clear(self) -> bool | None:
        """Whether the interval leaves out "no difference"; None without an interval."""
        return None if self.low is None or self.high is None else not self.low <= 1 <= self.high


@cache
def t_quantile(degrees: int) -> float:
    """Two-sided 95 % quantile of Student's t."""
    return float(special.stdtrit(degrees, (1 + CONFIDENCE) / 2))


def mean_known(values: Iterable[float | None]) -> float | None:
    """Mean of the values that are known; None when none is."""
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def estimate(log_ratio: float, half_width: float | None, *, basis: str) -> Estimate:
    """A log ratio and its half-width as an `Estimate`; without a half-width there is no interval."""
    low, high = (None, None) if half_width is None else (math.exp(log_ratio - half_width), math.exp(log_ratio + half_width))
    return Estimate(ratio=math.exp(log_ratio), low=low, high=high, basis=basis)


def wilson(hits: int, *, of: int) -> tuple[float, float]:
    """95 % interval of a share (0-1), by the score test (Wilson, "Probable inference", 1927); `of` is 1 or more."""
    z = float(special.ndtri((1 + CONFIDENCE) / 2))
    centre, scale = (hits + z * z / 2) / (of + z * z), z / (of + z * z)
    half = scale * math.sqrt(hits * (of - hits) / of + z * z / 4)
    return max(0.0, centre - half), min(1.0, centre + half)


def ratio_of_means(above: Sequence[float], below: Sequence[float]) -> Estimate | None:
    """Mean of one side over mean of the other, of pairs, with Fieller's 95 % interval; None where the mean below is 0.

    A ratio lies in the interval where a paired t test does not tell the one side from that multiple of the other (Fieller, "Some
    problems in interval estimation", 1954), so the interval leaves out 1 where the paired t test of both sides is significant.
    There is none under three pairs, and where the side below cannot be told from 0.
    """
    n, basis = len(above), f"{len(above)} pairs"
    x, y = fmean(above), fmean(below)
    if y == 0:
        return None
    none = Estimate(ratio=x / y, low=None, high=None, basis=basis)
    if n < 3:
        return none
    square = t_quantile(n - 1) ** 2 / n
    xx, xy, yy = (square * covariance(*sides) for sides in ((above, above), (above, below), (below, below)))
    a, b, c = y * y - yy, x * y - xy, x * x - xx
    if a <= 0:
        return none
    root = math.sqrt(max(0.0, b * b - a * c))
    return Estimate(ratio=x / y, low=(b - root) / a, high=(b + root) / a, basis=basis)


def binomial_tail(misses: int, *, of: int, chance: float) -> float:
    """Probability of so many misses or more."""
    return 1.0 if misses == 0 else float(special.bdtrc(misses - 1, of, chance))


def mcnemar_exact(*, lost: int, won: int) -> float:
    """p of the exact two-sided McNemar test on samples that only the baseline (`lost`) or only the tactic (`won`) gets right."""
    discordant = lost + won
    # At p = 1/2 the binomial is symmetric, so both tails are twice the smaller one.
    return 1.0 if discordant == 0 else min(1.0, 2 * float(special.bdtr(min(lost, won), discordant, 0.5)))


def paired_difference(*, lost: int, won: int, samples: int) -> tuple[float, float]:
    """95 % interval of the difference of two paired proportions, tactic less baseline (-1 to 1).

    Agresti and Min, "Simple improved confidence intervals for comparing matched proportions" (2005): half an observation is
    added to each of the four cells, which keeps the coverage near 95 % where a plain Wald interval collapses on few
    discordant pairs.
    """
    size = samples + 2
    gain, loss = (won + 0.5) / size, (lost + 0.5) / size
    centre = gain - loss
    half = float(special.ndtri((1 + CONFIDENCE) / 2)) * math.sqrt(max(0.0, gain + loss - centre * centre) / size)
    return max(-1.0, centre - half), min(1.0, centre + half)


def wilcoxon_p(log_ratios: Sequence[float]) -> float:
    """Wilcoxon signed-rank test that the median log ratio is zero (two-sided)."""
    from scipy import stats  # slow to import, and rarely needed

    return 1.0 if not any(log_ratios) else float(stats.wilcoxon(log_ratios).pvalue)


def rank_biserial(changes: Sequence[float]) -> float | None:
    """Matched-pairs rank-biserial correlation (-1 to 1) of paired changes: the part of the sum of their ranks by size that is
    increase, less that which is decrease (Kerby, "The simple difference formula", 2014). None where nothing changed: pairs
    without a change have no rank."""
    from scipy import stats

    changed = [change for change in changes if change]
    if not changed:
        return None
    ranks = stats.rankdata([abs(change) for change in changed])
    return float(sum(math.copysign(rank, change) for rank, change in zip(ranks, changed, strict=True)) / ranks.sum())


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment, in the order given."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, p_values[index] * (len(p_values) - rank)))
        adjusted[index] = highest
    return adjusted


def cliffs_delta(tactic: Sequence[float], baseline: Sequence[float]) -> float:
    """Cliff's delta: how often a tactic's value exceeds a baseline's, less how often it is below (-1 to 1)."""
    return sum((t > b) - (t < b) for t in tactic for b in baseline) / (len(tactic) * len(baseline))

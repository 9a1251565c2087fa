"""How two quantities go together over independent units: Pearson and Spearman with 95 % intervals.

Fisher's z for Pearson, variance 1 / (n - 3); for Spearman the variance (1 + r^2 / 2) / (n - 3) of Bonett and Wright ("Sample size
requirements for estimating Pearson, Kendall and Spearman correlations", 2000), which keeps its coverage at strong correlations.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from scipy import special

from greenray.analysis.stats import CONFIDENCE, holm

Method = Literal["Pearson", "Spearman"]
METHODS: tuple[Method, ...] = ("Pearson", "Spearman")
MIN_UNITS, MIN_UNITS_FOR_TEST = 4, 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Correlation:
    """A correlation over `n` units; what cannot be given is None, and `why` says it.

    `p` is two-sided, of no correlation, from `MIN_UNITS_FOR_TEST` units on; `p_holm` adjusted over what it was looked at with.
    """

    method: Method
    n: int
    r: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    p_holm: float | None = None
    why: str = ""

    @property
    def clear(self) -> bool | None:
        """Whether the interval leaves out "no correlation"; of a perfect one, which has none, whether its test does."""
        if self.low is None or self.high is None:
            return None if self.p is None else self.p < 1 - CONFIDENCE
        return not self.low <= 0 <= self.high


def correlation(x: Sequence[float], y: Sequence[float], *, method: Method) -> Correlation:
    """Of pairs of values that are all known."""
    from scipy import stats  # slow to import

    n = len(x)
    if n < MIN_UNITS:
        return Correlation(method=method, n=n, why=f"needs {MIN_UNITS}, there {'is' if n == 1 else 'are'} {n}")
    if _constant(x) or _constant(y):
        return Correlation(method=method, n=n, why="one of the two is the same everywhere")
    found = stats.pearsonr(x, y) if method == "Pearson" else stats.spearmanr(x, y)
    r = max(-1.0, min(1.0, float(found.statistic)))
    p = float(found.pvalue) if n >= MIN_UNITS_FOR_TEST else None
    ends = interval(r, n=n, method=method)
    if ends is None:
        return Correlation(method=method, n=n, r=r, p=p, why="all lie on one line or in one order: the interval has no width")
    return Correlation(method=method, n=n, r=r, low=ends[0], high=ends[1], p=p)


def interval(r: float, *, n: int, method: Method = "Pearson") -> tuple[float, float] | None:
    """95 % interval of a correlation over `n` units; None under `MIN_UNITS`, and where it is 1 or -1."""
    if n < MIN_UNITS or 1 - abs(r) < 1e-12:
        return None
    variance = (1 + r * r / 2 if method == "Spearman" else 1) / (n - 3)
    half = float(special.ndtri((1 + CONFIDENCE) / 2)) * math.sqrt(variance)
    return math.tanh(math.atanh(r) - half), math.tanh(math.atanh(r) + half)


def adjusted(found: Sequence[Correlation]) -> list[Correlation]:
    """With p adjusted by Holm over all of them that have one."""
    tested = [one.p for one in found if one.p is not None]
    adjusted = iter(holm(tested))
    return [one if one.p is None else replace(one, p_holm=next(adjusted)) for one in found]


def _constant(values: Sequence[float]) -> bool:
    return max(values) - min(values) <= 1e-12 * max(map(abs, values))

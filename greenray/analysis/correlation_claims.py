"""What Mavromatis, Katsaros and Khan (2024) found of descriptors and energy, held against what was measured here.

Both sides have an interval: ours over families, the paper's by Fisher's z over its 14 models. Intervals that do not overlap
contradict each other. A correlation is agreed with where ours is clear and of the same sign; that there is none, where our
interval holds 0 and nothing strong, which is what would explain half of the variance. Else nothing can be told: an interval
that holds everything agrees with everything.
"""

import math
from dataclasses import dataclass

from greenray.analysis import association
from greenray.analysis.association import Correlation
from greenray.analysis.correlations import ENERGY, TRAINING_ENERGY, Matrix, Quantity
from greenray.analysis.prices import table

PAPER = "Mavromatis et al. (2024)"
STRONG = math.sqrt(0.5)
"""A correlation that explains half of the variance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A descriptor against energy: the paper's correlation, with the interval that its number of models gives it, and ours."""

    descriptor: Quantity
    energy: Quantity
    r_low: float
    r_high: float
    low: float
    high: float
    ours: Correlation

    @property
    def verdict(self) -> str:
        """`agrees`, `contradicts` or `cannot tell`."""
        low, high = self.ours.low, self.ours.high
        if low is None or high is None:
            return "cannot tell"
        if high < self.low or low > self.high:
            return "contradicts"
        if self.low <= 0 <= self.high:
            return "agrees" if low <= 0 <= high and max(-low, high) < STRONG else "cannot tell"
        same = low > 0 if self.low > 0 else high < 0
        return "agrees" if same else "cannot tell"

    @property
    def sentence(self) -> str:
        paper = f"{self.r_low:.2f}" + (f" to {self.r_high:.2f}" if self.r_high != self.r_low else "")
        told = f"{PAPER} has r {paper} ({self.low:.2f} to {self.high:.2f} over its models)"
        what = f"{self.descriptor.label} and {self.energy.label}"
        if self.ours.r is None:
            return f"{what}: {told}; there is no correlation here to hold against it ({self.ours.why}): cannot tell."
        ends = "no interval" if self.ours.low is None else f"{self.ours.low:.2f} to {self.ours.high:.2f}"
        return f"{what}: r {self.ours.r:.2f} here ({ends}, n = {self.ours.n}); {told}: {self.verdict}."


def claims(matrix: Matrix) -> list[Claim]:
    """Of training energy where it is known, as in the paper; else of the energy of inference."""
    names = {quantity.name: quantity for quantity in matrix.quantities}
    energy = names.get(TRAINING_ENERGY) or names.get(ENERGY)
    found = []
    for row in table("mavromatis_2024.csv"):
        if energy is None or (pair := matrix.pair(row["descriptor"], energy.name)) is None:
            continue
        r_low, r_high, models = float(row["r_low"]), float(row["r_high"]), int(row["models"])
        ends = [association.interval(r, n=models) or (r, r) for r in (r_low, r_high)]
        claim = Claim(
            descriptor=names[row["descriptor"]],
            energy=energy,
            r_low=r_low,
            r_high=r_high,
            low=ends[0][0],
            high=ends[1][1],
            ours=pair.found["Pearson"],
        )
        found.append(claim)
    return found

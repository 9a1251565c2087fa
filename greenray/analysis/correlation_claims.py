"""What Mavromatis, Katsaros and Khan (2024) found of descriptors and energy, held against what was measured here.

Both sides have an interval: ours over families, the paper's by Fisher's z over its 14 models. Intervals that do not overlap
contradict each other, unless ours is the stronger correlation. One is agreed with where ours is clear and of the same sign; that
there is none, where our interval holds 0 and nothing strong, which is what would explain half of the variance. Else nothing can
be told: an interval that holds everything agrees with everything.
"""

import math
from dataclasses import dataclass

from greenray.analysis import association
from greenray.analysis.association import Correlation
from greenray.analysis.correlations import ENERGY, TRAINING_ENERGY, Matrix, Quantity
from greenray.analysis.prices import table
from greenray.analysis.wording import signed

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
    models: int
    ours: Correlation

    @property
    def verdict(self) -> str:
        """What the intervals say of the paper's figure."""
        low, high = self.ours.low, self.ours.high
        if low is None or high is None:
            return "cannot tell"
        if self.low <= 0 <= self.high:  # the paper found none
            apart = high < self.low or low > self.high
            none = low <= 0 <= high and max(-low, high) < STRONG
            return "contradicts" if apart else "agrees" if none else "cannot tell"
        weaker, stronger = (high < self.low, low > self.high) if self.low > 0 else (low > self.high, high < self.low)
        if stronger:
            return "agrees, and it is stronger here"
        if weaker:
            return "contradicts"
        return "agrees" if low > 0 or high < 0 else "cannot tell"

    @property
    def sentence(self) -> str:
        paper = _r(self.r_low) + (f" to {_r(self.r_high)}" if self.r_high != self.r_low else "")
        told = f"{PAPER} has r {paper} ({_r(self.low)} to {_r(self.high)} over its {self.models} models)"
        what = f"{self.descriptor.label} and {self.energy.label}"
        if self.ours.r is None:
            return f"{what}: {told}; there is no correlation here to hold against it ({self.ours.why}): cannot tell."
        known = self.ours.low is not None and self.ours.high is not None
        ends = f"{_r(self.ours.low or 0.0)} to {_r(self.ours.high or 0.0)}" if known else "no interval"
        return f"{what}: r {_r(self.ours.r)} here ({ends}, n = {self.ours.n}); {told}: {self.verdict}."


def _r(value: float) -> str:
    return signed(value, decimals=2).removeprefix("+")


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
            models=models,
            ours=pair.found["Pearson"],
        )
        found.append(claim)
    return found

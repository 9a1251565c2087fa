"""What a claim is, and the three answers that data give it.

A claim says between which ends a figure lies; data give the figure a 95 % interval. The claim holds where the whole interval lies
between the ends, it does not hold where all of it lies outside, and it cannot be told else, or where there is no interval. The
ends are those of the claim and not of the data, so of two runs one may well see what the other cannot tell; that one says yes
and another no takes an interval that misses.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from greenray.analysis.stats import Estimate

Answer = Literal["holds", "does not hold", "cannot be told"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a paper found.

    Attributes:
        subject: of what, a tactic or a descriptor; `measure` what of it, by the name that the analysis has for it.
        words: what the paper says, for a reader.
        low, high: the ends that the claim holds between, infinite where it has none.
        direction: the weaker claim that a size comes with, that there is less or more of it at all.
    """

    subject: str
    measure: str
    words: str
    low: float
    high: float
    direction: "Claim | None" = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Paper:
    """A paper, with where its figures are from."""

    title: str
    short: str
    date: str
    source: str
    figures: str
    claims: tuple[Claim, ...]

    @property
    def cited(self) -> str:
        return f"{self.title} ({self.date}, {self.source}); {self.figures}."


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A claim held against data.

    Attributes:
        where: on what they were measured, and what else it is to be read with.
        families: how many model families stand behind the figure.
        value, low, high: the figure here and its 95 % interval; None where `basis` says why.
    """

    claim: Claim
    where: str
    families: int
    value: float | None
    low: float | None
    high: float | None
    basis: str

    @property
    def ends(self) -> tuple[float, float] | None:
        return None if self.low is None or self.high is None else (self.low, self.high)

    @property
    def ratio(self) -> Estimate | None:
        """The figure, of claims on ratios."""
        return None if self.value is None else Estimate(ratio=self.value, low=self.low, high=self.high, basis=self.basis)

    @property
    def answer(self) -> Answer:
        return answer(self.ends, low=self.claim.low, high=self.claim.high)

    @property
    def told(self) -> str:
        """The answer, why it cannot be told where there is no interval, and what is left of a size that does not surely hold."""
        if self.ends is None:
            return f"{self.answer}: {self.basis}"
        weaker = self.claim.direction
        direction = self.answer if weaker is None else answer(self.ends, low=weaker.low, high=weaker.high)
        return self.answer if direction == self.answer else f"{self.answer} in size; in direction it {direction}"


def answer(ends: tuple[float, float] | None, *, low: float, high: float) -> Answer:
    """Whether a figure with this interval lies between the ends of a claim, which are not part of it."""
    if ends is None:
        return "cannot be told"
    if low < ends[0] and ends[1] < high:
        return "holds"
    return "does not hold" if ends[1] <= low or high <= ends[0] else "cannot be told"


def every(answers: Iterable[Answer]) -> Answer:
    """The answer to a claim that is made of several, all of which have to hold."""
    found = set(answers)
    return "does not hold" if "does not hold" in found else "cannot be told" if "cannot be told" in found else "holds"


def circumstances(*, modelled: float, busy: float = 0.0) -> str:
    """By their shares (0-1), which energies were no joules of a meter, or not of this work alone; to stand behind their name."""
    shares = {"estimated from CPU time": modelled, "measured on a busy host": busy}
    told = [words if share == 1 else f"in part {words}" for words, share in shares.items() if share]
    return f" ({', '.join(told)})" if told else ""

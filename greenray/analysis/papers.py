"""What papers found, as figures to hold measurements against: dated, with where each is from."""

from dataclasses import dataclass
from typing import Literal

from greenray.analysis.stats import Estimate

SAME = 0.05
"""A change of less than this is none, where a paper says that there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a paper found of a tactic.

    Attributes:
        measure: what changed, a key of `claims.MEASURES`.
        ratio: tactic over baseline (0.45: 55 % less); None where the paper gives a direction only.
        direction: `not less` says that nothing was won.
    """

    tactic: str
    measure: str
    ratio: float | None = None
    direction: Literal["less", "more", "not less"] = "less"

    @property
    def words(self) -> str:
        return self.direction if self.ratio is None else f"{'−' if self.ratio < 1 else '+'}{abs(self.ratio - 1) * 100:.3g} %"


@dataclass(frozen=True, slots=True, kw_only=True)
class Paper:
    title: str
    date: str
    source: str
    figures: str
    claims: tuple[Claim, ...]


GONZALEZ = Paper(
    title="González, Castaño, Franch, Martínez-Fernández: Impact of ML Optimization Tactics on Greener Pre-Trained ML Models",
    date="2024-09",
    source="https://arxiv.org/abs/2409.12878",
    figures="percentages by a re-analysis of its raw data, directions by its abstract",
    claims=(
        Claim(tactic="dynamic-quantization", measure="time", ratio=0.5),
        Claim(tactic="dynamic-quantization", measure="energy", ratio=0.465),
        Claim(tactic="dynamic-quantization", measure="GPU energy", ratio=0.45),
        Claim(tactic="dynamic-quantization", measure="GPU power", ratio=0.9),
        Claim(tactic="dynamic-quantization", measure="accuracy", ratio=0.862),
        Claim(tactic="dynamic-quantization", measure="size, parameters() alone", ratio=0.06),
        Claim(tactic="dynamic-quantization", measure="size, serialised", ratio=0.06),
        Claim(tactic="compile", measure="energy"),
        Claim(tactic="prune-local", measure="time", direction="not less"),
        Claim(tactic="prune-global", measure="time to apply, against prune-local", direction="more"),
    ),
)


def verdict(claim: Claim, ours: Estimate | None) -> str:
    """Whether what was measured bears a claim out; a word more than yes or no where only its direction holds."""
    if ours is None:
        return "cannot tell: not measured"
    if ours.low is None or ours.high is None:
        return f"cannot tell: {ours.basis}"
    if claim.ratio is None:
        return _direction(claim.direction, ours.low, ours.high)
    if ours.low <= claim.ratio <= ours.high:
        return "confirmed" if ours.clear else "cannot tell: the interval holds both no change and the claim"
    if ours.clear and (ours.ratio < 1) is (claim.ratio < 1):
        return "confirmed in direction, not in size"
    return "contradicted"


def _direction(direction: str, low: float, high: float) -> str:
    if direction == "not less":
        if high < 1:
            return "contradicted"
        return "confirmed" if low > 1 - SAME else "cannot tell: the interval holds savings too"
    if direction == "more":
        low, high = 1 / high, 1 / low
    if high < 1:
        return "confirmed"
    return "contradicted" if low > 1 - SAME else "cannot tell: no clear difference"

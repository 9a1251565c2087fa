"""The sweep checks itself: comparisons between equals, whose intervals must hold "no difference" in 95 of 100.

The baselines of a block over its rounds, closing against opening, are such a comparison at no cost; the tactic `null-check`, the
baseline under another name, is another.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from greenray.analysis import precision, stats
from greenray.analysis.arms import Arm
from greenray.analysis.effects import NULL_CHECK, ModelEffect
from greenray.analysis.stats import Estimate
from greenray.analysis.visits import Subject, Visit, closing_over_opening, subject_of, visits

SURPRISING = 0.05
"""So many misses or more have come by chance less often than this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NullCheck:
    """Intervals of comparisons between equals on one kind of hardware; `misses` are those that leave out "no difference"."""

    hardware: str
    intervals: int
    misses: tuple[Estimate, ...]

    @property
    def passed(self) -> bool:
        """Whether so many misses may be chance; not where a single interval misses."""
        chance = 1 - stats.CONFIDENCE
        return stats.binomial_tail(len(self.misses), of=self.intervals, chance=chance) > SURPRISING + 1e-9

    @property
    def sentence(self) -> str:
        held = self.intervals - len(self.misses)
        said = f"Null check on {self.hardware}: {held} of {self.intervals} intervals"
        if self.passed and 10 * held >= 9 * self.intervals:
            return f"{said} hold 0, as they should."
        if self.passed:
            return f"{said} {'holds' if held == 1 else 'hold'} 0; they are too few to tell whether that is chance."
        worst = max(abs(miss.percent) for miss in self.misses)
        return (
            f"Null check failed on {self.hardware}: only {held} of {self.intervals} intervals between equals hold 0, with "
            f"differences of up to {worst:.1f} % where there is none. Changes of that size are not to be believed there."
        )


def null_checks(arms: Iterable[Arm], effects: Iterable[ModelEffect]) -> list[NullCheck]:
    """One for each kind of hardware that has three or more rounds of something."""
    found: dict[str, list[Estimate]] = defaultdict(list)
    for subject, rounds in _brackets(arms).items():
        ratios = [ratio for visit in rounds if (ratio := closing_over_opening(visit)) is not None]
        if len(ratios) >= precision.MIN_ROUNDS:
            # How many there are, the tactics' ratios said and not these: an ordinary interval.
            found[subject.hardware].append(stats.estimate(*precision.interval(ratios), basis="brackets"))
    for effect in effects:
        if effect.tactic == NULL_CHECK and effect.energy is not None and effect.energy.clear is not None:
            found[effect.subject.hardware].append(effect.energy)
    return [
        NullCheck(hardware=hardware, intervals=len(all_of_it), misses=tuple(one for one in all_of_it if one.clear))
        for hardware, all_of_it in sorted(found.items())
    ]


def _brackets(arms: Iterable[Arm]) -> dict[Subject, Sequence[Visit]]:
    """Visits with an opening baseline by what was measured, in the order of their rounds."""
    found: dict[Subject, list[Visit]] = defaultdict(list)
    for visit in visits(arms):
        if visit.opening is not None:
            found[subject_of(visit.opening)].append(visit)
    return {
        subject: sorted(of, key=lambda visit: (visit.members[0].cell["round"] or 1, visit.key[1]))
        for subject, of in found.items()
    }

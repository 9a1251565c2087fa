"""When a tactic has earned its one-off cost back: C(N) = C_optimize + N x c."""

import math
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["after", "at once", "never", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakEven:
    """The break-even of one tactic in one quantity (joules or seconds).

    Attributes:
        verdict: "after" `samples`; "at once" when applying it costs nothing; "never" when it saves nothing; "unknown" without
            figures.
        one_off: cost of applying the tactic.
        baseline, tactic: cost of a sample.
        samples: N*, rounded up; None unless verdict is "after".
    """

    verdict: Verdict
    one_off: float | None
    baseline: float | None
    tactic: float | None
    samples: int | None = None


def break_even(*, one_off: float | None, baseline: float | None, tactic: float | None) -> BreakEven:
    """N* = one_off / (baseline - tactic)."""

    def verdict(found: Verdict, samples: int | None = None) -> BreakEven:
        return BreakEven(verdict=found, one_off=one_off, baseline=baseline, tactic=tactic, samples=samples)

    if baseline is None or tactic is None:
        return verdict("unknown")
    if tactic >= baseline:
        return verdict("never")
    if one_off is None:
        return verdict("unknown")
    if one_off <= 0:
        return verdict("at once")
    return verdict("after", math.ceil(one_off / (baseline - tactic)))

"""When a tactic has earned its one-off cost back: C(N) = C_optimize + N x c."""

import math
from typing import Literal

BreakEven = int | Literal["at once", "never", "unknown"]
"""After so many samples; at once when applying it costs nothing, never when it saves nothing, unknown without figures."""


def break_even(*, one_off: float | None, baseline: float | None, tactic: float | None) -> BreakEven:
    """N* = one_off / (baseline - tactic), rounded up, of costs in joules or in seconds."""
    if baseline is None or tactic is None:
        return "unknown"
    if tactic >= baseline:
        return "never"
    if one_off is None:
        return "unknown"
    return "at once" if one_off <= 0 else math.ceil(one_off / (baseline - tactic))

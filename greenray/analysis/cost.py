"""Joules and seconds as money and as carbon, and when a tactic has earned its one-off cost back: C(N) = C_optimize + N x c.

Two prices that are never added: owned hardware pays for its electricity, rented hardware pays for its time. Carbon is
operational, location based, by the grid's yearly mean; making the hardware is not in it.
"""

import math
from dataclasses import dataclass
from typing import Literal

from greenray.analysis.prices import Prices

JOULES_PER_KWH = 3_600_000.0
SECONDS_PER_HOUR = 3600.0
BreakEven = int | Literal["at once", "never", "unknown"]
"""After so many samples; at once when applying it costs nothing, never when it saves nothing, unknown without figures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a number of samples costs, PUE included; None where the energy, the time or the price is unknown.

    `electricity` is money for the energy, `rent` for the time on a rented board (None for cpu cells), `grams` are g CO2e.
    """

    electricity: float | None
    electricity_currency: str | None
    rent: float | None
    rent_currency: str | None
    grams: float | None


def of_samples(*, samples: int, energy_j: float | None, time_s: float | None, gpu_name: str | None, prices: Prices) -> Cost:
    """Energy x PUE x price or grid intensity, time x rent; energy and time are those of one sample, on one board."""
    rate, price, grid = prices.gpu_hour(gpu_name), prices.electricity, prices.grid
    kwh = None if energy_j is None else energy_j * samples / JOULES_PER_KWH * prices.pue.value
    return Cost(
        electricity=None if kwh is None or price is None else kwh * price.value,
        electricity_currency=price.unit if price else None,
        rent=None if rate is None or time_s is None else time_s * samples / SECONDS_PER_HOUR * rate.value,
        rent_currency=rate.unit if rate else None,
        grams=None if kwh is None or grid is None else kwh * grid.value,
    )


def break_even(*, one_off: float | None, baseline: float | None, tactic: float | None) -> BreakEven:
    """N* = one_off / (baseline - tactic), rounded up, of costs in joules or in seconds."""
    if baseline is None or tactic is None:
        return "unknown"
    if tactic >= baseline:
        return "never"
    if one_off is None:
        return "unknown"
    return "at once" if one_off <= 0 else math.ceil(one_off / (baseline - tactic))

"""Joules and seconds as money and as carbon.

Two prices that are never added: owned hardware pays for its electricity, rented hardware pays for its time. Carbon is
operational, location based, by the grid's yearly mean; making the hardware is not in it.
"""

from dataclasses import dataclass

from greenray.analysis.prices import Prices

JOULES_PER_KWH = 3_600_000.0
SECONDS_PER_HOUR = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a number of samples costs; None where the energy, the time or the price is unknown.

    Attributes:
        electricity: money for the energy at the meter (PUE included), in `electricity_currency`.
        rent: money for the time on a rented board, in `rent_currency`; None for cpu cells.
        grams: g CO2e of the energy at the meter.
    """

    electricity: float | None
    electricity_currency: str | None
    rent: float | None
    rent_currency: str | None
    grams: float | None


def of_samples(*, samples: int, energy_j: float | None, time_s: float | None, gpu_name: str | None, prices: Prices) -> Cost:
    """Money and carbon for `samples` samples: energy x PUE x price or grid intensity, time x rent.

    Args:
        samples: how many.
        energy_j: energy of one sample.
        time_s: time of one sample on one board.
        gpu_name: the rented board; None for cpu cells, which have no rental price.
        prices: what to reckon with.
    """
    rate, price, grid = prices.gpu_hour(gpu_name), prices.electricity, prices.grid
    kwh = None if energy_j is None else energy_j * samples / JOULES_PER_KWH * prices.pue.value
    return Cost(
        electricity=None if kwh is None or price is None else kwh * price.value,
        electricity_currency=price.unit if price else None,
        rent=None if rate is None or time_s is None else time_s * samples / SECONDS_PER_HOUR * rate.value,
        rent_currency=rate.unit if rate else None,
        grams=None if kwh is None or grid is None else kwh * grid.value,
    )

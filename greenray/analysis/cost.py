"""Joules and seconds as money.

Two prices that are never added: owned hardware pays for its electricity, rented hardware pays for its time.
"""

from dataclasses import dataclass

from greenray.analysis.prices import Prices

JOULES_PER_KWH = 3_600_000.0
SECONDS_PER_HOUR = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Money for a number of samples; None where the energy, the time or the price is unknown.

    Attributes:
        electricity: money for the energy at the meter (PUE included), in `electricity_currency`.
        rent: money for the time on a rented board, in `rent_currency`; None for cpu cells.
    """

    electricity: float | None
    electricity_currency: str | None
    rent: float | None
    rent_currency: str | None


def electricity(energy_j: float | None, prices: Prices) -> float | None:
    """Money for an energy, at the meter: energy x PUE x price."""
    if energy_j is None or prices.electricity is None:
        return None
    return energy_j / JOULES_PER_KWH * prices.pue.value * prices.electricity.value


def of_samples(*, samples: int, energy_j: float | None, time_s: float | None, gpu_name: str | None, prices: Prices) -> Cost:
    """Money for `samples` samples.

    Args:
        samples: how many.
        energy_j: energy of one sample.
        time_s: time of one sample on one board.
        gpu_name: the rented board; None for cpu cells, which have no rental price.
        prices: what to reckon with.
    """
    rate = prices.gpu_hour(gpu_name)
    return Cost(
        electricity=electricity(None if energy_j is None else energy_j * samples, prices),
        electricity_currency=prices.electricity.unit if prices.electricity else None,
        rent=None if rate is None or time_s is None else time_s * samples / SECONDS_PER_HOUR * rate.value,
        rent_currency=rate.unit if rate else None,
    )

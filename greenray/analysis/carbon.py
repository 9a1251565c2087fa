"""Joules as carbon: operational, location based, by the grid's yearly mean. Making the hardware is not in it."""

from greenray.analysis.cost import JOULES_PER_KWH
from greenray.analysis.prices import Prices


def grams_co2e(energy_j: float | None, prices: Prices) -> float | None:
    """Grams of CO2e for an energy, at the meter: energy x PUE x grid intensity; None when either is unknown."""
    if energy_j is None or prices.grid is None:
        return None
    return energy_j / JOULES_PER_KWH * prices.pue.value * prices.grid.value

"""Energy as a pure function of (readings, start, end): value, half-width, or the reason why it is unknown."""

from dataclasses import dataclass

import numpy as np

from greenray.power.estimate.curve import EnergyCurve, power_curve, uneven_j
from greenray.power.trace import Floats, Readings

NO_LENGTH = "the window has no length"
GAP_PERIODS = 5  # a pause of more sampling periods than this is a gap
GAP_SHARE = 0.1  # a gap at an edge may widen the error up to this share of the energy
_RAPL_MOST_W = 1e4  # no processor, memory or platform uses more


@dataclass(frozen=True, slots=True, kw_only=True)
class Energy:
    """One energy.

    Attributes:
        energy_j: joules, None when unknown.
        error_j: half-width that covers the truth in 95 % of windows, None when unknown.
        updates: counter updates inside the window, None where there is no counter.
        reason: why it is unknown, in a sentence; None when it is known.
    """

    energy_j: float | None = None
    error_j: float | None = None
    updates: int | None = None
    reason: str | None = None


def unknown(reason: str, *, updates: int | None = None) -> Energy:
    """An energy that is NULL, and why."""
    return Energy(reason=reason, updates=updates)


def power_energy(samples: Readings, start_s: float, end_s: float, *, hz: float, lag_s: float = 0.0) -> Energy:
    """Integral of the column power_w from start_s to end_s; any gap inside makes it unknown.

    Args:
        samples: power_w in watts, NaN where a reading failed.
        start_s: start of the window.
        end_s: end of the window.
        hz: sampling rate, which says what a gap is.
        lag_s: length over which the board averages what it calls power (1 s for the averaged reading).
    """
    problem = disorder(samples.times) if end_s > start_s else NO_LENGTH
    if problem is not None:
        return unknown(problem)
    power_w = samples.column("power_w")
    valid = np.isfinite(power_w)
    times, power_w = samples.times[valid], np.maximum(power_w[valid], 0.0)
    if len(times) < 2 or times[0] > start_s or times[-1] < end_s:
        return unknown("power was not read over the whole window")
    for begin, end in gaps_of(times, hz=hz):
        if begin < end_s and end > start_s:
            return unknown(f"no power reading for {end - begin:.2f} s")
    curve = power_curve(times, power_w)
    touched = (times[1:] > start_s) & (times[:-1] < end_s)
    slack_j = 1.96 * float(np.sqrt(np.sum(curve.slack_j[touched] ** 2)))
    if lag_s > 0:
        beside = np.append(touched, False) | np.append(False, touched)
        near = power_w[beside | ((times >= start_s - lag_s) & (times <= end_s + lag_s))]
        slack_j += lag_s * float(near.max() - near.min()) / 2
    energy_j = curve.at(end_s) - curve.at(start_s)
    # The absolute error of a power sensor is some 5 %, which no trace can show.
    return Energy(energy_j=energy_j, error_j=float(np.hypot(slack_j, 0.05 * energy_j)))


def rapl_energy(samples: Readings, start_s: float, end_s: float, *, hz: float, range_j: float) -> Energy:
    """Energy of one RAPL domain: differences of a counter that moves every millisecond and wraps at `range_j`.

    A pause that may hide more than half a wrap makes it unknown.
    """
    problem = disorder(samples.times) if end_s > start_s else NO_LENGTH
    if problem is not None:
        return unknown(problem)
    counter = samples.column("counter_j")
    valid = np.isfinite(counter)
    times, counter = samples.times[valid], counter[valid]
    if len(times) < 2 or times[-1] <= start_s or times[0] >= end_s:
        return unknown("RAPL was not read during the window")
    steps = np.diff(counter)
    if np.isfinite(range_j) and range_j > 0:
        wrapped = steps < 0
        steps = np.where(wrapped, steps + range_j, steps)
        touched = (times[1:] > start_s) & (times[:-1] < end_s)
        # Counted from zero anew, the counter seems to have used what was left of its range, all at once.
        if np.any(touched & wrapped & ((steps < 0) | (steps > _RAPL_MOST_W * (np.diff(times) + 0.1)))):
            return unknown("the RAPL counter went backwards: it was reset")
        usual_w = float(np.median(steps / np.diff(times)))
        hidden_j = max(usual_w, 0.0) * np.diff(times)
        long = np.diff(times) > GAP_PERIODS / hz
        if np.any(touched & ((steps > range_j / 2) | (long & (hidden_j > range_j / 2)))):
            return unknown("RAPL was not read for more than half of its wrap")
    elif np.any(steps < 0):
        return unknown("the RAPL counter went backwards and its range is not known")
    curve = EnergyCurve(
        times=times, energy_j=np.concatenate([[0.0], np.cumsum(steps)]), slack_j=uneven_j(steps / np.diff(times), np.diff(times))
    )
    if not times[0] <= start_s or not end_s <= times[-1]:
        return unknown("RAPL was not read up to the edges of the window")
    energy_j = curve.at(end_s) - curve.at(start_s)
    error_j = curve.error_j(start_s, end_s)
    for begin, end in gaps_of(times, hz=hz):
        if (begin < start_s < end or begin < end_s < end) and error_j > GAP_SHARE * max(energy_j, 1e-9):
            return unknown(f"the recorder missed {end - begin:.2f} s at an edge of the window")
    return Energy(energy_j=energy_j, error_j=error_j)


def interpolate(times: Floats, values: Floats, at_s: float) -> float | None:
    """A steadily growing reading at a moment; None outside the readings."""
    valid = np.isfinite(values)
    times, values = times[valid], values[valid]
    if len(times) < 2 or not times[0] <= at_s <= times[-1]:
        return None
    return float(np.interp(at_s, times, values))


def gaps_of(times: Floats, *, hz: float) -> list[tuple[float, float]]:
    """Pauses of more than five sampling periods: (last reading before, first after)."""
    if len(times) < 2:
        return []
    at = np.flatnonzero(np.diff(times) > GAP_PERIODS / hz)
    return [(float(times[i]), float(times[i + 1])) for i in at]


def disorder(times: Floats) -> str | None:
    """Why samples at these times cannot be used; None when they can."""
    if len(times) > 1 and not np.all(np.diff(times) > 0):
        return "samples are repeated or out of order"
    return None

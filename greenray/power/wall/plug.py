"""Energy at the plug, read off a meter that measures once a second or less often, and the check that the parts fit into it.

Gaps are judged by the meter's own beat. What is not known between two readings is judged by the readings around: how far they lie
off a smooth curve says how much happens that the meter does not show.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from greenray.power.estimate.energy import GAP_SHARE, NO_LENGTH, Energy, unknown
from greenray.power.trace import Floats, Readings, Series

_GAP_PERIODS = 2.5  # one reading that is missing is made up for; two are a gap
_SHORTEST_PERIODS = 0.5  # a shorter window has no reading of its own
_Z = 2.2  # 1.96, and a little for a deviation that is itself estimated from few readings
_SWING = 1.5  # readings that are means over a beat differ by less than the power does
_UNSEEN = 0.1  # share of the power that may come and go within one beat, whatever the readings look like
_UNIFORM = 0.55  # two errors, each uniform over a length d, stay within hypot(0.55 d, 0.55 d) in 95 % of cases
_COARSE = 0.9  # a counter that stands still in more than a tenth of the readings is read more often than it moves


@dataclass(frozen=True, slots=True, kw_only=True)
class WallCheck:
    """Whether what the host's parts took fits into what the plug delivered; the columns `wall_*` of `windows`.

    Attributes:
        parts, parts_j: what was added up, joined by +, and its energy; None where there is nothing to compare.
        holds: False where they are more than the plug's energy by more than both errors; None where that cannot be told.
        reason: why it does not hold or cannot be told, in a sentence.
    """

    parts: str | None = None
    parts_j: float | None = None
    holds: bool | None = None
    reason: str | None = None


def plug_energy(meter: Series, start_s: float, end_s: float) -> Energy:
    """Energy from start_s to end_s by a meter with times of its own (`period_s`): its counter if it has one, else its power."""
    readings, period_s = meter.fast, meter.period_s
    if not end_s > start_s:
        return unknown(NO_LENGTH)
    found = _energy(readings, start_s, end_s, period_s)
    # What has gone wrong since the last reading before the window, and until the first that could have come after it.
    since_s = max(readings.times[readings.times <= start_s], default=-np.inf)
    faults = [text for time_s, text in meter.faults if since_s <= time_s <= end_s + 2 * period_s]
    return unknown(f"{found.reason} ({faults[-1]})") if found.energy_j is None and faults else found


def check_wall(wall: Energy, parts: Mapping[str, Energy]) -> WallCheck:
    """Adds up the parts and holds them against the plug.

    A part that the host has no meter for is left out of `parts` by the caller. Parts of the host that are not in it (boards of
    other workers, fans, disks) only make the sum smaller, so that the check is a necessary condition.
    """
    if not parts:
        return WallCheck(reason="wall check: no part of this host is metered")
    missing = next((name for name, energy in parts.items() if energy.energy_j is None or energy.error_j is None), None)
    if missing is not None:
        return WallCheck(reason=f"wall check: the energy of {missing} is not known")
    names = "+".join(parts)
    parts_j = sum(energy.energy_j or 0.0 for energy in parts.values())
    check = WallCheck(parts=names, parts_j=parts_j)
    if wall.energy_j is None or wall.error_j is None:
        return check
    error_j = float(np.sqrt(wall.error_j**2 + sum((energy.error_j or 0.0) ** 2 for energy in parts.values())))
    if parts_j - wall.energy_j <= error_j:
        return replace(check, holds=True)
    reason = (
        f"the parts add up to more than the plug delivered: {names} {parts_j:.1f} J, wall meter {wall.energy_j:.1f} J, "
        f"which is beyond the errors of both (± {error_j:.1f} J)"
    )
    return replace(check, holds=False, reason=reason)


def _energy(readings: Readings, start_s: float, end_s: float, period_s: float) -> Energy:
    times = readings.times
    if len(times) == 0:
        return unknown("the wall meter gave no reading")
    if times[0] > start_s:
        return unknown(f"the wall meter's first reading is of {times[0] - start_s:.1f} s after the start of the window")
    if times[-1] < end_s:
        return unknown(f"the wall meter's last reading is of {end_s - times[-1]:.1f} s before the end of the window")
    if end_s - start_s < _SHORTEST_PERIODS * period_s:
        return unknown(f"the wall meter gives a reading every {period_s:.2g} s, which is too seldom for this window")
    if "counter_j" in readings.columns:
        return _by_counter(readings, start_s, end_s)
    # A few periods on either side say all about the window; a coarse counter may move more seldom than that.
    before_s = min(start_s - 8 * period_s, times[np.searchsorted(times, start_s, side="right") - 1])
    after_s = max(end_s + 8 * period_s, times[np.searchsorted(times, end_s)])
    return _by_power(readings.within(before_s, after_s), start_s, end_s, period_s)


def _by_power(readings: Readings, start_s: float, end_s: float, period_s: float) -> Energy:
    """Trapezoids. A reading's doubt is what it lies off its neighbours' curve; that of the times shifts the window as a whole."""
    times, power_w = readings.times, readings.column("power_w")
    steps = np.diff(times)
    touched = (times[1:] > start_s) & (times[:-1] < end_s)
    if np.any(touched & (steps > _GAP_PERIODS * period_s)):
        return unknown(f"the wall meter gave no reading for {float(steps[touched].max()):.1f} s (usually every {period_s:.2g} s)")
    weights = _weights(times, start_s, end_s)
    spread_j = _Z * float(np.sqrt(np.sum((weights * _scatter(power_w)) ** 2)))
    middle_w = (power_w[1:] + power_w[:-1]) / 2
    edges_j = float(np.hypot(_edge_j(start_s, times, middle_w), _edge_j(end_s, times, middle_w)))
    edges_w = np.interp([start_s, end_s], times, power_w)
    shift_j = float(np.max(np.nan_to_num(readings.column("doubt_s")))) * abs(float(edges_w[1] - edges_w[0]))
    return Energy(energy_j=float(weights @ power_w), error_j=float(np.hypot(np.hypot(spread_j, edges_j), shift_j)))


def _weights(times: Floats, start_s: float, end_s: float) -> Floats:
    """Seconds for which each reading stands in the integral of the line through them all over a window."""
    low = np.clip((start_s - times[:-1]) / np.diff(times), 0.0, 1.0)
    high = np.clip((end_s - times[:-1]) / np.diff(times), 0.0, 1.0)
    after = (high**2 - low**2) / 2 * np.diff(times)
    before = (high - low) * np.diff(times) - after
    weights: Floats = np.concatenate([before, [0.0]]) + np.concatenate([[0.0], after])
    return weights


def _scatter(values: Floats) -> Floats:
    """Standard deviation of each reading about the smooth curve through its neighbours, pooled over five of them.

    The cubic through two neighbours on either side; on readings that are independent of each other its residual has 1.94 times
    their variance, on a smooth change of power it is small.
    """
    if len(values) < 5:
        return np.full(len(values), float(np.ptp(values)) / 2)
    off = values[2:-2] - (4 * (values[1:-3] + values[3:-1]) - values[:-4] - values[4:]) / 6
    square, known = np.pad(off**2 / 1.944, 2), np.pad(np.ones(len(off)), 2)
    box = np.ones(5)
    pooled: Floats = np.sqrt(np.convolve(square, box, "same") / np.maximum(np.convolve(known, box, "same"), 1.0))
    return pooled


def _edge_j(edge_s: float, knots: Floats, power_w: Floats) -> float:
    """What a change of power that no reading shows may make of the energy up to an edge, J.

    Between two readings power may have been higher first and lower then. By how much is judged by how much it differs around.
    """
    at, length_s = _between(knots, edge_s)
    share = float(np.clip((edge_s - knots[at]) / length_s, 0.0, 1.0))
    around = power_w[max(0, at - 2) : at + 3]
    swing_w = max(_SWING * float(np.ptp(around)), _UNSEEN * float(power_w[at]))
    return swing_w * length_s * share * (1 - share)


def _between(knots: Floats, edge_s: float) -> tuple[int, float]:
    """The two knots around an edge: number of the first, and how far they are apart, s."""
    at = min(max(int(np.searchsorted(knots, edge_s, side="right")) - 1, 0), len(knots) - 2)
    return at, float(knots[at + 1] - knots[at])


def _by_counter(readings: Readings, start_s: float, end_s: float) -> Energy:
    """Interpolation between readings of a counter; a coarse one is taken at its moves, halfway between the readings around."""
    times, steps = readings.times, np.diff(readings.column("counter_j"))
    if np.any((steps < 0) & (times[1:] > start_s) & (times[:-1] < end_s)):
        return unknown("the wall meter's counter went backwards")
    climbed = np.concatenate([[0.0], np.cumsum(np.maximum(steps, 0.0))])
    moves = np.flatnonzero(steps > 0)
    coarse = len(moves) < _COARSE * len(steps)
    knots, energy_j = ((times[moves] + times[moves + 1]) / 2, climbed[moves + 1]) if coarse else (times, climbed)
    late_s = float(np.median(np.diff(times))) if coarse else 0.0
    if len(knots) < 2 or knots[0] > start_s or knots[-1] < end_s:
        return unknown("the wall meter's counter did not move on both sides of the window")
    usual_s = float(np.median(np.diff(knots)))
    if end_s - start_s < _SHORTEST_PERIODS * usual_s:
        return unknown(f"the wall meter's counter moves every {usual_s:.2g} s, which is too seldom for this window")
    total_j = float(np.interp(end_s, knots, energy_j) - np.interp(start_s, knots, energy_j))
    power_w = np.diff(energy_j) / np.diff(knots)
    quantum_j = 0.0 if coarse else _quantum(np.diff(energy_j))
    near = readings.within(start_s - 2 * usual_s, end_s + 2 * usual_s)
    doubt_s = float(np.max(np.nan_to_num(near.column("doubt_s")), initial=0.0))  # in a long gap nothing is near
    error_j = 0.0
    for edge_s in (start_s, end_s):
        at, length_s = _between(knots, edge_s)
        gap_j = float(energy_j[at + 1] - energy_j[at]) / 2
        if length_s > _GAP_PERIODS * usual_s and gap_j > GAP_SHARE * max(total_j, 1e-9):
            return unknown(f"the wall meter gave no reading for {length_s:.1f} s at an edge of the window")
        resolution_j = _UNIFORM * max(quantum_j, late_s * float(power_w[at]))
        error_j = float(np.hypot(error_j, np.hypot(_edge_j(edge_s, knots, power_w), resolution_j)))
    shift_j = doubt_s * abs(float(np.interp(end_s, knots[1:], power_w) - np.interp(start_s, knots[1:], power_w)))
    return Energy(energy_j=total_j, error_j=float(np.hypot(error_j, shift_j)))


def _quantum(steps: Floats | Sequence[float]) -> float:
    """The counter's resolution as far as the steps show it: they are multiples of it, and so is what they differ by."""
    values = np.unique(np.concatenate([[0.0], np.asarray(steps)]))
    differences = np.diff(values)
    # What floating point makes of equal steps is no difference.
    real = differences[differences > 1e-6 * max(float(values[-1]), 1e-9)]
    return float(real.min()) if len(real) else 0.0

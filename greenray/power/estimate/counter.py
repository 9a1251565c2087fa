"""Energy of a board by its counter: one function of time over a whole trace, worked out only around the moments asked for."""

import math
from dataclasses import dataclass, field

import numpy as np

from greenray.power.estimate.energy import GAP_SHARE, NO_LENGTH, Energy, EnergyCurve, disorder, gaps_of, unknown
from greenray.power.estimate.ensemble import Ensemble, ensemble_curve
from greenray.power.estimate.fusion import counter_curve
from greenray.power.estimate.grid import changes, locate, period_of
from greenray.power.estimate.renewed import renewals
from greenray.power.trace import EMPTY, Floats, Readings

_BLOCK_S, _MARGIN_S = 10.0, 5.0  # the trace is worked out block by block, each with what lies around it
_BLEND_S = 1.0  # on either side of the border of two blocks, where the curve of the one turns into that of the other
_RESOLUTION_J = 1e-3
_MOST_W, _AT_ONCE_S = 1e5, 1.0  # more than this since the counter last moved, or for a second, is no energy of any board or host


@dataclass(frozen=True, slots=True, kw_only=True)
class CounterEnergy:
    """A board's energy counter over a whole trace; made by `counter_energy`, asked for any number of windows.

    Attributes:
        times, climbed_j: (n,) the counter since the first sample, breaks counted as nothing.
        moved: moments of the samples that saw the counter moved.
        breaks: moments of the samples that saw the counter fallen, or risen by more than can have been used.
        gaps: pauses of the recorder.
    """

    times: Floats
    climbed_j: Floats
    power: Readings
    period_s: float
    jitter_s: float
    moved: Floats
    breaks: Floats
    gaps: list[tuple[float, float]]
    fault: str | None
    _curves: dict[tuple[int, int], EnergyCurve | Ensemble] = field(default_factory=dict)

    @property
    def until_s(self) -> float:
        """The last moment that is known."""
        return float(self.times[-1]) if len(self.times) else -math.inf

    def between(self, start_s: float, end_s: float) -> Energy:
        """Energy from start_s to end_s."""
        times, moved = self.times, self.moved
        if not end_s > start_s:
            return unknown(NO_LENGTH)
        if self.fault is not None:
            return unknown(self.fault)
        if len(times) < 2 or times[-1] <= start_s or times[0] >= end_s:
            return unknown("the energy counter was not read during the window")
        # A break counts with the two samples that it lies between, so an edge beside it is refused as well.
        at = np.searchsorted(times, self.breaks)
        if np.any((times[at] >= start_s) & (times[at - 1] <= end_s)):
            return unknown("the energy counter went backwards or jumped (was the driver reloaded?)")
        inside = int(np.count_nonzero((moved > start_s) & (moved <= end_s)))
        if len(moved) < 2 or (inside == 0 and (end_s - start_s > 1.0 or not np.any(moved > end_s))):
            return unknown("the energy counter did not move", updates=inside)
        energy_j = self._until(end_s) - self._until(start_s)
        if not np.isfinite(energy_j):
            return unknown("the energy counter was not read up to the edges of the window", updates=inside)
        frozen_s = end_s - moved[-1] if moved[-1] < end_s else 0.0
        usual_s = float(np.median(np.diff(moved)))
        if frozen_s > 5 * usual_s + 0.1:
            return unknown(f"the energy counter stopped moving {frozen_s:.2f} s before the end of the window", updates=inside)
        gap_s, gap_j = self._gaps_at_edges(start_s, end_s)
        if gap_j > GAP_SHARE * max(energy_j, 1e-9):
            return unknown(f"the recorder missed {gap_s:.2f} s at an edge of the window", updates=inside)
        error_j = math.hypot(self._error_j(start_s, end_s), gap_j) + _RESOLUTION_J
        return Energy(energy_j=max(energy_j, 0.0), error_j=error_j, updates=inside)

    def _until(self, time_s: float) -> float:
        """The counter as it would stand at a moment if it never rested: a function of that moment alone, so energies add up."""
        block = self._block(time_s)
        energy_j = self._curve(block, time_s).at(time_s)
        # A jump from one curve to the next at the border would be energy that nobody used, or less than none.
        border = max(round((time_s - float(self.times[0])) / _BLOCK_S), 1)
        away_s = abs(time_s - float(self.times[0]) - border * _BLOCK_S)
        if away_s < _BLEND_S and border <= self._last_block():
            other_j = self._curve(border if block < border else border - 1, time_s).at(time_s)
            if math.isfinite(other_j):
                energy_j += (0.5 - 0.5 * away_s / _BLEND_S) * (other_j - energy_j)
        return energy_j

    def _error_j(self, start_s: float, end_s: float) -> float:
        first, last = self._block(start_s), self._block(end_s)
        if first == last:
            return self._curve(first, start_s).error_j(start_s, end_s)
        return math.hypot(self._curve(first, start_s).error_at(start_s), self._curve(last, end_s).error_at(end_s))

    def _block(self, time_s: float) -> int:
        return min(max(int((time_s - self.times[0]) // _BLOCK_S), 0), self._last_block())

    def _last_block(self) -> int:
        # A last piece that is short goes with the block before it.
        return max(int((self.times[-1] - self.times[0] - _MARGIN_S) // _BLOCK_S), 0)

    def _curve(self, block: int, time_s: float) -> EnergyCurve | Ensemble:
        """The curve of a block, as far as it lies between the same breaks as a moment: what lies beyond them tells nothing."""
        stretch = int(np.searchsorted(self.breaks, time_s, side="right"))
        curve = self._curves.get((block, stretch))
        if curve is None:
            begin_s = self.times[0] + block * _BLOCK_S - _MARGIN_S
            end_s = begin_s + _BLOCK_S + 3 * _MARGIN_S
            first, last = np.searchsorted(self.times, np.concatenate([[-np.inf], self.breaks, [np.inf]])[stretch : stretch + 2])
            part = slice(*np.clip(np.searchsorted(self.times, [begin_s, end_s]), first, last))
            updates = locate(self.times[part], self.climbed_j[part], period_s=self.period_s, jitter_s=self.jitter_s)
            power = self.power.within(begin_s, end_s)
            together = renewals(updates, power.times, power.column("power_w"))
            curve = counter_curve(updates, power.times, power.column("power_w")) if together is None else ensemble_curve(together)
            self._curves[block, stretch] = curve
        return curve

    def _gaps_at_edges(self, start_s: float, end_s: float) -> tuple[float, float]:
        """Length of the longest gap that an edge falls into, and half of the energy that lies in such gaps."""
        longest_s, doubt_j = 0.0, 0.0
        for begin, end in self.gaps:
            if begin < start_s < end or begin < end_s < end:
                longest_s = max(longest_s, end - begin)
                inside_j = self._until(end) - self._until(begin)
                doubt_j = math.hypot(doubt_j, inside_j / 2 if math.isfinite(inside_j) else math.inf)
        return longest_s, doubt_j


def counter_energy(
    samples: Readings, *, hz: float, period_s: float = math.nan, jitter_s: float = 0.0, before: Readings = EMPTY
) -> CounterEnergy:
    """Prepares a board's counter for `between`.

    Args:
        samples: columns counter_j and, where the board has it, power_w (instant).
        period_s: measured update period of the counter; NaN finds it in the samples if they are fine enough.
        jitter_s: half-width of the updates' deviation from their grid.
        before: the counter as it was read, perhaps faster, just before: better for a window soon after the first sample.
    """
    fault = disorder(samples.times)
    times = np.concatenate([before.times, samples.times])
    counter_j = np.concatenate([before.column("counter_j"), samples.column("counter_j")])
    valid = np.isfinite(counter_j) & np.isfinite(times)
    times, counter_j = times[valid], counter_j[valid]
    steps_j = np.diff(counter_j)
    # When the counter had last moved, or was first read.
    moved_s = np.maximum.accumulate(np.concatenate([times[:1], np.where(steps_j != 0, times[1:], times[:1])]))
    broken = (steps_j < 0) | (steps_j > _MOST_W * (times[1:] - moved_s[:-1] + _AT_ONCE_S))
    # A window on either side of a reset is still good.
    climbed_j = np.concatenate([[0.0], np.cumsum(np.where(broken, 0.0, steps_j))])[: len(times)]
    if fault is None and not np.isfinite(period_s):
        period_s = period_of(times, climbed_j)
    power_w = samples.column("power_w")
    told = np.isfinite(power_w) & (power_w > 0) & np.isfinite(samples.times)  # 0 W is no reading: no board uses nothing
    return CounterEnergy(
        times=times,
        climbed_j=climbed_j,
        power=Readings(times=samples.times[told], columns={"power_w": power_w[told]}),
        period_s=period_s,
        jitter_s=jitter_s,
        moved=changes(times, climbed_j)[1] if len(times) else np.empty(0),
        breaks=times[1:][broken],
        gaps=gaps_of(times, hz=hz),
        fault=fault,
    )

"""Did the board's clock change inside a window? Joules per sample on either side of such a change are two different figures."""

import numpy as np

from greenray.power.trace import Floats

CLOCK_SHIFT = 0.05
"""A change of level by more than this share of the clock rejects a window. A boost step is 15 MHz, under 1 %; power goes with
clock x voltage squared, so a twentieth of the clock is a tenth or more of the power, far beyond what the meters disagree by."""
MIN_CLOCK_READINGS = 4


def clock_change(clock_mhz: Floats) -> str | None:
    """Why these readings of the SM clock, all of one window, are not of one level; None when they are, or cannot tell.

    A loaded board moves its clock all the time, above all under a power cap, and that is no change: every window has its share of
    it. What counts is a lasting change of level. The last third of the readings (two at least) must lie wholly above or wholly
    below the first third, and their medians must differ by more than `CLOCK_SHIFT`. A wobble fails the first condition, a single
    boost step the second, and a dip that recovers reaches neither third for long. With few readings (a window of one second has
    five) a wobble wider than `CLOCK_SHIFT` may still look like a change; that costs another window, never the cell's figure.

    Args:
        clock_mhz: readings in order, NaN where one failed; under four there is nothing to compare.
    """
    known = clock_mhz[np.isfinite(clock_mhz)]
    if len(known) < MIN_CLOCK_READINGS:
        return None
    third = max(2, len(known) // 3)
    first, last = known[:third], known[-third:]
    if first.min() <= last.max() and last.min() <= first.max():
        return None
    before, after = float(np.median(first)), float(np.median(last))
    if abs(after - before) <= CLOCK_SHIFT * float(np.median(known)):
        return None
    return f"the SM clock went from {before:.0f} to {after:.0f} MHz inside the window"

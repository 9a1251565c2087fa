"""Section 4: how wrong a window is, by its length, where nobody knows the truth.

Within one long recording of a load that repeats itself, energy must grow smoothly: a window's energy has to be what the whole
recording says of its place. Where the truth is known (simulated boards) the same windows are compared with it as well.
"""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from greenray.power.estimate.energy import Energy
from tests.gpu_check.finding import Finding, Table
from tests.gpu_check.rig import Rig

Read = Callable[[float, float], Energy]
Reference = Callable[[float, float], tuple[float, float]]
"""What the energy between two moments ought to be, and the half-width of that."""

LENGTHS_S = (0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0)
# name, mode, period of the bursts, length of the recording
STRETCHES = (
    ("steady", "steady", 0.0, 38.0),
    ("bursts of 0.153 s", "bursts", 0.153, 9.0),
    ("bursts of 0.71 s", "bursts", 0.71, 21.0),
)
DUTY = 0.4
COVERED, POORLY = 0.95, 0.90
JUDGED = 0.25  # longer windows, as shares of the recording, are shown only: the reference is no surer than they are

METHOD = """One long recording a load, at 50 Hz. No truth is known on a real board, so the long recording is the reference: a
smooth curve (second degree: mean power, and its drift as the board warms up) is laid through the energies from its beginning
to a grid of moments, and each shorter window at a random place is compared with what the curve says of it. In bursts,
windows and grid are whole numbers of periods, so that every window holds the same work wherever it begins. What the load
itself does unevenly counts against the figures here; an error that is the same in every period (a lag) cancels and is not
seen. The reference is no surer than a long window, so windows over a quarter of the recording are shown but not judged.
Coverage is the share of windows whose stated error, combined with the reference's own (its scatter, and what the long recording
states of its energy), holds the difference."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthError:
    """Windows of one length. Errors are shares of the window's energy; None where no window had an energy.

    Attributes:
        windows: how many were read; `unknown` of them had no energy.
        stated: mean stated error.
        coverage: share of windows whose stated error, with the reference's own, holds the difference.
    """

    length_s: float
    windows: int
    unknown: int
    mean: float | None = None
    p95: float | None = None
    worst: float | None = None
    stated: float | None = None
    coverage: float | None = None


def smooth_reference(read: Read, *, span: tuple[float, float], step_s: float) -> Reference:
    """The energy between two moments by a second-degree curve through E(start, start + n * step), and the curve's own error.

    An error that grows evenly over the recording bends the curve and leaves no scatter, so what the longest energy states of
    itself counts too, shared out evenly.

    Raises:
        ValueError: fewer than six of these energies are known.
    """
    start_s, end_s = span
    moments = start_s + step_s * np.arange(1, int((end_s - start_s) / step_s + 1e-9) + 1)
    found = [(float(moment), read(start_s, float(moment))) for moment in moments]
    known = [(moment, energy.energy_j, energy.error_j) for moment, energy in found if energy.energy_j is not None]
    if len(known) < 6:
        raise ValueError("too little of the long recording has a known energy")
    middle_s = (start_s + end_s) / 2
    curve, spread = np.polyfit([moment - middle_s for moment, _, _ in known], [energy for _, energy, _ in known], 2, cov=True)
    last_s, _, last_error_j = known[-1]
    shared_w = (last_error_j or 0.0) / (last_s - start_s)

    def reference(a: float, b: float) -> tuple[float, float]:
        first, second = a - middle_s, b - middle_s
        # The constant falls out of a difference, and with it the error of the start that all the energies share.
        gradient = np.array([second**2 - first**2, second - first, 0.0])
        scatter_j = 1.96 * math.sqrt(max(gradient @ spread @ gradient, 0.0))
        return float(gradient @ curve), math.hypot(scatter_j, shared_w * (b - a))

    return reference


def exactly(truth: Callable[[float, float], float]) -> Reference:
    """A reference without any doubt."""
    return lambda start_s, end_s: (truth(start_s, end_s), 0.0)


def errors_by_length(
    read: Read,
    reference: Reference,
    *,
    span: tuple[float, float],
    lengths_s: Sequence[float],
    count: int = 40,
    seed: int = 0,
) -> list[LengthError]:
    """The errors of `count` windows of each length, spread over the recording; the same windows for any reference."""
    found = []
    for length_s in lengths_s:
        room_s = span[1] - span[0] - length_s
        if room_s < 0:
            continue
        dice = random.Random(f"{seed} {length_s}")
        starts = [span[0] + room_s * (place + dice.random()) / count for place in range(count)]
        found.append(_of_length(read, reference, length_s, starts))
    return found


def whole_periods(lengths_s: Sequence[float], period_s: float) -> list[float]:
    """The lengths as whole numbers of periods, each once; as they are where there is no period."""
    if not period_s:
        return list(lengths_s)
    return sorted({round(period_s * max(1, round(length_s / period_s)), 9) for length_s in lengths_s})


def additivity_j(read: Read, *, span: tuple[float, float], count: int = 40, seed: int = 0) -> float | None:
    """The largest |E(a, b) + E(b, c) - E(a, c)| of random triples whose energies are known; None when none are."""
    dice = random.Random(seed)
    apart_j: list[float] = []
    for _ in range(count):
        a, b, c = sorted(dice.uniform(*span) for _ in range(3))
        parts = [read(a, b).energy_j, read(b, c).energy_j, read(a, c).energy_j]
        if None not in parts:
            apart_j.append(abs(parts[0] + parts[1] - parts[2]))  # type: ignore[operator]
    return max(apart_j, default=None)


def run(rig: Rig) -> Finding:
    """Records the loads and reads windows of all lengths."""
    tables: list[Table] = []
    notes: list[str] = []
    data: dict[str, Any] = {}
    every: list[LengthError] = []
    for name, mode, period_s, seconds in STRETCHES:
        about = rig.load.play(mode, period_s=period_s, duty=DUTY)
        stretch = rig.record(max(seconds, 8 * max(period_s, 0.3) / rig.scale), settle_s=3.0)
        span = (stretch.start_s, stretch.end_s)
        lengths_s = whole_periods([s for s in LENGTHS_S if s <= 0.8 * stretch.duration_s], period_s)
        step_s = period_s * max(1, round(0.3 / period_s)) if period_s else 0.3
        energy = stretch.meter()
        reference = smooth_reference(energy, span=span, step_s=step_s)
        errors = errors_by_length(energy, reference, span=span, lengths_s=lengths_s)
        every += [error for error in errors if error.length_s <= JUDGED * stretch.duration_s]
        data[name] = {"reference": [asdict(error) for error in errors], "load": about}
        data[name]["additivity_j"] = additivity_j(energy, span=span)
        tables.append(_table(f"{name}: against the long recording", errors))
        if stretch.truth is not None:
            true_errors = errors_by_length(energy, exactly(stretch.truth), span=span, lengths_s=lengths_s)
            data[name]["truth"] = [asdict(error) for error in true_errors]
            tables.append(_table(f"{name}: against the known truth of the simulated board", true_errors))
    rig.load.play("none")
    apart = [entry["additivity_j"] for entry in data.values()]
    if None in apart:
        notes.append("Additivity could not be tested everywhere: on some loads no three windows have their energy.")
    else:
        notes.append(f"E(a,b) + E(b,c) and E(a,c) are at most {max(apart):.2g} J apart.")
    if any(error.unknown for error in every):
        notes.append(
            f"{sum(error.unknown for error in every)} of {sum(error.windows for error in every)} windows have no energy."
        )
    verdict, summary = _verdict(every)
    return Finding(verdict=verdict, summary=summary, method=" ".join(METHOD.split()), tables=tables, notes=notes, data=data)


def _of_length(read: Read, reference: Reference, length_s: float, starts: Sequence[float]) -> LengthError:
    errors, stated, held = [], [], []
    for start_s in starts:
        energy = read(start_s, start_s + length_s)
        wanted_j, doubt_j = reference(start_s, start_s + length_s)
        if energy.energy_j is None or energy.error_j is None:
            continue
        apart_j = abs(energy.energy_j - wanted_j)
        errors.append(apart_j / wanted_j)
        stated.append(energy.error_j / wanted_j)
        held.append(apart_j <= math.hypot(energy.error_j, doubt_j))
    if not errors:
        return LengthError(length_s=length_s, windows=len(starts), unknown=len(starts))
    return LengthError(
        length_s=length_s,
        windows=len(starts),
        unknown=len(starts) - len(errors),
        mean=float(np.mean(errors)),
        p95=float(np.quantile(errors, 0.95)),
        worst=max(errors),
        stated=float(np.mean(stated)),
        coverage=float(np.mean(held)),
    )


def _verdict(errors: Sequence[LengthError]) -> Any:
    known = [error for error in errors if error.coverage is not None]
    if not known:
        return "off", "No window has a known energy."
    windows = sum(error.windows - error.unknown for error in known)
    covered = sum((error.windows - error.unknown) * (error.coverage or 0.0) for error in known) / windows
    short = [error for error in known if error.length_s <= 1.0 and error.mean is not None]
    worst = max(short, key=lambda error: error.mean or 0.0, default=known[0])
    summary = (
        f"The stated error holds the difference in {100 * covered:.1f} % of {windows} windows; the largest mean difference up to "
        f"1 s is {100 * (worst.mean or 0.0):.2f} % (windows of {worst.length_s:g} s)."
    )
    if covered >= COVERED:
        return "ok", summary
    # The load's own unevenness counts against the figures, so a little less decides nothing.
    return ("unclear" if covered >= POORLY else "off"), summary


def _table(title: str, errors: Sequence[LengthError]) -> Table:
    columns = ["window s", "windows", "mean %", "95 % within %", "worst %", "stated %", "covered %"]
    rows = [
        [
            e.length_s,
            e.windows - e.unknown,
            *(None if v is None else 100 * v for v in (e.mean, e.p95, e.worst, e.stated, e.coverage)),
        ]
        for e in errors
    ]
    return Table(title=title, columns=columns, rows=rows)

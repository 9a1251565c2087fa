"""What was found, in sentences; the caveats that change how they are read stand above them."""

from collections.abc import Iterator

from greenray.analysis.analyse import Analysis
from greenray.analysis.wording import grades, percent_change, quantity
from greenray.report.document import Bullets, Notes, Section, Text, Tiles, section


def load(analysis: Analysis) -> tuple[float | None, int]:
    """Energy of all attempts whose energy is known (J; None if none is), and how many do not know theirs."""
    energies = analysis.frames.attempts["energy_j"]
    unknown = energies.null_count()
    return (float(energies.sum()) if unknown < energies.len() else None), unknown


def show(attempts: tuple[float | None, int], analysis: Analysis) -> Section:
    places = sorted({f"{a.hardware} ({a.cell['device']}), counting {a.scope}" for a in analysis.arms if a.ok and a.scope})
    missing = None
    if not analysis.arms:
        missing = Text("The store holds no attempts yet: nothing was measured.")
    elif not analysis.headline:
        missing = Text("Nothing was compared: no tactic ran beside a baseline. What was measured stands below.")
    return section(
        "headline",
        "In short",
        Tiles(items=tuple(_tiles(analysis, *attempts))),
        Text(f"On {'; '.join(places)}.") if places else None,
        missing,
        Notes(items=tuple(caveat.text for caveat in analysis.caveats if caveat.weighty)),
        Bullets(heading="Over models", items=analysis.over_models),
        Bullets(heading="By model", items=analysis.by_model),
        Bullets(heading="Without a result", items=analysis.without_result),
    )


def _tiles(analysis: Analysis, energy_j: float | None, unknown: int) -> Iterator[tuple[str, str]]:
    known = [(f.effect.energy, f) for f in analysis.findings if f.effect.energy is not None]
    if clear := [(energy.ratio, f) for energy, f in known if energy.clear is not False and energy.ratio < 1]:
        _, best = min(clear, key=lambda pair: pair[0])
        what = "energy estimated from CPU time" if best.effect.modelled else f"energy per {best.effect.unit}"
        yield percent_change(best.effect.energy).split(" (")[0], f"{what}, at best: {best.tactic} on {best.label}"
    yield f"{sum(arm.ok for arm in analysis.arms)} of {len(analysis.arms)}", "cells with a result"
    yield quantity(energy_j, "J"), "energy of all attempts" + (f", without {unknown} of unknown energy" if unknown else "")
    if analysis.grades:
        yield grades(analysis.grades, none="unknown", between=" · "), "windows by grade"

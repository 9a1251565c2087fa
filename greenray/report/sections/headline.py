"""What was found: the caveats that change how it is read, the best tactic of each model, then what is clear and what is not."""

from collections.abc import Callable, Iterator

from greenray.analysis.analyse import Analysis
from greenray.analysis.findings import Finding
from greenray.analysis.summary import Best, limit, without_null_check
from greenray.analysis.wording import (
    UNKNOWN,
    decimals,
    grades,
    pay_back,
    percent_change,
    plural,
    quality_change,
    quantity,
    signed,
    span,
    throughput_change,
)
from greenray.report.document import Bullets, Grid, Notes, Section, Text, Tiles, grid, section, without_empty


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
    said = [f"On {'; '.join(places)}."] if places else []
    said += [check.sentence for check in analysis.null_checks if check.passed]
    return section(
        "headline",
        "In short",
        Notes(items=tuple(caveat.text for caveat in analysis.caveats if caveat.weighty)),
        Tiles(items=tuple(_tiles(analysis, *attempts))),
        Text(" ".join(said)) if said else None,
        missing,
        best_tactics(analysis) if analysis.best else None,
        Bullets(heading="Clear", items=analysis.clear),
        Bullets(heading="Not clear", items=analysis.not_clear),
        Bullets(heading="Over models", items=analysis.over_models),
        Bullets(heading="Without a result", items=analysis.without_result),
    )


def best_tactics(analysis: Analysis) -> Grid:
    """One row a model: the tactic that clearly saves it most energy among those that keep the quality."""

    def told(say: Callable[[Finding], str]) -> Callable[[Best], str]:
        return lambda best: "" if best.finding is None else say(best.finding)

    columns: dict[str, Callable[[Best], str]] = {
        "model": lambda b: b.label,
        "best tactic": lambda b: b.finding.named if b.finding else b.why,
        "energy" + (", by CPU time" if any(b.finding and b.finding.effect.modelled for b in analysis.best) else ""): told(
            lambda f: percent_change(f.effect.energy)
        ),
        "throughput": told(lambda f: throughput_change(f.effect)),
        analysis.measure: told(lambda f: quality_change(f.accuracy)),
        f"pays back after, {plural(analysis.unit)}": told(lambda f: pay_back(f.effect, f.energy_break_even, f.effect.energy)),
        "grade": told(lambda f: f.grade or UNKNOWN),
    }
    applied = limit(finding.effect.arms[0].measure for finding in without_null_check(analysis.findings))
    heading = ", ".join(filter(None, ("Best tactic by model", applied)))
    return without_empty(grid(analysis.best, columns, text=("model", "best tactic"), heading=heading))


def _tiles(analysis: Analysis, energy_j: float | None, unknown: int) -> Iterator[tuple[str, str]]:
    known = [(b.finding.effect.energy, b.finding) for b in analysis.best if b.finding is not None and b.finding.effect.energy]
    if known:
        energy, best = min(known, key=lambda pair: pair[0].ratio)
        what = "energy estimated from CPU time" if best.effect.modelled else f"energy per {best.effect.unit}"
        figure = f"{signed(energy.percent, decimals=decimals(energy))} %"
        yield figure, f"({span(energy)}) {what}, at best: {best.named} on {best.label}"
    yield f"{sum(arm.ok for arm in analysis.arms)} of {len(analysis.arms)}", "cells with a result"
    yield quantity(energy_j, "J"), "energy of all attempts" + (f", without {unknown} of unknown energy" if unknown else "")
    if analysis.grades:
        yield grades(analysis.grades, none="unknown", between=" · "), "windows by grade"

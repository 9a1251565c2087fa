"""What each tactic costs in quality, and what is bought with it in energy."""

from collections.abc import Callable, Sequence

from greenray.analysis.accuracy import AccuracyChange
from greenray.analysis.analyse import Analysis
from greenray.analysis.findings import Finding
from greenray.analysis.summary import without_null_check
from greenray.analysis.wording import UNKNOWN, common, quality, quality_change, quantity
from greenray.report import charts
from greenray.report.document import Chart, Notes, Section, grid, section

SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "star", "pentagon", "hexagon2", "triangle-down", "x")

Changed = tuple[Finding, AccuracyChange]


def load(analysis: Analysis) -> Sequence[Changed] | None:
    return [
        (finding, finding.accuracy) for finding in without_null_check(analysis.findings) if finding.accuracy is not None
    ] or None


def show(changed: Sequence[Changed], analysis: Analysis) -> Section:
    columns: dict[str, Callable[[Changed], str]] = {
        "model": lambda c: c[0].label,
        "tactic": lambda c: c[0].named,
        "baseline": lambda c: quality(c[1].measure, c[1].baseline),
        "with tactic": lambda c: quality(c[1].measure, c[1].tactic),
        "change (95 % interval)": lambda c: quality_change(c[1]),
    }
    if any(change.measure.kind == "right-answers" for _, change in changed):
        columns["McNemar p"] = lambda c: UNKNOWN if c[1].p_value is None else f"{c[1].p_value:.2g}"
        columns["agreement"] = lambda c: UNKNOWN if c[1].agreement is None else f"{c[1].agreement * 100:.1f} %"
    columns["samples"] = lambda c: UNKNOWN if c[1].samples is None else f"{c[1].samples:,}"
    title = analysis.measure[:1].upper() + analysis.measure[1:]
    axes: dict[tuple[object, ...], list[Changed]] = {}  # shares of a kind have one axis, whatever they are called
    for finding, change in changed:
        measure = change.measure
        axes.setdefault((measure.kind, measure.higher_is_better, measure.share or measure.name), []).append((finding, change))
    pictures = [chart(members, unit=analysis.unit, place=place) for place, members in enumerate(axes.values())]
    return section("accuracy", title, Notes(items=analysis.caveats_on("accuracy")), *pictures, grid(changed, columns))


def chart(changed: Sequence[Changed], *, unit: str, place: int = 0) -> Chart | None:
    """Quality, all on one axis, against energy per sample: one point for each arm, the baseline in grey."""
    if not (known := [(f, change) for f, change in changed if f.effect.tactic_energy_j and f.effect.baseline_energy_j]):
        return None
    measure, name = changed[0][1].measure, common((change.measure.name for _, change in changed), "quality")
    right, percent = " right" if measure.kind == "right-answers" else "", 100 if measure.share else 1
    models, tactics = list(dict.fromkeys(f.label for f, _ in known)), list(dict.fromkeys(f.tactic for f, _ in known))
    first = {f.label: (f.label, f.effect.baseline_energy_j or 0.0, change.baseline) for f, change in reversed(known)}
    unsure = {(f.label, f.tactic) for f, _ in known if f.effect.energy is None or f.effect.energy.clear is None}
    names = {(f.label, f.tactic): f"{f.label}, {f.named}" for f, _ in known}
    points = {"baseline": [first[model] for model in models]} | {
        tactic: [(f.label, f.effect.tactic_energy_j or 0.0, change.tactic) for f, change in known if f.tactic == tactic]
        for tactic in tactics
    }
    energies = [energy for members in points.values() for _, energy, _ in members]
    qualities = [value * percent for members in points.values() for _, _, value in members]
    factor, prefix = (1.0, "") if max(energies) >= 1 else (1e3, "m") if max(energies) >= 1e-3 else (1e6, "µ")
    traces = [
        charts.scatter(
            tactic,
            charts.rounded(energy * factor for _, energy, _ in members),
            charts.rounded(value * percent for _, _, value in members),
            marker={
                "color": charts.BASELINE_COLOUR if tactic == "baseline" else charts.colour(tactics.index(tactic)),
                "symbol": [
                    SYMBOLS[models.index(model) % len(SYMBOLS)] + ("-open" if (model, tactic) in unsure else "")
                    for model, _, _ in members
                ],
                "size": 11,
            },
            text=[
                charts.plain(
                    f"{names.get((model, tactic), f'{model}, baseline')}: {quantity(energy, 'J')} per {unit}, "
                    f"{quality(measure, value)}{right}" + ("; its energy has no interval" if (model, tactic) in unsure else "")
                )
                for model, energy, value in members
            ],
            hoverinfo="text",
        )
        for tactic, members in points.items()
    ]
    scale = {"type": "log", "dtick": "D1"} if max(energies) > 8 * min(energies) else {"rangemode": "tozero"}
    around = {"range": charts.rounded((min(qualities) - 1, max(qualities) + 1))} if measure.share else {}
    layout = {
        "height": 440,
        "xaxis": {"title": {"text": f"energy per {unit}, {prefix}J"}, "exponentformat": "none"} | scale,
        "yaxis": {"title": {"text": f"{name}, %" if measure.share else name}, "zeroline": False} | around,
    }
    way = "Up" if measure.higher_is_better else "Down"
    caption = f"{way} and to the left is better. Shapes are models, colours are tactics, grey is the baseline."
    if unsure:
        caption += " Hollow: its energy has no interval, so nothing is claimed of it."
    traces += charts.legend_only(models, symbol=SYMBOLS)
    return charts.chart(f"accuracy-{place}" if place else "accuracy", traces, layout, caption)

"""What each tactic costs in quality, and what is bought with it in energy."""

from collections.abc import Sequence

from greenray.analysis.accuracy import AccuracyChange
from greenray.analysis.analyse import Analysis
from greenray.analysis.findings import Finding
from greenray.analysis.wording import UNKNOWN, points_change, quantity
from greenray.report import charts
from greenray.report.document import Chart, Section, grid, notes, section

SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "star", "pentagon", "hexagon2", "triangle-down", "x")

Changed = tuple[Finding, AccuracyChange]
Point = tuple[str, float, float]


def load(analysis: Analysis) -> Sequence[Changed] | None:
    return [(finding, finding.accuracy) for finding in analysis.findings if finding.accuracy is not None] or None


def show(changed: Sequence[Changed], analysis: Analysis) -> Section:
    table = grid(
        changed,
        {
            "model": lambda c: c[0].label,
            "tactic": lambda c: c[0].tactic,
            "baseline": lambda c: f"{c[1].baseline * 100:.1f} %",
            "with tactic": lambda c: f"{c[1].tactic * 100:.1f} %",
            "change (95 % interval)": lambda c: points_change(c[1]),
            "McNemar p": lambda c: UNKNOWN if c[1].p_value is None else f"{c[1].p_value:.2g}",
            "agreement": lambda c: UNKNOWN if c[1].agreement is None else f"{c[1].agreement * 100:.1f} %",
            "samples": lambda c: f"{c[1].samples:,}",
        },
    )
    title = analysis.measure[:1].upper() + analysis.measure[1:]
    picture = chart(changed, unit=analysis.unit, measure=analysis.measure)
    return section("accuracy", title, notes(analysis.caveats_on("accuracy")), picture, table)


def chart(changed: Sequence[Changed], *, unit: str, measure: str) -> Chart | None:
    """Quality against energy per sample: one point for each arm, the baseline in grey."""
    known = [(f, change) for f, change in changed if f.effect.tactic_energy_j and f.effect.baseline_energy_j]
    if not known:
        return None
    models, tactics = charts.unique(f.label for f, _ in known), charts.unique(f.tactic for f, _ in known)
    first: dict[str, Point] = {}
    points: dict[str, list[Point]] = {"baseline": [], **{tactic: [] for tactic in tactics}}
    for finding, change in known:
        first.setdefault(finding.label, (finding.label, finding.effect.baseline_energy_j or 0.0, change.baseline * 100))
        points[finding.tactic].append((finding.label, finding.effect.tactic_energy_j or 0.0, change.tactic * 100))
    points["baseline"] = list(first.values())
    energies = [energy for members in points.values() for _, energy, _ in members]
    qualities = [quality for members in points.values() for _, _, quality in members]
    factor, prefix = (1.0, "") if max(energies) >= 1 else (1e3, "m") if max(energies) >= 1e-3 else (1e6, "µ")
    traces = [
        charts.scatter(
            tactic,
            charts.rounded(energy * factor for _, energy, _ in members),
            charts.rounded(quality for _, _, quality in members),
            marker={
                "color": charts.BASELINE_COLOUR if tactic == "baseline" else charts.colour(tactics.index(tactic)),
                "symbol": [SYMBOLS[models.index(model) % len(SYMBOLS)] for model, _, _ in members],
                "size": 11,
            },
            text=[charts.plain(f"{model}, {tactic}: {quantity(e, 'J')} per {unit}, {q:.1f} % right") for model, e, q in members],
            hoverinfo="text",
        )
        for tactic, members in points.items()
    ]
    scale = {"type": "log", "dtick": "D1"} if max(energies) > 8 * min(energies) else {"rangemode": "tozero"}
    layout = {
        "height": 440,
        "xaxis": {"title": {"text": f"energy per {unit}, {prefix}J"}, "exponentformat": "none"} | scale,
        "yaxis": {
            "title": {"text": f"{measure}, %"},
            "zeroline": False,
            "range": charts.rounded((min(qualities) - 1, max(qualities) + 1)),
        },
    }
    caption = "Up and to the left is better. Shapes are models, colours are tactics, grey is the baseline."
    return charts.chart("accuracy", traces + charts.legend_only(models, symbol=SYMBOLS), layout, caption)

"""The charts, as plain Plotly figures. Colours of text and background are the page's, set when it is shown."""

import html
import math
from collections.abc import Sequence
from typing import Any

from greenray.analysis.results import Finding, PowerTrace
from greenray.analysis.wording import percent_change, quantity, unit_of

Figure = dict[str, Any]

PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8C6BB1", "#999933", "#44AA99", "#AA4499")
"""Okabe and Ito's colours first: told apart by colour-blind readers, on light and dark."""
BASELINE_COLOUR = "#888888"
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "star", "pentagon", "hexagon2", "triangle-down", "x")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
WINDOW_COLOURS = {
    "data": "#56B4E9",
    "load": "#0072B2",
    "idle": "#999999",
    "optimize": "#D55E00",
    "warmup": "#E69F00",
    "steady": "#009E73",
    "evaluate": "#CC79A7",
    "epoch": "#009E73",
}


def energy_ratios(findings: Sequence[Finding]) -> Figure | None:
    """Change of energy per sample for each model and tactic, with intervals."""
    known = [finding for finding in findings if finding.effect.energy is not None]
    if not known:
        return None
    models, tactics = _unique([f.label for f in known]), _unique([f.effect.tactic for f in known])
    traces = []
    for number, tactic in enumerate(tactics):
        members = [f for f in known if f.effect.tactic == tactic]
        offset = (number - (len(tactics) - 1) / 2) * 0.7 / max(1, len(tactics))
        estimates = [f.effect.energy for f in members if f.effect.energy is not None]
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": plain(tactic),
                "x": [_round(e.percent) for e in estimates],
                "y": [_round(models.index(f.label) + offset) for f in members],
                "error_x": {
                    "type": "data",
                    "symmetric": False,
                    "array": [_round(((e.high or e.ratio) - e.ratio) * 100) for e in estimates],
                    "arrayminus": [_round((e.ratio - (e.low or e.ratio)) * 100) for e in estimates],
                    "thickness": 1.5,
                    "width": 4,
                },
                "marker": {"color": _colour(number), "size": 9},
                "text": [plain(f"{f.label}, {tactic}: {percent_change(f.effect.energy)}, {_basis(f)}") for f in members],
                "hoverinfo": "text",
            }
        )
    layout = {
        "height": 130 + max(70, 16 * len(tactics) + 14) * len(models),
        "xaxis": {"title": {"text": "change of energy per sample against the baseline, %"}, "zeroline": True, "ticksuffix": " %"},
        "yaxis": {
            "tickvals": list(range(len(models))),
            "ticktext": [_shorten(model) for model in models],
            "range": [len(models) - 0.5, -0.5],
            "zeroline": False,
            "showgrid": False,
        },
    }
    return {"data": traces, "layout": layout}


def accuracy_energy(findings: Sequence[Finding]) -> Figure | None:
    """Accuracy against energy per sample: one point for each arm, the baseline in grey."""
    known = [f for f in findings if f.accuracy is not None and f.effect.tactic_energy_j and f.effect.baseline_energy_j]
    if not known:
        return None
    models, tactics = _unique([f.label for f in known]), _unique([f.effect.tactic for f in known])
    unit = unit_of(known[0].effect.subject.task)
    points: dict[str, list[tuple[str, float, float]]] = {"baseline": []}
    for model in models:
        first = next(f for f in known if f.label == model)
        points["baseline"].append(
            (model, first.effect.baseline_energy_j or 0.0, first.accuracy.baseline if first.accuracy else 0.0)
        )
    for tactic in tactics:
        points[tactic] = [
            (f.label, f.effect.tactic_energy_j or 0.0, f.accuracy.tactic if f.accuracy else 0.0)
            for f in known
            if f.effect.tactic == tactic
        ]
    energies = [energy for members in points.values() for _, energy, _ in members]
    factor, prefix = (1.0, "") if max(energies) >= 1 else (1e3, "m") if max(energies) >= 1e-3 else (1e6, "µ")
    traces = [
        {
            "type": "scatter",
            "mode": "markers",
            "name": plain(tactic),
            "x": [_round(energy * factor) for _, energy, _ in members],
            "y": [_round(accuracy * 100) for _, _, accuracy in members],
            "marker": {
                "color": BASELINE_COLOUR if tactic == "baseline" else _colour(tactics.index(tactic)),
                "symbol": [SYMBOLS[models.index(model) % len(SYMBOLS)] for model, _, _ in members],
                "size": 11,
            },
            "text": [
                plain(f"{model}, {tactic}: {quantity(e, 'J')} per {unit}, {a * 100:.1f} % right") for model, e, a in members
            ],
            "hoverinfo": "text",
        }
        for tactic, members in points.items()
    ]
    traces += [
        _legend_only(model, {"mode": "markers", "marker": {"symbol": SYMBOLS[index % len(SYMBOLS)], "color": BASELINE_COLOUR}})
        for index, model in enumerate(models)
    ]
    accuracies = [accuracy * 100 for members in points.values() for _, _, accuracy in members]
    layout = {
        "height": 440,
        "xaxis": {"title": {"text": f"energy per {unit}, {prefix}J"}, "exponentformat": "none"}
        | ({"type": "log", "dtick": "D1"} if max(energies) > 8 * min(energies) else {"rangemode": "tozero"}),
        "yaxis": {
            "title": {"text": "accuracy, %"},
            "zeroline": False,
            "range": [_round(min(accuracies) - 1), _round(max(accuracies) + 1)],
        },
    }
    return {"data": traces, "layout": layout}


def _legend_only(name: str, style: Figure) -> Figure:
    """An entry of the legend that explains a shape or a line style."""
    return {"type": "scatter", "x": [None], "y": [None], "name": plain(name), "hoverinfo": "skip"} | style


def break_even_lines(findings: Sequence[Finding]) -> Figure | None:
    """Energy of N samples with a tactic, its one-off cost included, over that of the baseline: below 1 it has paid back."""
    known = [
        f
        for f in findings
        if f.effect.subject.phase == "inference"
        and f.optimize_energy_j
        and f.effect.tactic_energy_j
        and f.effect.baseline_energy_j
    ]
    if not known:
        return None
    models, tactics = _unique([f.label for f in known]), _unique([f.effect.tactic for f in known])
    counts = [10 ** (exponent / 8) for exponent in range(16, 65)]
    traces = []
    shown: set[str] = set()
    for finding in known:
        tactic, one_off = finding.effect.tactic, finding.optimize_energy_j or 0.0
        ours, theirs = finding.effect.tactic_energy_j or 0.0, finding.effect.baseline_energy_j or 1.0
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": plain(tactic),
                "legendgroup": plain(tactic),
                "showlegend": tactic not in shown,
                "x": [_round(count) for count in counts],
                "y": [_round((one_off + count * ours) / (count * theirs)) for count in counts],
                "line": {
                    "color": _colour(tactics.index(tactic)),
                    "dash": DASHES[models.index(finding.label) % len(DASHES)],
                    "width": 2,
                },
                "text": plain(f"{finding.label}, {tactic}"),
                "hovertemplate": plain(f"{finding.label}, {tactic}") + "<br>%{x:.3s} samples: %{y:.2f}<extra></extra>",
            }
        )
        shown.add(tactic)
    traces += [
        _legend_only(model, {"mode": "lines", "line": {"dash": DASHES[index % len(DASHES)], "color": BASELINE_COLOUR}})
        for index, model in enumerate(models)
    ]
    layout = {
        "height": 420,
        "xaxis": {"title": {"text": "samples served"}, "type": "log", "exponentformat": "SI", "dtick": 1},
        "yaxis": {"title": {"text": "energy, tactic / baseline"}, "range": [0, 2.5], "zeroline": False},
        "shapes": [
            {
                "type": "line",
                "xref": "paper",
                "x0": 0,
                "x1": 1,
                "y0": 1,
                "y1": 1,
                "line": {"color": BASELINE_COLOUR, "dash": "dot"},
            }
        ],
    }
    return {"data": traces, "layout": layout}


def power_trace(trace: PowerTrace) -> Figure:
    """The sensors of one cell over time, with its windows shaded."""
    traces = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": plain(name),
            "x": list(times),
            "y": list(values),
            "line": {"color": PALETTE[number % len(PALETTE)], "width": 1.5},
        }
        for number, (name, (times, values)) in enumerate(sorted(trace.series.items()))
    ]
    shapes = [
        {
            "type": "rect",
            "xref": "x",
            "yref": "paper",
            "x0": start,
            "x1": end,
            "y0": 0,
            "y1": 1,
            "layer": "below",
            "line": {"width": 0},
            "fillcolor": WINDOW_COLOURS.get(kind, "#999999"),
            "opacity": 0.22 if index % 2 else 0.15,
        }
        for index, (kind, start, end) in enumerate(trace.windows)
    ]
    layout = {
        "height": 380,
        "shapes": shapes,
        "annotations": _window_names(trace),
        "showlegend": True,
        "margin": {"t": 60, "b": 90},
        "legend": {"orientation": "h", "yanchor": "top", "y": -0.24, "x": 0},
        "xaxis": {"title": {"text": "time, s"}, "zeroline": False},
        "yaxis": {"title": {"text": "power, W" if trace.quantity == "power" else "busy CPUs"}, "rangemode": "tozero"},
    }
    return {"data": traces, "layout": layout}


def _window_names(trace: PowerTrace) -> list[Figure]:
    """One name for each run of windows of a kind, above the plot, where there is room for it."""
    runs: list[tuple[str, float, float]] = []
    for kind, start, end in trace.windows:
        if runs and runs[-1][0] == kind:
            runs[-1] = (kind, runs[-1][1], end)
        else:
            runs.append((kind, start, end))
    whole = max((end for _, _, end in runs), default=0) - min((start for _, start, _ in runs), default=0)
    return [
        {
            "x": _round((start + end) / 2),
            "y": 1,
            "xref": "x",
            "yref": "paper",
            "yanchor": "bottom",
            "text": plain(kind),
            "textangle": -40 if end - start < 0.12 * whole else 0,
            "showarrow": False,
            "font": {"size": 11},
        }
        for kind, start, end in runs
        if end - start > 0.01 * whole
    ]


def plain(text: str) -> str:
    """Plotly reads a little HTML in its labels; text from outside must not become any. A % would start a template."""
    return html.escape(text, quote=False).replace("%{", "% {")


def _shorten(text: str, limit: int = 34) -> str:
    return plain(text if len(text) <= limit else text[: limit - 1] + "…")


def _unique(values: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(values))


def _colour(index: int) -> str:
    return PALETTE[index % len(PALETTE)]


def _basis(finding: Finding) -> str:
    return finding.effect.energy.basis if finding.effect.energy else ""


def _round(value: float) -> float:
    """Six significant digits: enough for a picture, and the same on every machine."""
    return value if value == 0 or not math.isfinite(value) else float(f"{value:.6g}")

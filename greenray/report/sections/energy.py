"""The energy of each tactic beside its baseline: gross, and what the work itself adds to idle power."""

import math
from collections.abc import Sequence

from greenray.analysis.analyse import Analysis
from greenray.analysis.findings import Finding
from greenray.analysis.precision import MOST_ROUNDS
from greenray.analysis.stats import Estimate
from greenray.analysis.wording import UNKNOWN, alike, grades, interval_basis, merged, percent_change, quantity
from greenray.report import charts
from greenray.report.document import NAMES, Block, Chart, Notes, Section, Text, grid, section, without_empty


def load(analysis: Analysis) -> Sequence[Finding] | None:
    return analysis.findings or None


def show(findings: Sequence[Finding], analysis: Analysis) -> Section:
    by_model = grid(
        findings,
        {
            **NAMES,
            "energy": lambda f: percent_change(f.effect.energy),
            "interval": lambda f: interval_basis(f.effect),
            "rounds needed": _rounds_needed,
            f"baseline / {analysis.unit}": lambda f: quantity(f.effect.baseline_energy_j, "J"),
            f"tactic / {analysis.unit}": lambda f: quantity(f.effect.tactic_energy_j, "J"),
            "drift": lambda f: UNKNOWN if f.effect.drift is None else f"{math.expm1(f.effect.drift) * 100:.1f} %",
            "grade": lambda f: f.grade or UNKNOWN,
            "remarks": lambda f: "; ".join(map(merged, alike(f.effect.flags))),
        },
        heading="By model",
        text=("model", "tactic", "interval", "remarks"),
    )
    explained = Text(
        f"Grades of the work windows: {grades(analysis.grades) or 'none'}. A: every condition of a good measurement met; "
        "B: one missed; C: several missed; D: modelled."
    )
    said, picture = Notes(items=analysis.caveats_on("energy")), chart(findings, analysis.unit)
    modelled = any(finding.effect.modelled for finding in findings)
    read = Text("Joules here are CPU time times assumed watts: read them as processor time.") if modelled else None
    active = gross_and_active(findings, analysis.unit)
    return section("energy", "Energy", said, read, picture, without_empty(by_model), explained, *active)


def _rounds_needed(finding: Finding) -> str:
    """How many rounds the precision asked for would take; nothing where it is there, or cannot be told."""
    if finding.effect.precise is not False:
        return ""
    needed = finding.effect.rounds_needed
    return f"over {MOST_ROUNDS:,}" if needed is None else f"{needed:,}"


def gross_and_active(findings: Sequence[Finding], unit: str) -> list[Block]:
    """A table by finding, and what idle means in it; nothing where no idle power is known."""
    if all(finding.effect.active is None for finding in findings):
        return []
    table = grid(
        findings,
        {
            **NAMES,
            "gross": lambda f: percent_change(f.effect.energy),
            "active": lambda f: percent_change(f.effect.active),
            f"baseline, active / {unit}": lambda f: quantity(f.effect.baseline_active_j, "J"),
            f"tactic, active / {unit}": lambda f: quantity(f.effect.tactic_active_j, "J"),
            "baseline, active share": _share,
            "board idle": lambda f: _range([arm.idle_w for arm in f.effect.arms]),
            "host idle": lambda f: _range([visit.arm.host_idle_w for visit in f.effect.visits]),
        },
        heading="Gross and active",
    )
    note = Text(
        "Active is gross less idle power × time: what the work itself adds. The board's idle power is that of the cell's "
        "own idle window, its context held and its model loaded; the host's is read while no cell runs, or modelled, and each "
        "worker answers for an even part of it. Gross is what is paid for, and what is meant where a figure is not called active."
    )
    return [without_empty(table), note]


def _share(finding: Finding) -> str:
    gross_j, active_j = finding.effect.baseline_energy_j, finding.effect.baseline_active_j
    return UNKNOWN if not gross_j or active_j is None else f"{100 * active_j / gross_j:.0f} %"


def _range(watts: Sequence[float | None]) -> str:
    """Lowest to highest idle power; empty where none is known."""
    known = [f"{watt:.1f}" for watt in sorted(watt for watt in watts if watt is not None)]
    return f"{' to '.join(dict.fromkeys((known[0], known[-1])))} W" if known else ""


def _bars(energies: Sequence[Estimate]) -> charts.Figure:
    """95 % intervals, for estimates that have one."""
    ends = {
        "array": charts.rounded(((e.high or e.ratio) - e.ratio) * 100 for e in energies),
        "arrayminus": charts.rounded((e.ratio - (e.low or e.ratio)) * 100 for e in energies),
    }
    return {"type": "data", "symmetric": False, "thickness": 1.5, "width": 4, **ends}


def chart(findings: Sequence[Finding], unit: str) -> Chart | None:
    if not (known := [(finding, finding.effect.energy) for finding in findings if finding.effect.energy is not None]):
        return None
    models, tactics = list(dict.fromkeys(f.label for f, _ in known)), list(dict.fromkeys(f.tactic for f, _ in known))
    traces = []
    for place, tactic in enumerate(tactics):
        of, offset = [(f, e) for f, e in known if f.tactic == tactic], (place - (len(tactics) - 1) / 2) * 0.7 / len(tactics)
        sure, unsure = [(f, e) for f, e in of if e.low is not None], [(f, e) for f, e in of if e.low is None]
        for members in filter(None, (sure, unsure)):
            told = [f"{f.label}, {f.named}: {percent_change(e)}; {interval_basis(f.effect)}" for f, e in members]
            trace = charts.scatter(
                tactic,
                charts.rounded(e.percent for _, e in members),
                charts.rounded(models.index(f.label) + offset for f, _ in members),
                marker={
                    "color": charts.colour(place),
                    "size": 9,
                    "symbol": charts.shape(place) + ("" if members is sure else "-open"),
                },
                legendgroup=charts.plain(tactic),
                showlegend=members is sure or not sure,
                text=[charts.plain(text) for text in told],
                hoverinfo="text",
            )
            traces.append(trace | ({"error_x": _bars([e for _, e in members])} if members is sure else {}))
    title = {"text": f"change of energy per {unit} against the baseline, %"}
    layout = {
        "height": 130 + max(70, 16 * len(tactics) + 14) * len(models),
        "xaxis": {"title": title, "zeroline": True, "ticksuffix": " %"},
        "yaxis": {
            "tickvals": list(range(len(models))),
            "ticktext": [charts.plain(model if len(model) <= 34 else f"{model[:33]}…") for model in models],
            "range": [len(models) - 0.5, -0.5],
            "zeroline": False,
            "showgrid": False,
        },
    }
    return charts.chart(
        "energy",
        traces,
        layout,
        "Left of zero is less than the baseline; bars are 95 % intervals. Nothing is claimed of hollow points, which have none.",
    )

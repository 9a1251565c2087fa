"""What it costs to apply each tactic, and after how much work that is earned back."""

from collections.abc import Sequence

from greenray.analysis.analyse import Analysis
from greenray.analysis.findings import Finding
from greenray.analysis.summary import without_null_check
from greenray.analysis.wording import pay_back, plural, quantity
from greenray.report import charts
from greenray.report.document import NAMES, Chart, Section, Text, grid, section

DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")


def load(analysis: Analysis) -> Sequence[Finding] | None:
    return [finding for finding in without_null_check(analysis.findings) if finding.effect.subject.phase == "inference"] or None


def show(findings: Sequence[Finding], analysis: Analysis) -> Section:
    table = grid(
        findings,
        {
            **NAMES,
            "energy to apply": lambda f: quantity(f.optimize_energy_j, "J"),
            "time to apply": lambda f: quantity(f.optimize_time_s, "s"),
            "pays back energy after": lambda f: pay_back(f.effect, f.energy_break_even, f.effect.energy),
            "pays back time after": lambda f: pay_back(f.effect, f.time_break_even, f.effect.time),
        },
    )
    units = plural(analysis.unit)
    stages = " Each stage is charged the whole of it." if any(f.effect.subject.stage for f in findings) else ""
    formula = Text(f"Cost of N {units} = energy to apply + N x energy of one.{stages}")
    return section("one-off", "One-off cost and pay-back", formula, chart(findings, units), table)


def chart(findings: Sequence[Finding], units: str) -> Chart | None:
    """Energy of N samples with a tactic, its one-off cost included, over that of the baseline: below 1 it has paid back."""
    clear = [f for f in findings if f.effect.energy is not None and f.effect.energy.clear]
    if not (known := [f for f in clear if f.optimize_energy_j and f.effect.tactic_energy_j and f.effect.baseline_energy_j]):
        return None
    models, tactics = list(dict.fromkeys(f.label for f in known)), list(dict.fromkeys(f.tactic for f in known))
    counts = [10 ** (exponent / 8) for exponent in range(16, 65)]
    first = {finding.tactic: finding for finding in reversed(known)}
    traces = []
    for finding in known:
        tactic, name = finding.tactic, charts.plain(f"{finding.label}, {finding.named}")
        one_off, ours = finding.optimize_energy_j or 0.0, finding.effect.tactic_energy_j or 0.0
        theirs = finding.effect.baseline_energy_j or 1.0
        dash = DASHES[models.index(finding.label) % len(DASHES)]
        traces.append(
            charts.scatter(
                tactic,
                charts.rounded(counts),
                charts.rounded((one_off + count * ours) / (count * theirs) for count in counts),
                mode="lines",
                legendgroup=charts.plain(tactic),
                showlegend=finding is first[tactic],
                line={"color": charts.colour(tactics.index(tactic)), "dash": dash, "width": 2},
                text=name,
                hovertemplate=f"{name}<br>%{{x:.3s}} {charts.plain(units)}: %{{y:.2f}}<extra></extra>",
            )
        )
    level = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": 1, "y1": 1}
    layout = {
        "height": 420,
        "xaxis": {"title": {"text": f"{units} served"}, "type": "log", "exponentformat": "SI", "dtick": 1},
        "yaxis": {"title": {"text": "energy, tactic / baseline"}, "range": [0, 2.5], "zeroline": False},
        "shapes": [level | {"line": {"color": charts.BASELINE_COLOUR, "dash": "dot"}}],
    }
    caption = "Below the dotted line the tactic has paid back what it cost to apply. Line styles are models; only clear changes."
    return charts.chart("break-even", traces + charts.legend_only(models, dash=DASHES), layout, caption)

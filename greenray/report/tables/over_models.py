"""Every measure of a tactic over models: means over families with interval, test and effect sizes."""

from typing import Any

from greenray.analysis.analyse import Analysis
from greenray.analysis.overall import Group, OverallEffect, OverMeasure
from greenray.report.sections import over_models as section
from greenray.report.tables.effects import change_columns
from greenray.report.tables.table import Table, figure, table, text

COLUMNS = (
    *Group._fields,
    *("tactic", "measure", "unit", "change_is", "change", "change_low", "change_high", "models", "hardly_applied", "families"),
    *(
        "median",
        "quartile_low",
        "quartile_high",
        "wilcoxon_p_holm",
        "hypotheses",
        "rank_biserial",
        "cliffs_delta",
        "modelled",
        "basis",
    ),
)


def build(analysis: Analysis) -> Table:
    rows = [_row(effect, found) for effect in analysis.overall for found in effect.measures.values()]
    lines = [
        _row(effect, found)
        | {
            "named": effect.named,
            "label": section.label(found.change, analysis.measure) + effect.context(analysis.overall),
            "said": section.change(found.change),
        }
        for effect, found in section.known(analysis)
    ]
    return table(
        rows,
        lines=lines,
        columns=COLUMNS,
        caption="Change by each tactic over models: a family counts once, 95 % t intervals, p of Wilcoxon by Holm.",
        printed={
            "tactic": text("named"),
            "measure": text("label"),
            "change (95 % interval)": text("said"),
            "families": text("families"),
            "p (Holm)": figure("wilcoxon_p_holm", digits=2),
            "rank-biserial r": figure("rank_biserial", digits=2),
            "Cliff's delta": figure("cliffs_delta", digits=2),
        },
        text=("tactic", "measure"),
    )


def _row(effect: OverallEffect, found: OverMeasure) -> dict[str, Any]:
    low, high = found.quartiles or (None, None)
    return (
        effect.group._asdict()
        | change_columns(found.change)
        | {
            "tactic": effect.tactic,
            "models": found.models,
            "hardly_applied": effect.hardly,
            "families": found.families,
            "median": found.median,
            "quartile_low": low,
            "quartile_high": high,
            "wilcoxon_p_holm": found.wilcoxon_p,
            "hypotheses": found.hypotheses or None,
            "rank_biserial": found.rank_biserial,
            "cliffs_delta": found.cliffs_delta,
            "modelled": effect.modelled,
        }
    )

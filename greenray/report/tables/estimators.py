"""How far off predictions of models that were left out are, for each way to predict and each group of models."""

from typing import Any

from greenray.analysis.analyse import Analysis
from greenray.analysis.estimators.found import Found, find
from greenray.analysis.estimators.nested import Judged
from greenray.analysis.estimators.points import Group
from greenray.report.tables.table import Table, figure, table, text

COLUMNS = (
    *Group._fields,
    *("estimator", "families", "models", "median_error", "worst_error", "r2", "rank_correlation", "forms", "modelled", "note"),
)


def build(analysis: Analysis) -> Table:
    estimated = find(analysis)
    rows = [
        _row(judged.group, way, estimated)
        for judged in estimated.judged
        for way in (*judged.rows, *((judged.with_time,) if judged.with_time else ()))
    ]
    return table(
        [*rows, *(_row(group, way, estimated) for group, way in estimated.others)],
        lines=rows,
        columns=COLUMNS,
        caption="Errors of predicting the energy of models whose families were left out: relative and absolute.",
        printed={
            "phase": text("phase"),
            "estimator": text("estimator"),
            "models": text("models"),
            "median error, %": figure("median_error", factor=100),
            "worst error, %": figure("worst_error", factor=100),
            "R2": figure("r2", digits=2),
            "rank correlation": figure("rank_correlation", digits=2),
        },
        text=("phase", "estimator"),
    )


def _row(group: Group, way: Judged, estimated: Found) -> dict[str, Any]:
    return group._asdict() | {
        "estimator": way.name,
        "families": way.families,
        "models": len(way.errors),
        "median_error": way.median,
        "worst_error": way.worst,
        "r2": way.r2,
        "rank_correlation": way.rank,
        "forms": "; ".join(f"{name} ({count})" for name, count in way.chosen.most_common()) or None,
        "modelled": group in estimated.modelled_in,
        "note": way.note or None,
    }

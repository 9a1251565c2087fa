"""How quantities of models go together: both methods, every pair, every group of baselines; in print the group of most models."""

from greenray.analysis.analyse import Analysis
from greenray.analysis.association import METHODS, Method
from greenray.analysis.correlations import Matrix, Pair, matrices
from greenray.report.sections.correlations import told
from greenray.report.tables.table import Row, Table, table, text

GROUP = ("hardware", "device", "scope", "batch_size", "stage", "training")
COLUMNS = (
    *GROUP,
    "models",
    "x",
    "y",
    "scale_x",
    "scale_y",
    "method",
    "n",
    "r",
    "r_low",
    "r_high",
    "p",
    "p_holm",
    "modelled",
    "reason",
)


def build(analysis: Analysis) -> Table:
    found = matrices(analysis.arms, analysis.training)
    lines = [
        {"pair": f"{pair.x.label}, {pair.y.label}", "n": pair.found["Pearson"].n}
        | {method: told(pair.found[method]) for method in METHODS}
        for matrix in found[:1]
        for pair in matrix.pairs
    ]
    return table(
        [_row(matrix, pair, method) for matrix in found for pair in matrix.pairs for method in METHODS],
        lines=lines,
        columns=COLUMNS,
        caption="Correlations over families of models (n), by logarithms, with 95 % intervals.",
        printed={
            "quantities": text("pair"),
            "n": text("n"),
            "Pearson r (95 % interval)": text("Pearson"),
            "Spearman r (95 % interval)": text("Spearman"),
        },
        text=("quantities",),
    )


def _row(matrix: Matrix, pair: Pair, method: Method) -> Row:
    found = pair.found[method]
    return {name: getattr(matrix, name) or None for name in GROUP} | {
        "models": matrix.models,
        "x": pair.x.name,
        "y": pair.y.name,
        "scale_x": "plain" if pair.x.plain else "log",
        "scale_y": "plain" if pair.y.plain else "log",
        "method": method,
        "n": found.n,
        "r": found.r,
        "r_low": found.low,
        "r_high": found.high,
        "p": found.p,
        "p_holm": found.p_holm,
        "modelled": matrix.modelled > 0,
        "reason": found.why or None,
    }

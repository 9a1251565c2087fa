"""How far off short profiles are of whole runs, by their length and the way to extrapolate."""

from dataclasses import asdict

from greenray.analysis.analyse import Analysis
from greenray.analysis.estimators import found
from greenray.report.tables.table import Table, figure, table, text

COLUMNS = ("phase", "unit", "first", "way", "median_error", "worst_error", "share_of_run", "models", "runs", "modelled")


def build(analysis: Analysis) -> Table:
    named = {"median": "median_error", "worst": "worst_error", "share": "share_of_run"}
    rows = [{named.get(key, key): value for key, value in asdict(error).items()} for error in found.profile_errors(analysis)]
    return table(
        rows,
        columns=COLUMNS,
        caption="Errors of short profiles against whole runs: relative and absolute, over models.",
        printed={
            "phase": text("phase"),
            "first": text("first"),
            "unit": text("unit"),
            "way": text("way"),
            "median error, %": figure("median_error", factor=100),
            "worst error, %": figure("worst_error", factor=100),
            "models": text("models"),
        },
        text=("phase", "unit", "way"),
    )

"""What the measurements mean: effects with intervals, accuracy, cost, carbon, break-even, estimators. Needs only the store."""

from greenray.analysis.analyse import analyse
from greenray.analysis.results import Analysis, Caveat, Finding, Table

__all__ = ["Analysis", "Caveat", "Finding", "Table", "analyse"]

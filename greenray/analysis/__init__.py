"""What the measurements mean: effects with intervals, accuracy, cost, carbon, break-even, estimators. Needs only the store."""

from greenray.analysis.analyse import analyse
from greenray.analysis.history import Expectation, expectations
from greenray.analysis.results import Analysis, Caveat, Finding, Table

__all__ = ["Analysis", "Caveat", "Expectation", "Finding", "Table", "analyse", "expectations"]

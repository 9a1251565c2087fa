"""What the measurements mean: effects with intervals, accuracy, cost, carbon, break-even, estimators. Needs only the store."""

from greenray.analysis.analyse import Analysis, analyse
from greenray.analysis.history import Expectation, expectations

__all__ = ["Analysis", "Expectation", "analyse", "expectations"]

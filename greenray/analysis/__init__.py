"""What the measurements mean: effects with intervals, accuracy, cost, carbon, break-even, estimators. Needs only the store."""

from greenray.analysis.analyse import Analysis, analyse, analyse_frames

__all__ = ["Analysis", "analyse", "analyse_frames"]

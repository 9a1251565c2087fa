"""The sections of a report, in reading order: modules of this folder, or by their whole name of any other.

A section is a file with two functions. `load(analysis)` gives its own part of the analysis, from what is computed already and
from frames that are read already; None is nothing to show. `show(loaded, analysis)` makes a Section of it; one without blocks
is left out. To add one: its file, and its line here.
"""

SECTIONS = (
    ".headline",
    ".energy",
    ".over_models",
    ".accuracy",
    ".arms",
    ".speed",
    ".cost",
    ".one_off",
    ".training",
    ".measurement",
    ".quality",
    ".correlations",
    ".estimators",
    ".hardware",
    ".cells",
    ".reproducibility",
)

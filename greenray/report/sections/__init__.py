"""The sections of a report, in reading order.

A section is a file with `load`, which gives its own part of the analysis from what is computed already and from frames that are
read already (None: nothing to show), and `show`, which says it. To add one: its file, and its name here.
"""

from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any, Protocol, cast

from greenray.analysis.analyse import Analysis
from greenray.report.document import Section

SECTIONS = (
    ".headline",
    ".energy",
    ".accuracy",
    ".speed",
    ".cost",
    ".one_off",
    ".training",
    ".measurement",
    ".quality",
    ".estimators",
    ".hardware",
    ".cells",
    ".reproducibility",
)
"""Modules by their name; one that lies elsewhere by its whole name."""


class SectionModule(Protocol):
    def load(self, analysis: Analysis) -> Any: ...

    def show(self, loaded: Any, analysis: Analysis) -> Section: ...


def sections_of(analysis: Analysis, names: Sequence[str] = SECTIONS) -> Iterator[Section]:
    """Those of the sections that have something to show."""
    for name in names:
        module = cast("SectionModule", import_module(name, __name__))
        loaded = module.load(analysis)
        section = None if loaded is None else module.show(loaded, analysis)
        if section is not None and section.blocks:
            yield section

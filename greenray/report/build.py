"""From an analysis to a document."""

from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any

from greenray.analysis.analyse import Analysis
from greenray.report.document import Document, Section
from greenray.report.sections import SECTIONS


def build(analysis: Analysis, sections: Sequence[str] = SECTIONS) -> Document:
    """The page, without the sections that have nothing to show."""
    names = ", ".join(sorted(analysis.frames.manifests) or sorted({arm.cell["sweep"] for arm in analysis.arms}))
    return Document(
        title="GreenRay report" + (f": {names}" if names else ""),
        subtitle="Which optimisation makes these models cheaper and greener, by how much, and how sure that is.",
        sections=tuple(_shown(analysis, sections)),
    )


def _shown(analysis: Analysis, sections: Sequence[str]) -> Iterator[Section]:
    for name in sections:
        module: Any = import_module(name, "greenray.report.sections")
        loaded = module.load(analysis)
        section: Section | None = None if loaded is None else module.show(loaded, analysis)
        if section is not None and section.blocks:
            yield section

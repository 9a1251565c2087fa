"""From an analysis to a document."""

from collections.abc import Sequence

from greenray.analysis.analyse import Analysis
from greenray.report.document import Document
from greenray.report.sections import SECTIONS, sections_of


def build(analysis: Analysis, sections: Sequence[str] = SECTIONS) -> Document:
    """The page, without the sections that have nothing to show."""
    names = ", ".join(sorted(analysis.frames.manifests) or sorted({arm.cell["sweep"] for arm in analysis.arms}))
    return Document(
        title="GreenRay report" + (f": {names}" if names else ""),
        subtitle="Which optimisation makes these models cheaper and greener, by how much, and how sure that is.",
        sections=tuple(sections_of(analysis, sections)),
    )

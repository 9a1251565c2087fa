"""From an analysis to a document: the table of contents of the page."""

from greenray.analysis.results import Analysis
from greenray.report import context, results
from greenray.report.document import Document


def build(analysis: Analysis) -> Document:
    """The page, without the sections that have nothing to show."""
    sections = (
        results.headline(analysis),
        results.energy(analysis),
        results.accuracy(analysis),
        results.speed(analysis),
        results.money(analysis),
        results.one_off(analysis),
        context.training(analysis),
        context.measurement(analysis),
        context.quality(analysis),
        context.estimators(analysis),
        context.hardware(analysis),
        context.cells(analysis),
        context.reproducibility(analysis),
    )
    names = ", ".join(sorted(analysis.manifests) or sorted({arm.cell["sweep"] for arm in analysis.arms}))
    return Document(
        title="GreenRay report" + (f": {names}" if names else ""),
        subtitle="Which optimisation makes these models cheaper and greener, by how much, and how sure that is.",
        sections=tuple(section for section in sections if section is not None),
    )

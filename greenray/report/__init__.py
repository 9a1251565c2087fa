"""The report: one self-contained HTML page and a Markdown twin with the same numbers."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from greenray.analysis.analyse import Analysis
from greenray.report import markdown as as_markdown
from greenray.report import page
from greenray.report.document import Document
from greenray.report.sections import SECTIONS
from greenray.store.local import write_file

PAGE, TWIN = "report.html", "report.md"


def build(analysis: Analysis, sections: Sequence[str] = SECTIONS) -> Document:
    """The page, without the sections that have nothing to show."""
    names = ", ".join(sorted(analysis.frames.manifests) or sorted({arm.cell["sweep"] for arm in analysis.arms}))
    modules: list[Any] = [import_module(name, "greenray.report.sections") for name in sections]
    loaded = ((module, module.load(analysis)) for module in modules)
    shown = (module.show(found, analysis) for module, found in loaded if found is not None)
    return Document(
        title="GreenRay report" + (f": {names}" if names else ""),
        subtitle="Which optimisation makes these models cheaper and greener, by how much, and how sure that is.",
        sections=tuple(section for section in shown if section.blocks),
    )


def write(analysis: Analysis, *, html: Path | None = None, markdown: Path | None = None) -> None:
    """Write page and twin into the store that was analysed, or to files of the user's; each is replaced as a whole.

    The same analysis gives the same bytes. Raises StoreError where one of them cannot be written.
    """
    document = build(analysis)
    for key, file, text in ((PAGE, html, page.render(document)), (TWIN, markdown, as_markdown.render(document))):
        if file is None:
            analysis.frames.store.replace(key, text.encode())
        else:
            write_file(Path(file), text.encode())

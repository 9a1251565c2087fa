"""The report: one self-contained HTML page and a Markdown twin with the same numbers."""

from pathlib import Path

from greenray.analysis.results import Analysis
from greenray.report import markdown as as_markdown
from greenray.report import page
from greenray.report.build import build
from greenray.store import writer


def write(analysis: Analysis, *, html: Path | None = None, markdown: Path | None = None) -> None:
    """Write the report; each file is replaced as a whole. The same analysis gives the same bytes.

    Raises:
        StoreError: a file cannot be written.
    """
    document = build(analysis)
    if html is not None:
        writer.write_text(Path(html), page.render(document))
    if markdown is not None:
        writer.write_text(Path(markdown), as_markdown.render(document))

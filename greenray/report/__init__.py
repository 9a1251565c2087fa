"""The report: one self-contained HTML page and a Markdown twin with the same numbers."""

from pathlib import Path

from greenray.analysis.analyse import Analysis
from greenray.report import markdown as as_markdown
from greenray.report import page
from greenray.report.build import build
from greenray.store.local import write_file

PAGE, TWIN = "report.html", "report.md"


def write(analysis: Analysis, *, html: Path | None = None, markdown: Path | None = None) -> None:
    """Write page and twin into the store that was analysed, or to files of the user's; each is replaced as a whole.

    The same analysis gives the same bytes.

    Raises:
        StoreError: one of them cannot be written.
    """
    document = build(analysis)
    for key, file, text in ((PAGE, html, page.render(document)), (TWIN, markdown, as_markdown.render(document))):
        if file is None:
            analysis.frames.store.replace(key, text.encode())
        else:
            write_file(Path(file), text.encode())

"""The document as Markdown: the same sentences, notes and tables; charts are left to the page."""

import re
from collections.abc import Iterator

from greenray.report.document import Block, Bullets, Chart, Code, Document, Grid, Notes, Text, Tiles

_SPECIAL = re.compile(r"[\\`*\[\]|<>&~]|(?<!\w)_++|_++(?!\w)")  # underscores inside a word are no markup
_ENTITIES = {"<": "&lt;", ">": "&gt;", "&": "&amp;"}


def render(document: Document) -> str:
    lines = [f"# {escape(document.title)}", "", escape(document.subtitle), ""]
    for section in document.sections:
        lines += [f"## {escape(section.title)}", ""]
        for block in section.blocks:
            lines += [*_block(block), ""]
    return "\n".join(lines).rstrip() + "\n"


def escape(text: str) -> str:
    """Text from outside as Markdown that shows it and does nothing else; line breaks become spaces."""
    escaped = _SPECIAL.sub(lambda match: "".join(_ENTITIES.get(one, f"\\{one}") for one in match[0]), " ".join(text.split()))
    escaped = re.sub(r"^([-=+#]+)(?=\s|$)", r"\\\1", escaped)
    return re.sub(r"^(\d+)([.)])(?=\s|$)", r"\1\\\2", escaped)


def _block(block: Block) -> Iterator[str]:
    match block:
        case Text():
            yield escape(block.text)
        case Bullets():
            yield from _heading(block)
            yield from (f"- {escape(item)}" for item in block.items)
        case Notes():
            yield from (f"> - {escape(item)}" for item in block.items)
        case Tiles():
            yield from (f"- **{escape(value)}** {escape(label)}" for value, label in block.items)
        case Grid():
            yield from _table(block)
        case Chart():
            yield f"*Chart in the HTML page: {escape(block.caption)}*"
        case Code():
            yield from _heading(block)
            yield from (f"    {line}" for line in block.text.splitlines())


def _heading(block: Bullets | Grid | Code) -> tuple[str, ...]:
    return (f"### {escape(block.heading)}", "") if block.heading else ()


def _table(grid: Grid) -> Iterator[str]:
    yield from _heading(grid)
    yield "| " + " | ".join(escape(column) for column in grid.columns) + " |"
    yield "|" + "|".join(" :--- " if index in grid.text_columns else " ---: " for index in range(len(grid.columns))) + "|"
    for row in grid.rows:
        yield "| " + " | ".join(escape(value) for value in row) + " |"

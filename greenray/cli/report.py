"""`greenray report`: from a store to pages that a person reads."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from greenray.analysis import Analysis


def register(app: typer.Typer) -> None:
    app.command()(report)


def report(
    out: Annotated[str, typer.Argument(metavar="OUT", help="The store: the OUT folder of a sweep.")],
    html: Annotated[Path | None, typer.Option(help="Where to write the HTML page.  [default: OUT/report.html]")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Where to write its Markdown twin.  [default: OUT/report.md]")] = None,
    prices: Annotated[Path | None, typer.Option(help="Your own prices, YAML or CSV, instead of the package's tables.")] = None,
    region: Annotated[str | None, typer.Option(help="Country whose electricity is used: ISO code or name.")] = None,
) -> None:
    """Analyse a store and write the report; never measures anything."""
    from greenray.cli.console import console as make_console
    from greenray.store import layout

    folder = layout.local_path(out)
    console = make_console()
    analysis = write(folder, html=html, markdown=markdown, prices=prices, region=region)
    show(analysis, console=console)
    console.print(f"report: {html or folder / 'report.html'}", highlight=False, soft_wrap=True)


def write(
    out: Path,
    *,
    html: Path | None = None,
    markdown: Path | None = None,
    prices: Path | None = None,
    region: str | None = None,
) -> "Analysis":
    """Analyse a store and write both pages, and the comparisons where the page goes to its usual place; returns the analysis.

    Raises:
        StoreError: `out` is no store, or a page cannot be written.
        ConfigError: the prices or the region are not understood.
    """
    from greenray.analysis import analyse, comparisons
    from greenray.report import write as write_pages

    analysis = analyse(out, prices=prices, region=region)
    write_pages(analysis, html=html or out / "report.html", markdown=markdown or out / "report.md")
    if html is None:  # a page that goes elsewhere may come from a store that nobody may write to
        comparisons.write(analysis, out / "comparisons.parquet")
    return analysis


def show(analysis: "Analysis", *, console: "Console") -> None:
    """The headline and its table on a terminal."""
    from rich.table import Table

    table = analysis.table
    if table.rows:
        grid = Table(*table.columns, box=None, header_style="bold", pad_edge=False)
        for row in table.rows:
            grid.add_row(*row)
        console.print(grid, markup=False)
        console.print()
    for sentence in analysis.headline:
        console.print(f"- {sentence}", markup=False, highlight=False, soft_wrap=not console.is_terminal)

"""`greenray report`: from a store to pages that a person reads."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from greenray.errors import StoreError

if TYPE_CHECKING:
    from rich.console import Console

    from greenray.analysis import Analysis


def report(
    out: Annotated[str, typer.Argument(metavar="OUT", help="The store: the OUT folder of a sweep.")],
    html: Annotated[Path | None, typer.Option(help="Where to write the HTML page.  [default: OUT/report.html]")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Where to write its Markdown twin.  [default: OUT/report.md]")] = None,
    prices: Annotated[Path | None, typer.Option(help="Your own prices, YAML or CSV, instead of the package's tables.")] = None,
    tables: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Also write the tables as CSV and LaTeX (booktabs, longtable) into DIR: models, effects, over_models, devices, "
            "training, learning_rates, inference, correlations, profiles, estimators; columns.csv says what their columns mean.",
        ),
    ] = None,
    region: Annotated[str | None, typer.Option(help="Country whose electricity is used: ISO code or name.")] = None,
) -> None:
    """Analyse a store and write the report; never measures anything."""
    from greenray.analysis import analyse
    from greenray.cli.console import make_console
    from greenray.store.registry import open_store

    analysis = analyse(open_store(out), prices=prices, region=region)
    console = make_console()
    present(analysis, console=console, html=html, markdown=markdown)
    if tables is not None:
        from greenray.report.tables import write

        write(analysis, tables)
        console.print(f"tables: {tables}", highlight=False, markup=False, soft_wrap=True)


def present(analysis: "Analysis", *, console: "Console", html: Path | None = None, markdown: Path | None = None) -> None:
    """Write both pages, and the comparisons where the page goes to its usual place; print what the page says in short.

    Raises StoreError where nothing was measured, or a page cannot be written.
    """
    from greenray.analysis import comparisons
    from greenray.cli.console import table
    from greenray.report import PAGE, write
    from greenray.report.sections.headline import best_tactics

    store = analysis.frames.store
    if analysis.frames.attempts.is_empty():
        raise StoreError(f"{store.out}: nothing was measured there yet, so there is nothing to report; run its sweep first.")
    write(analysis, html=html, markdown=markdown)
    if html is None:  # a page that goes elsewhere may come from a store that nobody may write to
        comparisons.write(analysis)
    for sentence in (caveat.short for caveat in analysis.caveats if caveat.weighty):
        say(sentence, console)
    for check in (check for check in analysis.null_checks if check.passed):
        say(check.sentence, console)
    best = best_tactics(analysis)
    if best.rows:
        console.print(f"\n{best.heading}:", markup=False, highlight=False)
        console.print(table(*best.columns, rows=best.rows, width=console.width), markup=False)
    lists = {"Clear": analysis.clear, "Not clear": analysis.not_clear, "Over models": analysis.over_models}
    for heading, sentences in (lists | {"Without a result": analysis.without_result}).items():
        if sentences:
            console.print(f"\n{heading}:", markup=False, highlight=False)
        for sentence in sentences:
            say(f"- {sentence}", console)
    console.print(f"report: {html or store.scan_path(PAGE)}", highlight=False, soft_wrap=True)


def say(sentence: str, console: "Console") -> None:
    console.print(sentence, markup=False, highlight=False, soft_wrap=not console.is_terminal)

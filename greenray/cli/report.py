"""`greenray report`: from a store to pages that a person reads."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from greenray.errors import StoreError

if TYPE_CHECKING:
    from rich.console import Console

    from greenray.analysis import Analysis
    from greenray.report.document import Grid


def report(
    out: Annotated[str, typer.Argument(metavar="OUT", help="The store: the OUT folder of a sweep.")],
    html: Annotated[Path | None, typer.Option(help="Where to write the HTML page.  [default: OUT/report.html]")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Where to write its Markdown twin.  [default: OUT/report.md]")] = None,
    prices: Annotated[Path | None, typer.Option(help="Your own prices, YAML or CSV, instead of the package's tables.")] = None,
    region: Annotated[str | None, typer.Option(help="Country whose electricity is used: ISO code or name.")] = None,
) -> None:
    """Analyse a store and write the report; never measures anything."""
    from greenray.analysis import analyse
    from greenray.cli.console import make_console
    from greenray.store.registry import open_store

    analysis = analyse(open_store(out), prices=prices, region=region)
    present(analysis, console=make_console(), html=html, markdown=markdown)


def present(analysis: "Analysis", *, console: "Console", html: Path | None = None, markdown: Path | None = None) -> None:
    """Write both pages, and the comparisons where the page goes to its usual place; print the headline.

    Raises StoreError where nothing was measured, or a page cannot be written.
    """
    from greenray.analysis import comparisons
    from greenray.cli.console import table
    from greenray.report import PAGE, write

    store = analysis.frames.store
    if analysis.frames.attempts.is_empty():
        raise StoreError(f"{store.out}: nothing was measured there yet, so there is nothing to report; run its sweep first.")
    write(analysis, html=html, markdown=markdown)
    if html is None:  # a page that goes elsewhere may come from a store that nobody may write to
        comparisons.write(analysis)
    effects = headline_table(analysis)
    if effects.rows:
        console.print(table(*effects.columns, rows=effects.rows), markup=False)
        console.print()
    for sentence in analysis.headline:
        console.print(f"- {sentence}", markup=False, highlight=False, soft_wrap=not console.is_terminal)
    console.print(f"report: {html or store.scan_path(PAGE)}", highlight=False, soft_wrap=True)


def headline_table(analysis: "Analysis") -> "Grid":
    from greenray.analysis.wording import UNKNOWN, pay_back, percent_change, quality_change, throughput_change
    from greenray.report.document import NAMES, grid

    return grid(
        analysis.findings,
        {
            **NAMES,
            "energy": lambda f: percent_change(f.effect.energy),
            "throughput": lambda f: throughput_change(f.effect),
            "latency p50": lambda f: percent_change(f.effect.latency_p50),
            analysis.measure: lambda f: quality_change(f.accuracy),
            "pays back after": lambda f: pay_back(f.effect, f.energy_break_even, f.effect.energy),
            "grade": lambda f: f.grade or UNKNOWN,
        },
    )

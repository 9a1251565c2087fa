"""`greenray report`: from a store to pages that a person reads."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from greenray.analysis import Analysis
    from greenray.report.document import Grid
    from greenray.store.base import Store


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
    from greenray.report import PAGE
    from greenray.store.registry import open_store

    store, console = open_store(out), make_console()
    show(write(store, html=html, markdown=markdown, prices=prices, region=region), console=console)
    console.print(f"report: {html or store.scan_path(PAGE)}", highlight=False, soft_wrap=True)


def write(
    store: "Store",
    *,
    html: Path | None = None,
    markdown: Path | None = None,
    prices: Path | None = None,
    region: str | None = None,
) -> "Analysis":
    """Analyse a store and write both pages, and the comparisons where the page goes to its usual place.

    Raises StoreError where it is no store or a page cannot be written, ConfigError where prices or region are not understood.
    """
    from greenray.analysis import analyse, comparisons
    from greenray.report import write as write_pages

    analysis = analyse(store, prices=prices, region=region)
    write_pages(analysis, html=html, markdown=markdown)
    if html is None:  # a page that goes elsewhere may come from a store that nobody may write to
        comparisons.write(analysis)
    return analysis


def show(analysis: "Analysis", *, console: "Console") -> None:
    from greenray.cli.console import table

    effects = headline_table(analysis)
    if effects.rows:
        shown = table(*effects.columns)
        for row in effects.rows:
            shown.add_row(*row)
        console.print(shown, markup=False)
        console.print()
    for sentence in analysis.headline:
        console.print(f"- {sentence}", markup=False, highlight=False, soft_wrap=not console.is_terminal)


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

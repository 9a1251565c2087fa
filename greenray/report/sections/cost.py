"""What the samples cost in money and carbon, with and without each tactic, and what that was reckoned with."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from greenray.analysis.analyse import Analysis
from greenray.analysis.findings import SAMPLES, Finding
from greenray.analysis.prices import Figure, Prices
from greenray.analysis.wording import UNKNOWN, number, plural, quantity
from greenray.report.document import Block, Grid, Section, Text, grid, notes, without_empty

COUNTS = {"1,000": 1000 // SAMPLES, "million": 1_000_000 // SAMPLES}
"""For how many samples cost is shown, as multiples of those that it is given for."""


def load(analysis: Analysis) -> Sequence[Finding] | None:
    return analysis.findings or None


def show(findings: Sequence[Finding], analysis: Analysis) -> Section:
    boards = sorted({f.effect.subject.hardware for f in findings if f.effect.subject.device == "cuda"})
    blocks: list[Block] = [
        *notes(analysis.caveats_on("cost", "carbon")),
        Text(
            text="Baseline → tactic. Electricity is what owned hardware costs to run; rent is the time on a rented board, its "
            "electricity included: one or the other, never their sum."
        ),
        _costs(findings, plural(analysis.unit)),
        Grid(
            heading="Prices used",
            columns=("what", "figure", "date", "source"),
            rows=tuple(_prices(analysis.prices, boards)),
            text_columns=frozenset(range(4)),
        ),
    ]
    return Section(id="cost", title="Cost and carbon", blocks=tuple(blocks))


def _costs(findings: Sequence[Finding], units: str) -> Grid:
    columns: dict[str, Callable[[Finding], str]] = {"model": lambda f: f.label, "tactic": lambda f: f.tactic}
    for what, amount, currency in (
        ("electricity", "electricity", "electricity_currency"),
        ("rent", "rent", "rent_currency"),
        ("CO2e", "grams", None),
    ):
        for count, factor in COUNTS.items():
            columns[f"{what} / {count} {units}"] = partial(_arrow, amount=amount, currency=currency, factor=factor)
    return without_empty(grid(findings, columns), empty=UNKNOWN)


def _arrow(finding: Finding, *, amount: str, currency: str | None, factor: int) -> str:
    """Baseline to tactic."""
    before, after = getattr(finding.baseline_cost, amount), getattr(finding.tactic_cost, amount)
    if before is None or after is None:
        return UNKNOWN
    if currency is None:
        return f"{quantity(before * factor, 'g')} → {quantity(after * factor, 'g')}"
    return f"{number(before * factor)} → {number(after * factor)} {getattr(finding.tactic_cost, currency)}"


def _prices(prices: Prices, boards: Sequence[str]) -> Iterator[tuple[str, str, str, str]]:
    region = f"{prices.region_name} ({prices.region})" + (", the default" if prices.default_region else "")
    yield _price(f"electricity, {region}", prices.electricity, " / kWh")
    yield _price(f"grid intensity, {region}", prices.grid, "")
    yield "PUE", f"{prices.pue.value:g}", prices.pue.date, prices.pue.source
    for board in boards:
        yield _price(board, prices.gpu_hour(board), " / GPU-hour")


def _price(what: str, figure: Figure | None, per: str) -> tuple[str, str, str, str]:
    if figure is None:
        return what, UNKNOWN, "", ""
    return what, f"{number(figure.value)} {figure.unit}{per}", figure.date, figure.source

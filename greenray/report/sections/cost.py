"""What the samples cost in money and carbon, with and without each tactic, and what that was reckoned with."""

from collections.abc import Iterator, Sequence
from functools import partial

from greenray.analysis.analyse import Analysis
from greenray.analysis.findings import SAMPLES, Finding
from greenray.analysis.prices import Figure, Prices
from greenray.analysis.summary import without_null_check
from greenray.analysis.wording import UNKNOWN, number, plural, quantity
from greenray.report.document import NAMES, Grid, Notes, Section, Text, grid, section, without_empty

COUNTS = {"1,000": 1000 // SAMPLES, "million": 1_000_000 // SAMPLES}
"""For how many samples cost is shown, as multiples of those that it is given for."""


def load(analysis: Analysis) -> Sequence[Finding] | None:
    return without_null_check(analysis.findings) or None


def show(findings: Sequence[Finding], analysis: Analysis) -> Section:
    boards = sorted({f.effect.subject.hardware for f in findings if f.effect.subject.device == "cuda"})
    explained = Text(
        "Baseline → tactic. Electricity is what owned hardware costs to run; rent is the time on a rented board, its "
        "electricity included: one or the other, never their sum. Where a change has no interval the baseline stands alone."
    )
    used = Grid(
        heading="Prices used",
        columns=("what", "figure", "date", "source"),
        rows=tuple(_prices(analysis.prices, boards)),
        text_columns=frozenset(range(4)),
    )
    columns = dict(NAMES)
    for what, amount in (("electricity", "electricity"), ("rent", "rent"), ("CO2e", "grams")):
        for count, factor in COUNTS.items():
            columns[f"{what} / {count} {plural(analysis.unit)}"] = partial(_arrow, amount=amount, factor=factor)
    costs = without_empty(grid(findings, columns), empty=UNKNOWN)
    return section("cost", "Cost and carbon", Notes(items=analysis.caveats_on("cost")), explained, costs, used)


def _arrow(finding: Finding, *, amount: str, factor: int) -> str:
    before, after = getattr(finding.baseline_cost, amount), getattr(finding.tactic_cost, amount)
    if before is None or after is None:
        return UNKNOWN
    change = finding.effect.time if amount == "rent" else finding.effect.energy
    sides = [before, after] if change is not None and change.clear is not None else [before]
    if amount == "grams":
        said = " → ".join(quantity(side * factor, "g") for side in sides)
    else:
        said = f"{' → '.join(number(side * factor) for side in sides)} {getattr(finding.tactic_cost, f'{amount}_currency')}"
    return said if len(sides) > 1 else f"{said} (no interval)"


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

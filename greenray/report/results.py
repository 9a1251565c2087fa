"""The sections that answer the question: headline, energy, accuracy, speed, money, carbon, pay-back."""

import math
from collections.abc import Iterator, Sequence

from greenray.analysis.analyse import SAMPLES, overall_context, pay_back, throughput_change
from greenray.analysis.results import Analysis, Finding
from greenray.analysis.wording import UNKNOWN, number, percent_change, points_change, quantity, unit_of
from greenray.report import charts
from greenray.report.document import Block, Bullets, Chart, Grid, Notes, Section, Text, Tiles, without_empty
from greenray.report.idle import gross_and_active

_ALL_TEXT = frozenset(range(4))


def headline(analysis: Analysis) -> Section:
    """What was found, in sentences; the caveats that change how they are read stand above them."""
    blocks: list[Block] = [Tiles(items=tuple(_tiles(analysis)))]
    blocks += [Text(text=text) for text in _where(analysis)]
    if not analysis.headline:
        blocks.append(Text(text=_nothing(analysis)))
    weighty = tuple(caveat.text for caveat in analysis.caveats if caveat.weighty)
    if weighty:
        blocks.append(Notes(items=weighty))
    over_models, by_model, rest = _split(analysis)
    for heading, items in (("Over models", over_models), ("By model", by_model), ("Without a result", rest)):
        if items:
            blocks.append(Bullets(heading=heading, items=tuple(items)))
    return Section(id="headline", title="In short", blocks=tuple(blocks))


def energy(analysis: Analysis) -> Section | None:
    findings = analysis.findings
    if not findings:
        return None
    figure = charts.energy_ratios(findings)
    chart = (
        [Chart(id="energy", figure=figure, caption="Left of zero is less than the baseline; bars are 95 % intervals.")]
        if figure
        else []
    )
    rows = [
        (
            finding.label,
            finding.effect.tactic,
            percent_change(finding.effect.energy),
            finding.effect.energy.basis if finding.effect.energy else "",
            quantity(finding.effect.baseline_energy_j, "J"),
            quantity(finding.effect.tactic_energy_j, "J"),
            _drift(finding),
            finding.grade or UNKNOWN,
            "; ".join(finding.effect.flags),
        )
        for finding in findings
    ]
    unit = unit_of(findings[0].effect.subject.task)
    columns = ("model", "tactic", "energy", "interval", f"baseline / {unit}", f"tactic / {unit}", "drift", "grade", "remarks")
    blocks: list[Block] = [
        *_notes(analysis, "energy"),
        *chart,
        *_overall(analysis),
        without_empty(Grid(heading="By model", columns=columns, rows=tuple(rows), text_columns=frozenset({0, 1, 3, 8}))),
        Text(
            text=f"Grades of {_grades(analysis)}. A: every condition of a good measurement met; B: one missed; "
            "C: several missed; D: modelled."
        ),
        *gross_and_active(analysis),
    ]
    return Section(id="energy", title="Energy", blocks=tuple(blocks))


def accuracy(analysis: Analysis) -> Section | None:
    findings = [finding for finding in analysis.findings if finding.accuracy is not None]
    if not findings:
        return None
    figure = charts.accuracy_energy(findings)
    caption = "Up and to the left is better. Shapes are models, colours are tactics, grey is the baseline."
    rows = [
        (
            finding.label,
            finding.effect.tactic,
            f"{change.baseline * 100:.1f} %",
            f"{change.tactic * 100:.1f} %",
            points_change(change),
            UNKNOWN if change.p_value is None else f"{change.p_value:.2g}",
            UNKNOWN if change.agreement is None else f"{change.agreement * 100:.1f} %",
            f"{change.samples:,}",
        )
        for finding in findings
        if (change := finding.accuracy) is not None
    ]
    columns = ("model", "tactic", "baseline", "with tactic", "change (95 % interval)", "McNemar p", "agreement", "samples")
    blocks: list[Block] = [*_notes(analysis, "accuracy"), Grid(columns=columns, rows=tuple(rows))]
    if figure:
        blocks.insert(-1, Chart(id="accuracy", figure=figure, caption=caption))
    return Section(id="accuracy", title="Accuracy", blocks=tuple(blocks))


def speed(analysis: Analysis) -> Section | None:
    findings = [finding for finding in analysis.findings if finding.effect.time is not None]
    if not findings:
        return None
    rows = [
        (
            finding.label,
            finding.effect.tactic,
            _throughput(finding.effect.baseline_time_s),
            _throughput(finding.effect.tactic_time_s),
            throughput_change(finding.effect),
            percent_change(finding.effect.latency_p50),
            percent_change(finding.effect.latency_p95),
        )
        for finding in findings
    ]
    unit = unit_of(findings[0].effect.subject.task)
    columns = ("model", "tactic", f"baseline, {unit}s/s", f"tactic, {unit}s/s", "throughput", "latency p50", "latency p95")
    note = Text(
        text="Latency is the wall time of one batch, copy to the device and synchronisation included, with one batch in flight."
    )
    return Section(id="speed", title="Latency and throughput", blocks=(note, Grid(columns=columns, rows=tuple(rows))))


def money(analysis: Analysis) -> Section | None:
    findings = analysis.findings
    if not findings:
        return None
    unit = unit_of(findings[0].effect.subject.task)
    blocks: list[Block] = [
        *_notes(analysis, "cost", "carbon"),
        Text(
            text="Baseline → tactic. Electricity is what owned hardware costs to run; rent is the time on a rented board, its "
            "electricity included: one or the other, never their sum."
        ),
        _money_grid(findings, unit),
        Grid(
            heading="Prices used",
            columns=("what", "figure", "date", "source"),
            rows=tuple(_prices(analysis)),
            text_columns=_ALL_TEXT,
        ),
    ]
    return Section(id="cost", title="Cost and carbon", blocks=tuple(blocks))


def _money_grid(findings: Sequence[Finding], unit: str) -> Grid:
    rows = [
        (
            finding.label,
            finding.effect.tactic,
            *_arrows(
                finding.baseline_cost.electricity, finding.tactic_cost.electricity, finding.tactic_cost.electricity_currency
            ),
            *_arrows(finding.baseline_cost.rent, finding.tactic_cost.rent, finding.tactic_cost.rent_currency),
            *_arrows(finding.baseline_grams, finding.tactic_grams, "g"),
        )
        for finding in findings
    ]
    what = ("electricity", "rent", "CO2e")
    columns = ("model", "tactic", *(f"{name} / {count} {unit}s" for name in what for count in ("1,000", "million")))
    return without_empty(Grid(columns=columns, rows=tuple(rows)), empty=UNKNOWN)


def _arrows(before: float | None, after: float | None, unit: str | None) -> tuple[str, str]:
    """Baseline to tactic, for 1,000 samples and for a million."""
    if before is None or after is None:
        return UNKNOWN, UNKNOWN
    few, many = (
        f"{quantity(before * n, 'g')} → {quantity(after * n, 'g')}"
        if unit == "g"
        else f"{number(before * n)} → {number(after * n)} {unit}"
        for n in (1, 1000)
    )
    return few, many


def one_off(analysis: Analysis) -> Section | None:
    findings = [finding for finding in analysis.findings if finding.effect.subject.phase == "inference"]
    if not findings:
        return None
    figure = charts.break_even_lines(findings)
    caption = "Below the dotted line the tactic has paid back what it cost to apply. Line styles are models."
    rows = [
        (
            finding.label,
            finding.effect.tactic,
            quantity(finding.optimize_energy_j, "J"),
            quantity(finding.optimize_time_s, "s"),
            pay_back(finding),
            pay_back(finding, time=True),
        )
        for finding in findings
    ]
    columns = ("model", "tactic", "energy to apply", "time to apply", "pays back energy after", "pays back time after")
    note = Text(text=f"Cost of N {unit_of(findings[0].effect.subject.task)}s = energy to apply + N x energy of one.")
    blocks: list[Block] = [note, Grid(columns=columns, rows=tuple(rows))]
    if figure:
        blocks.insert(1, Chart(id="break-even", figure=figure, caption=caption))
    return Section(id="one-off", title="One-off cost and pay-back", blocks=tuple(blocks))


def _tiles(analysis: Analysis) -> Iterator[tuple[str, str]]:
    """Best finding, and how much there is."""
    clear = [
        f
        for f in analysis.findings
        if f.effect.energy is not None and f.effect.energy.clear is not False and f.effect.energy.ratio < 1
    ]
    best = min(clear, key=lambda f: f.effect.energy.ratio if f.effect.energy else 1.0, default=None)
    if best is not None:
        what = "energy estimated from CPU time" if best.effect.modelled else f"energy per {unit_of(best.effect.subject.task)}"
        yield percent_change(best.effect.energy).split(" (")[0], f"{what}, at best: {best.effect.tactic} on {best.label}"
    ok = sum(arm.ok for arm in analysis.arms)
    yield f"{ok} of {len(analysis.arms)}", "cells with a result"
    unknown = f", without {analysis.attempts_unknown} of unknown energy" if analysis.attempts_unknown else ""
    yield quantity(analysis.attempts_energy_j, "J"), f"energy of all attempts{unknown}"
    if analysis.grades:
        yield " · ".join(f"{count} {grade}" for grade, count in analysis.grades.items()), "windows by grade"


def _where(analysis: Analysis) -> Iterator[str]:
    """What the figures were measured on, and what they count."""
    places = sorted(
        {f"{arm.hardware} ({arm.cell['device']}), counting {arm.scope}" for arm in analysis.arms if arm.ok and arm.scope}
    )
    if places:
        yield f"On {'; '.join(places)}."


def _nothing(analysis: Analysis) -> str:
    if not analysis.arms:
        return "The store holds no attempts yet: nothing was measured."
    return "Nothing was compared: no tactic ran beside a baseline. What was measured stands below."


def _split(analysis: Analysis) -> tuple[list[str], list[str], list[str]]:
    """The headline by its three parts; `analyse` puts them in this order."""
    first, second = len(analysis.overall), len(analysis.overall) + len(analysis.findings)
    return analysis.headline[:first], analysis.headline[first:second], analysis.headline[second:]


def _overall(analysis: Analysis) -> Iterator[Grid]:
    if not analysis.overall:
        return
    tested = any(effect.wilcoxon_p is not None for effect in analysis.overall)
    rows = [
        (
            effect.tactic,
            f"{effect.models} models, {effect.families} families{overall_context(effect, analysis.overall)}",
            percent_change(effect.energy),
            effect.energy.basis if effect.energy else "",
            percent_change(effect.time),
            *((number(effect.wilcoxon_p, digits=2), number(effect.cliffs_delta, digits=2)) if tested else ()),
        )
        for effect in analysis.overall
    ]
    columns = ("tactic", "over", "energy", "interval", "time", *(("Wilcoxon p (Holm)", "Cliff's delta") if tested else ()))
    yield Grid(heading="Over models", columns=columns, rows=tuple(rows), text_columns=frozenset({0, 1, 3}))


def _notes(analysis: Analysis, *topics: str) -> Iterator[Notes]:
    """The caveats beside these numbers; the weighty ones stand at the top of the page already."""
    texts = tuple(caveat.text for caveat in analysis.caveats if caveat.topic in topics and not caveat.weighty)
    if texts:
        yield Notes(items=texts)


def _drift(finding: Finding) -> str:
    return UNKNOWN if finding.effect.drift is None else f"{math.expm1(finding.effect.drift) * 100:.1f} %"


def _grades(analysis: Analysis) -> str:
    windows = [f"{count:,} {'without a grade' if grade == 'unknown' else grade}" for grade, count in analysis.grades.items()]
    return "the work windows: " + (", ".join(windows) or "none")


def _throughput(time_s: float | None) -> str:
    return number(1 / time_s) if time_s else UNKNOWN


def _prices(analysis: Analysis) -> Iterator[tuple[str, str, str, str]]:
    prices = analysis.prices
    region = f"{prices.region_name} ({prices.region})" + (", the default" if prices.default_region else "")
    for what, figure, unit in (("electricity", prices.electricity, " / kWh"), ("grid intensity", prices.grid, "")):
        if figure is None:
            yield f"{what}, {region}", UNKNOWN, "", ""
        else:
            yield f"{what}, {region}", f"{number(figure.value)} {figure.unit}{unit}", figure.date, figure.source
    yield "PUE", f"{prices.pue.value:g}", prices.pue.date, prices.pue.source
    for board in _boards(analysis.findings):
        figure = prices.gpu_hour(board)
        if figure is None:
            yield board, UNKNOWN, "", ""
        else:
            yield board, f"{number(figure.value)} {figure.unit} / GPU-hour", figure.date, figure.source


def _boards(findings: Sequence[Finding]) -> list[str]:
    return sorted({f.effect.subject.hardware for f in findings if f.effect.subject.device == "cuda"})


assert SAMPLES == 1000  # the columns of `money` say so

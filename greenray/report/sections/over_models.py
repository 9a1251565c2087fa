"""What each tactic does to models as such: every measure over families, with interval, test and effect size."""

from collections.abc import Callable, Sequence

from greenray.analysis.analyse import Analysis
from greenray.analysis.measures import Change
from greenray.analysis.overall import MIN_FAMILIES_FOR_TEST, OverallEffect, OverMeasure
from greenray.analysis.stats import CONFIDENCE, Estimate
from greenray.analysis.wording import UNKNOWN, count, p_value, percent_change, signed
from greenray.report.document import Grid, Section, Text, grid, section, without_empty

SHORT = ("energy_j", "gpu_energy_j", "time_s", "accuracy", "size_bytes", "peak_gpu_memory_bytes")
"""Measures that stand side by side; the others are unfolded with the tests."""
Row = tuple[OverallEffect, OverMeasure]


def load(analysis: Analysis) -> Sequence[Row] | None:
    """Those that are no other measure in other words: throughput, money and the like follow, and stand in the tables."""
    return [row for row in known(analysis) if row[1].change.measure.tested] or None


def known(analysis: Analysis) -> list[Row]:
    """Measures that are known, and that a tactic changes on some model or might have: exact figures that stay are left out."""
    return [
        (effect, found)
        for effect in analysis.overall
        for found in effect.measures.values()
        if found.families and (found.change.measure.repeats or any(found.values))
    ]


def show(rows: Sequence[Row], analysis: Analysis) -> Section:
    columns = {
        "tactic": lambda r: r[0].tactic,
        "measure": lambda r: label(r[1].change, analysis.measure),
        "change (95 % interval)": lambda r: change(r[1].change),
        "median (quartiles)": lambda r: _median(r[1]),
        "Wilcoxon p (Holm)": lambda r: p_value(r[1].wilcoxon_p),
        "rank-biserial r": lambda r: _effect_size(r[1].rank_biserial),
        "Cliff's delta": lambda r: _effect_size(r[1].cliffs_delta),
        "families (models)": lambda r: f"{r[1].families:,} ({r[1].models:,})",
        "hardly applied to": lambda r: count(r[0].hardly, "model") if r[0].hardly else "",
        "of": lambda r: r[0].context(analysis.overall).removeprefix(", "),
        "why no interval": lambda r: "" if r[1].change.ends is not None else r[1].change.basis,
    }
    left = ("tactic", "measure", "hardly applied to", "of", "why no interval")
    table = grid(rows, columns, text=left, folded=True, heading="All measures, with tests and effect sizes")
    return section("over-models", "Over models", Text(_explained(rows)), _short(rows, analysis), without_empty(table))


def _short(rows: Sequence[Row], analysis: Analysis) -> Grid:
    """A line for each tactic; a star is a change that its test finds significant."""
    labels = {found.change.measure.name: label(found.change, analysis.measure) for _, found in rows}

    def say(name: str) -> Callable[[OverallEffect], str]:
        return lambda effect: _starred(effect.measures[name])

    columns: dict[str, Callable[[OverallEffect], str]] = {
        "tactic": lambda effect: effect.named + effect.context(analysis.overall),
        "families": lambda effect: f"{effect.families:,}",
    }
    columns |= {labels[name]: say(name) for name in SHORT if name in labels}
    return grid([effect for effect in analysis.overall if effect.measures], columns, text=("tactic",))


def _starred(found: OverMeasure) -> str:
    return change(found.change) + (" *" if found.wilcoxon_p is not None and found.wilcoxon_p < 1 - CONFIDENCE else "")


def label(change: Change, quality: str) -> str:
    """A measure as a reader calls it; the task says what its quality is called."""
    return change.measure.label.replace("accuracy", quality)


def change(found: Change) -> str:
    """-31 % (-35 to -27), or -0.3 points (-1.2 to +0.6)."""
    if found.mean is None or found.value is None:
        return UNKNOWN
    if not found.measure.points:
        return percent_change(Estimate(ratio=found.value, low=found.low, high=found.high, basis=found.basis))
    ends = "no interval" if found.ends is None else " to ".join(signed(end, decimals=1) for end in found.ends)
    return f"{signed(found.mean, decimals=1)} points ({ends})"


def _median(found: OverMeasure) -> str:
    if found.median is None or found.quartiles is None:
        return ""
    values = (found.median, *found.quartiles)
    if found.change.measure.points:
        middle, low, high = (signed(value, decimals=1) for value in values)
        return f"{middle} points ({low} to {high})"
    middle, low, high = (signed((value - 1) * 100, decimals=1) for value in values)
    return f"{middle} % ({low} to {high})"


def _effect_size(value: float | None) -> str:
    return "" if value is None else signed(value, decimals=2)


def _explained(rows: Sequence[Row]) -> str:
    text = "A family of models counts once: means over families of the change on each model, geometric for ratios."
    modelled = {effect.modelled for effect, _ in rows}
    if True in modelled:
        text += f" {'Some energy' if False in modelled else 'Energy'} and money are estimated from CPU time."
    hypotheses = {effect.group: found.hypotheses for effect, found in rows if found.hypotheses}
    if not hypotheses:
        return f"{text} Tests begin at {MIN_FAMILIES_FOR_TEST} families."
    many = " and ".join(str(count) for count in sorted(set(hypotheses.values())))
    text += (
        f" A star is p under 0.05 of Wilcoxon's signed-rank test over families, adjusted by Holm over all {many} "
        "hypotheses of a group: its tactics times its measures, and what is another measure in other words is not tested twice. "
        "Rank-biserial r compares each family with itself: −1 where the measure falls wherever it changes, +1 where it rises. "
        "Cliff's delta forgets which figures belong together."
    )
    least, families = min(
        (found.hypotheses * 2.0 ** (1 - found.families), found.families) for _, found in rows if found.hypotheses
    )
    if least >= 1 - CONFIDENCE:
        text += f" {families} families and so many hypotheses leave no p under {p_value(min(1.0, least))}: there can be no star."
    return text

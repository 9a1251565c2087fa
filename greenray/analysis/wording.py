"""Numbers and findings in plain words. One place, so that terminal, page and headline say the same."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from greenray.analysis.accuracy import AccuracyChange
from greenray.analysis.cost import BreakEven
from greenray.analysis.effects import ModelEffect
from greenray.analysis.stats import Estimate
from greenray.tasks.base import QualityMeasure

UNKNOWN = "unknown"
MINUS = "−"
_FIGURE = re.compile(r"(?<![\w.:-])\d+(?:\.\d+)?(?![\w:-]|\.\d)")  # not those of names: UUIDs, package-0, intel-rapl:0
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def plural(noun: str) -> str:
    return f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"


def count(number: int, noun: str) -> str:
    return f"{number:,} {noun if number == 1 else plural(noun)}"


def in_settings(cases: int, *, models: int) -> str:
    """`9 models in 15 settings`: the same model with another batch size, on another device, ... is no other model."""
    return count(models, "model") + (f" in {cases} settings" if cases > models else "")


def common(words: Iterable[str], otherwise: str) -> str:
    found = set(words)
    return found.pop() if len(found) == 1 else otherwise


def setting(name: str, value: object) -> str:
    """A setting of training: `epochs 3`, `augmentation crop+flip`, and of what is only on or off its name."""
    words = name.replace("_", " ")
    if value is True:
        return words
    return f"{words} {'+'.join(map(str, value)) if isinstance(value, list) else value}"


def number(value: float | None, *, digits: int = 3) -> str:
    """A figure with `digits` significant digits and thousands separated; unknown stays unknown."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    if value == 0:
        return "0"
    decimals = digits - 1 - math.floor(math.log10(abs(value)))
    rounded = round(value, decimals)
    if abs(value) >= 1e-4:
        return f"{rounded:,.{max(0, decimals)}f}"
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    return f"{mantissa}×10" + str(int(exponent)).translate(_SUPERSCRIPTS)


def p_value(value: float | None) -> str:
    """Nothing where there was no test."""
    return "" if value is None else "< 0.0001" if value < 1e-4 else number(value, digits=2)


def quantity(value: float | None, unit: str, *, digits: int = 3) -> str:
    """A figure with its unit, with a prefix where one helps: 0.0034 J -> 3.40 mJ."""
    if value is None:
        return UNKNOWN
    size = abs(value)
    for factor, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ")):
        if size >= factor and not (unit == "s" and factor > 1):
            return f"{number(value / factor, digits=digits)} {prefix}{unit}"
    return f"{number(value / 1e-6, digits=digits)} µ{unit}" if size else f"0 {unit}"


def signed(value: float, *, decimals: int = 0) -> str:
    """A number with its sign, a true minus, and no minus zero."""
    text = f"{abs(value):.{decimals}f}"
    if float(text) == 0:
        return text
    return f"{MINUS if value < 0 else '+'}{text}"


def coefficient(value: float | None) -> str:
    """A correlation, or another figure about as large as 1: 0.81, −0.22."""
    return UNKNOWN if value is None else signed(value, decimals=2).removeprefix("+")


def relative_error(share: float | None) -> str:
    """12.3 %; factors where percents say little."""
    if share is None:
        return UNKNOWN
    return f"{share * 100:.1f} %" if share < 10 else f"a factor of {number(share + 1)}"


def percent_change(estimate: Estimate | None) -> str:
    """-31 % (-35 to -27): a change with its interval, for tables."""
    if estimate is None:
        return UNKNOWN
    interval = "no interval" if estimate.half_width_points is None else span(estimate)
    return f"{signed(estimate.percent, decimals=decimals(estimate))} % ({interval})"


def quality(measure: QualityMeasure, value: float | None, *ends: float | None) -> str:
    """A value of a measure, and both ends of its interval where they are known: a share in %, any other in its own scale."""
    if value is None:
        return UNKNOWN
    figures = [f"{x * 100:.1f}" if measure.share else number(x).replace("-", MINUS) for x in (value, *ends) if x is not None]
    return figures[0] + (" %" if measure.share else "") + (f" ({' to '.join(figures[1:])})" if len(figures) > 2 else "")


def quality_change(change: AccuracyChange | None) -> str:
    """-0.3 points (-1.2 to +0.6): a change of quality with its interval, for tables."""
    if change is None:
        return UNKNOWN
    text = f"{signed(change.difference, decimals=1)} points"
    if not change.measure.share:
        text = number(change.difference).replace("-", MINUS) if change.difference <= 0 else f"+{number(change.difference)}"
    if not change.measure.higher_is_better and shows(change):
        text += f", {verdict(change)}"
    ends = [signed(end, decimals=1) for end in (change.low, change.high) if end is not None]
    return f"{text} ({' to '.join(ends) or 'unpaired'})"


def round_count(value: int) -> str:
    """A count with two significant digits: 11,873 -> 12,000."""
    if value < 100:
        return str(value)
    step = 10 ** (len(str(value)) - 2)
    return f"{-(-value // step) * step:,}"


def throughput_change(effect: ModelEffect) -> str:
    """Throughput is one over time per sample, so its interval is the other way round; nothing where samples were left out."""
    time = effect.time
    if effect.learnt_less:
        return ""
    if time is None:
        return UNKNOWN
    low, high = (None if end is None else 1 / end for end in (time.high, time.low))
    return percent_change(replace(time, ratio=1 / time.ratio, low=low, high=high))


def pay_back(effect: ModelEffect, found: BreakEven, saving: Estimate | None) -> str:
    if saving is None:
        return UNKNOWN
    if effect.subject.phase != "inference":
        return ""
    if saving.clear is None:
        return f"not told: {saving.basis}"
    if saving.clear is False:
        return "no clear saving"
    return round_count(found) if isinstance(found, int) else found


def grades(counts: Mapping[str, int], *, of: str = "", none: str = "without a grade", between: str = ", ") -> str:
    """Windows by grade in words; "" counts those without one."""
    return between.join(f"{number:,} {of + grade if grade else none}" for grade, number in counts.items())


def interval_basis(effect: ModelEffect) -> str:
    """What an interval rests on; without one why there is none, and what the windows did: that is all there is to go by."""
    if effect.energy is None:
        return ""
    if effect.energy.low is not None:
        return effect.energy.basis
    return "; ".join([f"{effect.energy.basis}: no interval", *windows_did(effect.spread)])


def windows_did(spread: float | None, *, several: bool = False) -> list[str]:
    """What the windows of a process did, in words; nothing where none gave two."""
    whose, most = ("", "up to ") if several else ("its ", "")
    return [] if spread is None else [f"{whose}windows varied by {most}{spread * 100:.1f} %"]


def span(estimate: Estimate) -> str:
    ends = (end for end in (estimate.low, estimate.high) if end is not None)
    return " to ".join(signed((end - 1) * 100, decimals=decimals(estimate)) for end in ends)


def decimals(estimate: Estimate) -> int:
    """Whole percents, and tenths where the interval is that narrow."""
    half = estimate.half_width_points
    return 1 if half is not None and half < 2 else 0


def shows(change: AccuracyChange) -> bool:
    """Whether there is a change in the digits that people see."""
    if change.measure.share:
        return round(abs(change.difference), 1) != 0
    return quality(change.measure, change.baseline) != quality(change.measure, change.tactic)


def verdict(change: AccuracyChange) -> str:
    return "better" if (change.difference > 0) is change.measure.higher_is_better else "worse"


def kind_of(reason: str) -> str:
    """The sentence without its figures."""
    return _FIGURE.sub("#", reason)


def alike(reasons: Iterable[str]) -> list[list[str]]:
    """Sentences by their kind, in the order in which the kinds come."""
    kinds: dict[str, list[str]] = {}
    for reason in reasons:
        kinds.setdefault(kind_of(reason), []).append(reason)
    return list(kinds.values())


def merged(reasons: Sequence[str]) -> str:
    """Sentences of one kind as one: figures that differ become ranges."""
    columns = zip(*(_FIGURE.findall(reason) for reason in reasons), strict=True)
    ordered = (sorted(set(figures), key=float) for figures in columns)
    ranges = (each[0] if len(each) == 1 else f"{each[0]}\N{EN DASH}{each[-1]}" for each in ordered)
    return _FIGURE.sub(lambda _: next(ranges), reasons[0])

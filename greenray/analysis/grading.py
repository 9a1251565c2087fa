"""Grades of windows, counted, and the reasons for them.

Reasons are kept as sentences with figures in them. Sentences that differ in nothing but their figures are one reason to a reader,
with the range of each figure: "temperature went from 45-47 to 52-58 C".
"""

import re
from collections.abc import Iterable, Sequence

import polars as pl

# Not the figures of names: UUIDs, package-0, intel-rapl:0.
_FIGURE = re.compile(r"(?<![\w.:-])\d+(?:\.\d+)?(?![\w:-]|\.\d)")


def grades(windows: pl.DataFrame) -> dict[str, int]:
    """Number of windows by grade, best first; "" counts those without one."""
    counted = dict(windows["grade"].fill_null("").value_counts().iter_rows())
    return {grade: counted[grade] for grade in sorted(counted, key=lambda grade: (not grade, grade))}


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
    columns = iter(zip(*(_FIGURE.findall(reason) for reason in reasons), strict=True))
    return _FIGURE.sub(lambda _: _range(next(columns)), reasons[0])


def _range(figures: Iterable[str]) -> str:
    ordered = sorted(set(figures), key=float)
    return ordered[0] if len(ordered) == 1 else f"{ordered[0]}\N{EN DASH}{ordered[-1]}"

"""How good the measurements are: what the work windows below grade A missed, and why energies are unknown.

Reasons are kept as sentences with figures in them. Sentences that differ in nothing but their figures are one reason here, with
the range of each figure: "temperature went from 45-47 to 52-58 C".
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from greenray.analysis.arms import work_windows
from greenray.store import reader

NO_REASON = "no reason was written down"
# Not the figures of names: UUIDs, package-0, intel-rapl:0.
_FIGURE = re.compile(r"(?<![\w.:-])\d+(?:\.\d+)?(?![\w:-]|\.\d)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One thing that was missed, over all sweeps of the store.

    Attributes:
        text: the sentence; figures that differ are ranges.
        grades: number of windows by grade, "none" for those without one.
        windows, cells: how many of them it concerns.
        without_energy: how many of the windows have no total energy.
    """

    text: str
    grades: Mapping[str, int]
    windows: int
    cells: int
    without_energy: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """All work windows of the settled cells.

    Attributes:
        windows, cells: how many there are.
        without_energy: windows without a total energy.
        grades: number of windows by grade, "none" for those without one.
        reasons: what was missed, most frequent first; a window can have several, one of grade A none.
    """

    windows: int
    cells: int
    without_energy: int
    grades: Mapping[str, int]
    reasons: tuple[Reason, ...]


def load(out: Path) -> Quality:
    """Reads the store's settled cells; windows that were rejected or did no work are left out, as everywhere."""
    cells = reader.settled(out).select("sweep", "run_id")
    windows = (
        work_windows(reader.scan(out, table="windows"))
        .join(cells, on=["sweep", "run_id"], how="semi")
        .select("run_id", "window", "grade", "grade_reasons", _unknown=pl.col("total_energy_j").is_null())
        .with_columns(pl.col("grade").fill_null("none"))
        .sort("run_id", "window")
        .collect()
    )
    return Quality(
        windows=windows.height,
        cells=windows["run_id"].n_unique(),
        without_energy=int(windows["_unknown"].sum()),
        grades=_count(windows["grade"]),
        reasons=tuple(_reasons(windows)),
    )


def _reasons(windows: pl.DataFrame) -> list[Reason]:
    # Nothing below A goes without a word. An empty list would lose its row.
    some = pl.when(pl.col("grade_reasons").list.len() > 0).then("grade_reasons")
    told = windows.with_columns(reason=some).drop("grade_reasons").explode("reason")
    told = told.with_columns(
        pl.when((pl.col("grade") != "A") | pl.col("_unknown")).then(pl.col("reason").fill_null(NO_REASON)).otherwise("reason")
    ).drop_nulls("reason")
    if told.is_empty():
        return []
    told = told.with_columns(kind=pl.col("reason").map_elements(kind_of, return_dtype=pl.String))
    found = []
    for (_,), group in told.group_by("kind", maintain_order=True):
        once = group.unique(["run_id", "window"], maintain_order=True)
        reason = Reason(
            text=merged(group["reason"].unique(maintain_order=True).to_list()),
            grades=_count(once["grade"]),
            windows=once.height,
            cells=once["run_id"].n_unique(),
            without_energy=int(once["_unknown"].sum()),
        )
        found.append(reason)
    return sorted(found, key=lambda reason: (-reason.windows, reason.text))


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


def _count(grades: pl.Series) -> dict[str, int]:
    counted = dict(grades.value_counts().iter_rows())
    return {grade: counted[grade] for grade in sorted(counted, key=lambda grade: (grade == "none", grade))}

"""How good the measurements are: what work windows below grade A missed, why energies are unknown, which boards were refused."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from greenray.analysis import frames
from greenray.analysis.analyse import Analysis
from greenray.analysis.wording import grades, kind_of, merged
from greenray.report.document import Bullets, Notes, Section, Text, grid, section, without_empty

NO_REASON = "no reason was written down"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One thing that was missed, and how many windows and cells it concerns; figures that differ are ranges in its text."""

    text: str
    grades: Mapping[str, int]
    windows: int
    cells: int
    without_energy: int


def load(analysis: Analysis) -> tuple[list[Reason], list[str]]:
    refused = (dict.fromkeys(manifest.get("refused", ())) for manifest in analysis.frames.manifests.values())
    return reasons(analysis.frames.work), [f"{sentence.rstrip('.')}." for told in refused for sentence in told]


def show(loaded: tuple[list[Reason], list[str]], analysis: Analysis) -> Section:
    missed, refused = loaded
    work = analysis.frames.work
    text = f"{work.height:,} work windows in {work['run_id'].n_unique():,} cells: {grades(analysis.grades, of='of grade ')}."
    if unknown := work["total_energy_j"].null_count():
        text += f" {unknown:,} have no total energy: they are left out, and nothing stands in for them."
    columns = {
        "why not better": lambda r: r.text,
        "windows": lambda r: f"{r.windows:,}",
        "cells": lambda r: f"{r.cells:,}",
        "grades": lambda r: grades(r.grades, none="without"),
        "without energy": lambda r: f"{r.without_energy:,}" if r.without_energy else "",
    }
    repeated = any(finding.effect.subject.phase == "inference" for finding in analysis.findings)
    unchecked = "No null check: it takes three rounds on a quiet host." if repeated and not analysis.null_checks else ""
    return section(
        "quality",
        "How good the measurements are",
        Text(f"{text} {unchecked}".rstrip()) if work.height else None,
        Notes(items=tuple(caveat.text for caveat in analysis.caveats if caveat.topic == "wall")),
        without_empty(grid(missed, columns, text=("why not better", "grades"))) if missed else None,
        Bullets(heading="Refused when the sweep last ran", items=tuple(refused)),
    )


def reasons(work: pl.DataFrame) -> list[Reason]:
    """What work windows missed, most frequent first; a window can have several, one of grade A none."""
    told = work.select("run_id", "window", "grade", "grade_reasons", unknown=pl.col("total_energy_j").is_null())
    kinds: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in told.sort("run_id", "window").iter_rows(named=True):
        # Nothing below A goes without a word.
        for reason in row["grade_reasons"] or [NO_REASON] * (row["grade"] != "A" or row["unknown"]):
            kinds[kind_of(reason)].append(row | {"reason": reason})
    return sorted(map(_reason, kinds.values()), key=lambda reason: (-reason.windows, reason.text))


def _reason(rows: Sequence[dict[str, Any]]) -> Reason:
    once = {(row["run_id"], row["window"]): row for row in rows}
    return Reason(
        text=merged(list(dict.fromkeys(row["reason"] for row in rows))),
        grades=frames.grades(row["grade"] for row in once.values()),
        windows=len(once),
        cells=len({run_id for run_id, _ in once}),
        without_energy=sum(row["unknown"] for row in once.values()),
    )

"""How good the measurements are: what work windows below grade A missed, why energies are unknown, which boards were refused."""

from collections.abc import Mapping
from dataclasses import dataclass

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
    counted = grades(analysis.grades, of="of grade ")
    text = f"{work.height:,} work windows in {work['run_id'].n_unique():,} cells: {counted}."
    if unknown := work["total_energy_j"].null_count():
        text += f" {unknown:,} have no total energy: they are left out, and nothing stands in for them."
    columns = {
        "why not better": lambda r: r.text,
        "windows": lambda r: f"{r.windows:,}",
        "cells": lambda r: f"{r.cells:,}",
        "grades": lambda r: grades(r.grades, none="without"),
        "without energy": lambda r: f"{r.without_energy:,}" if r.without_energy else "",
    }
    return section(
        "quality",
        "How good the measurements are",
        Text(text) if work.height else None,
        Notes(items=tuple(caveat.text for caveat in analysis.caveats if caveat.topic == "wall")),
        without_empty(grid(missed, columns, text=("why not better", "grades"))) if missed else None,
        Bullets(heading="Refused when the sweep last ran", items=tuple(refused)),
    )


def reasons(work: pl.DataFrame) -> list[Reason]:
    """What work windows missed, most frequent first; a window can have several, one of grade A none."""
    told = (
        # Nothing below A goes without a word. An empty list would lose its row.
        work.select(
            "run_id",
            "window",
            pl.col("grade").fill_null(""),
            unknown=pl.col("total_energy_j").is_null(),
            reason=pl.when(pl.col("grade_reasons").list.len() > 0).then("grade_reasons"),
        )
        .sort("run_id", "window")
        .explode("reason")
        .with_columns(
            pl.when((pl.col("grade") != "A") | pl.col("unknown")).then(pl.col("reason").fill_null(NO_REASON)).otherwise("reason")
        )
        .drop_nulls("reason")
    )
    kinds = {reason: kind_of(reason) for reason in told["reason"].unique()}
    told = told.with_columns(kind=pl.col("reason").replace_strict(kinds, return_dtype=pl.String))
    found = [_reason(rows) for _, rows in told.group_by("kind", maintain_order=True)]
    return sorted(found, key=lambda reason: (-reason.windows, reason.text))


def _reason(rows: pl.DataFrame) -> Reason:
    once = rows.unique(["run_id", "window"], maintain_order=True)
    return Reason(
        text=merged(rows["reason"].unique(maintain_order=True).to_list()),
        grades=frames.grades(once),
        windows=once.height,
        cells=once["run_id"].n_unique(),
        without_energy=int(once["unknown"].sum()),
    )

"""The wall meter's word on the parts: how much of the plug's energy they explain, or that they add up to more than it."""

from collections.abc import Iterator
from typing import Any

import polars as pl

from greenray.analysis.caveats import Caveat
from greenray.analysis.frames import Frames
from greenray.analysis.wording import count, quantity


def caveats(frames: Frames) -> list[Caveat]:
    """A sentence for each host and set of parts that a wall meter gave figures for, over work windows of settled cells."""
    windows = (
        frames.work.filter(pl.col("wall_energy_j") > 0)
        .join(frames.settled.select("sweep", "run_id", "host"), on=["sweep", "run_id"])
        .with_columns(_share=pl.col("wall_parts_energy_j") / pl.col("wall_energy_j"))
    )
    checked, failed = pl.col("wall_check").is_not_null(), ~pl.col("wall_check")
    summary = windows.group_by("host", "wall_parts").agg(
        pl.len().alias("windows"),
        pl.col("wall_energy_j").sum(),
        pl.col("cpu_apportioned").any().alias("shared"),
        checked.sum().alias("checked"),
        failed.sum().alias("failed"),
        pl.col("_share").filter(failed).max().alias("most"),
        *(getattr(pl.col("_share").filter(checked), name)().alias(name) for name in ("min", "max")),
        (pl.col("wall_parts_energy_j").filter(checked).sum() / pl.col("wall_energy_j").filter(checked).sum()).alias("share"),
    )
    return list(_sentences(summary.sort("host", "wall_parts")))


def _sentences(hosts: pl.DataFrame) -> Iterator[Caveat]:
    for row in hosts.iter_rows(named=True):
        if row["failed"]:
            yield Caveat(topic="wall", text=_impossible(row), weighty=True)
        elif row["checked"]:
            yield Caveat(topic="wall", text=_explained(row))
        else:
            yield Caveat(topic="wall", text=_unchecked(row))


def _unchecked(row: dict[str, Any]) -> str:
    return (
        f"Wall meter: {quantity(row['wall_energy_j'], 'J')} at the plug of {row['host']} in {count(row['windows'], 'window')}. "
        "The energy of the host's parts is not known there, so they could not be held against it."
    )


def _impossible(row: dict[str, Any]) -> str:
    return (
        f"The parts add up to more than the plug delivered: on {row['host']}, in {row['failed']} of {row['checked']} windows, "
        f"{row['wall_parts']} took up to {(row['most'] - 1) * 100:.0f} % more than the wall meter saw, beyond the errors of "
        "both. One of the meters, the unit or the clock_offset_s is wrong, and so may be the energies here."
    )


def _explained(row: dict[str, Any]) -> str:
    text = (
        f"Wall meter: on {row['host']}, {row['wall_parts']} explain {row['share'] * 100:.0f} % of the energy at the plug "
        f"({row['min'] * 100:.0f} to {row['max'] * 100:.0f} % in a window). The rest goes to power supply, fans and all that "
        "has no meter of its own."
    )
    if row["shared"]:
        text += " A worker adds up its own board only: other boards of the host are in the rest, and the check is a weak one."
    return text

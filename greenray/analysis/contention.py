"""What others on the host took from the windows, in words: which were spoiled, and what that leaves to be said."""

from collections.abc import Collection, Sequence

import polars as pl

from greenray.analysis.effects import ModelEffect
from greenray.analysis.frames import Frames
from greenray.analysis.precision import MIN_ROUNDS
from greenray.analysis.sentences import listed
from greenray.analysis.wording import count

MANY = 0.05
"""From this share of windows on, spoiled ones that were used are a weighty matter even if no comparison lost a round."""


def busy_hosts(frames: Frames, effects: Sequence[ModelEffect]) -> list[tuple[bool, str]]:
    """A sentence for each host that was busy in some window, and whether it is weighty: whether figures suffered by it.

    Of all steady windows and epochs, rejected ones included: one that was taken again shows a busy host like any other.
    """
    work = frames.windows.filter(pl.col("kind").is_in(["steady", "epoch"]), pl.col("samples") > 0)
    hosts = frames.settled.select("sweep", "run_id", pl.col("host").fill_null("an unknown host"))
    busy, used, epoch = pl.col("contention").is_not_null(), pl.col("rejected").is_null(), pl.col("kind") == "epoch"
    summary = (
        work.join(hosts, on=["sweep", "run_id"])
        .group_by("host")
        .agg(
            pl.len().alias("windows"),
            busy.sum().alias("busy"),
            (busy & used).sum().alias("used"),
            (busy & epoch).sum().alias("epochs"),
        )
    )
    several = summary.height > 1
    rows = summary.filter(pl.col("busy") > 0).sort("host").iter_rows(named=True)
    found = []
    for row in rows:
        own = [effect for effect in effects if _ran_on(effect, row["host"])]
        lost_a_round = any(visit.contended for effect in own for visit in effect.visits)
        found.append((lost_a_round or row["used"] >= MANY * row["windows"], _sentence(row, several, own)))
    return found


def _ran_on(effect: ModelEffect, host: str) -> bool:
    return any((visit.arm.cell["host"] or "an unknown host") == host for visit in effect.visits)


def _lost_to_neighbours(effect: ModelEffect) -> bool:
    """Whether its rounds would have given an interval, had the host been quiet."""
    known = sum(visit.energy is not None for visit in effect.visits)
    return effect.rounds < MIN_ROUNDS <= known


def _sentence(row: dict[str, int], several: bool, effects: Collection[ModelEffect]) -> str:
    share = 100 * row["busy"] / row["windows"]
    whose = f"{row['host']} was" if several else "this host was"
    said = f"Busy host: {whose} busy with other work in {share:.0f} % of windows"
    if share < 1:
        said = f"Busy host: {whose} busy with other work in {row['busy']} of {row['windows']:,} windows"
    if not row["used"]:
        return f"{said}; those were taken again, and no figure is from them."
    without = [effect for effect in effects if effect.energy is not None and effect.energy.clear is None]
    lost = [effect for effect in without if _lost_to_neighbours(effect)]
    if lost and len(lost) == sum(effect.energy is not None for effect in effects):
        end = "; no claims. "
    elif lost:
        models = listed(effect.subject.model for effect in lost)
        end = f"; no claims on {count(len(lost), 'comparison')} (of {models}). "
    else:
        end = ". "
    return (
        f"{said}{end}Where no quiet window was left the spoiled ones are used, one grade worse, and their rounds are out of "
        "every interval: neighbours slow a cell down through cores, caches, memory and clocks, and not every cell alike."
        f"{' Trainings are compared by their quiet epochs, where those are half of them or more.' if row['epochs'] else ''}"
    )

"""A visit cut short, a block resumed, a tactic added: each tactic is compared with the baselines of its own visit and no others.

One store, three runs of the real command; the pairs are asked of the analysis and checked against the rows themselves.
"""

import os
import signal
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pytest

from greenray.analysis import analyse
from greenray.analysis.visits import VisitEffect
from tests.support.running import (
    TINY_TRAINING,
    cells,
    committed,
    greenray,
    of_sweep,
    started,
    tiny_serving,
    wait_until,
    write_config,
)

TACTICS = ("prune-local", "prune-global", {"prune-global": {"amount": 0.4}}, {"prune-local": {"amount": 0.7}})
ADDED = {"prune-global": {"amount": 0.9}}

pytestmark = pytest.mark.timeout(300)  # three sweeps, on a machine that may be busy


class Story(NamedTuple):
    """The rows of `cells` after each of the three runs, and what the analysis makes of the last."""

    cut: pl.DataFrame
    resumed: pl.DataFrame
    grown: pl.DataFrame
    out: Path
    effects: list[VisitEffect]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    folder = tmp_path_factory.mktemp("visits")
    out = folder / "out"
    config = write_config(folder, TINY_TRAINING, tiny_serving("baseline", *TACTICS))
    with started("sweep", config, "--out", out) as driver:
        # Training, the opening baseline and a tactic are committed, another tactic runs: it is let finish, the rest is not.
        wait_until(
            lambda: committed(out) >= 3 and any(comm.startswith("greenray-cell") for comm in of_sweep(out).values()),
            timeout_s=120,
            what="a cell in the middle of the visit",
        )
        os.kill(driver.pid, signal.SIGINT)
        driver.communicate(timeout=90)
        assert driver.returncode == 130
    cut = cells(out)
    assert greenray("sweep", config, "--out", out).code == 0
    resumed = cells(out)
    write_config(folder, TINY_TRAINING, tiny_serving("baseline", *TACTICS, ADDED))
    assert greenray("sweep", config, "--out", out).code == 0
    effects = [visit for finding in analyse(out).findings for visit in finding.effect.visits]
    return Story(cut=cut, resumed=resumed, grown=cells(out), out=out, effects=effects)


def served(rows: pl.DataFrame, *, visit: int | None = None) -> pl.DataFrame:
    found = rows.filter(pl.col("phase") == "inference")
    return found if visit is None else found.filter(pl.col("visit") == visit)


def tactics_of(rows: pl.DataFrame) -> set[str]:
    return set(rows.filter(pl.col("bracket").is_null())["tactic"])


def test_the_first_visit_is_cut_short_and_what_it_measured_is_kept(story: Story) -> None:
    first = served(story.cut)
    assert set(first["status"]) == {"ok"}
    assert set(first["visit"]) == {1}
    assert first["bracket"].drop_nulls().to_list() == ["open"]
    assert 1 <= len(tactics_of(first)) < len(TACTICS)
    assert set(story.cut["run_id"]) < set(story.resumed["run_id"]) < set(story.grown["run_id"])


def test_each_later_visit_has_its_own_baselines_and_only_what_was_missing(story: Story) -> None:
    done = tactics_of(served(story.cut))
    second, third = served(story.resumed, visit=2), served(story.grown, visit=3)
    assert tactics_of(second).isdisjoint(done)
    assert len(tactics_of(second) | done) == len(TACTICS)
    assert tactics_of(third) == {"prune-global_amount-0.9"}
    for visit in (second, third):
        in_order = visit.sort("order_in_visit")["bracket"].to_list()
        assert (in_order[0], in_order[-1]) == ("open", "close")
        assert set(in_order[1:-1]) <= {None}
    # Nothing that is ok runs again: every declared cell has one attempt, every bracket belongs to one visit.
    assert served(story.grown).height == len(TACTICS) + 1 + 1 + 2 + 2
    assert story.grown["cell_id"].is_unique().all()


def expected_pairs(rows: pl.DataFrame) -> set[tuple[str, str, str | None]]:
    """(tactic, opening, closing) by run: what was together in a visit, read off the rows."""
    pairs = set()
    for _, visit in served(rows).group_by("block_id", "visit"):
        runs: dict[Any, str] = dict(visit.filter(pl.col("bracket").is_not_null()).select("bracket", "run_id").rows())
        for run_id in visit.filter(pl.col("bracket").is_null())["run_id"]:
            pairs.add((run_id, runs["open"], runs.get("close")))
    return pairs


def test_the_pairs_are_those_of_the_visits_and_no_others(story: Story) -> None:
    def run(arms: tuple[Any, ...], place: int) -> str | None:
        return arms[place].cell["run_id"] if len(arms) > place else None

    found = [(effect.arm.cell["run_id"], run(effect.baselines, 0), run(effect.baselines, 1)) for effect in story.effects]
    assert len(found) == len(TACTICS) + 1
    assert set(found) == expected_pairs(story.grown)


def test_drift_is_known_where_there_are_two_baselines_and_said_to_be_unknown_elsewhere(story: Story) -> None:
    for effect in story.effects:
        cut_short = effect.visit[1] == 1
        assert (effect.drift is None) is cut_short
        assert any("cut short" in flag for flag in effect.flags) is cut_short
        assert effect.energy is not None
        assert (effect.energy.half_width is None) is cut_short


def test_the_comparisons_are_in_a_table_beside_the_report(story: Story) -> None:
    table = pl.read_parquet(story.out / "comparisons.parquet")
    assert set(table.select("run_id", "open_run_id", "close_run_id").rows()) == expected_pairs(story.grown)
    whole = table.filter(pl.col("visit") > 1)
    assert whole.height > 0
    assert whole.select("drift", "drifted", "open_j", "close_j", "energy_ratio").null_count().row(0) == (0,) * 5
    drift = pl.max_horizontal("open_j", "close_j") / pl.min_horizontal("open_j", "close_j") - 1
    assert whole.filter((pl.col("drift") - drift).abs() > 1e-9).is_empty()
    assert (whole["drifted"] == (whole["drift"] > 0.03)).all()
    assert (whole["energy_ratio"] - whole["tactic_j"] / ((whole["open_j"] + whole["close_j"]) / 2)).abs().max() < 1e-9
    assert (
        table.filter(pl.col("visit") == 1).select("close_j", "drift", "drifted", "energy_low").null_count().row(0)
        == (len(tactics_of(served(story.cut))),) * 4
    )
    assert table["active_ratio"].null_count() == 0
    assert (table["active_ratio"] > 0).all()


def test_the_report_says_which_comparisons_were_cut_short(story: Story) -> None:
    text = (story.out / "report.md").read_text()
    count = len(tactics_of(served(story.cut)))
    assert f"Cut short: {count} of {len(TACTICS) + 1} comparisons have an opening baseline only" in text
    assert "Gross and active" in text

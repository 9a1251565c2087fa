"""A visit cut short by Ctrl-C, resumed with a tactic more: each is compared with the baselines of its own visit and no others.

One store, two runs of the real command; the pairs are asked of the analysis and checked against the rows themselves.
"""

import os
import signal
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pytest

from greenray.analysis import analyse
from greenray.analysis.visits import VisitEffect
from tests.support.running import TINY_TRAINING, Gate, cells, greenray, started, tiny_serving, write_config

TACTICS = ("prune-local", "prune-global", {"prune-global": {"amount": 0.4}}, Gate.WAIT)
ADDED = {"prune-global": {"amount": 0.9}}

pytestmark = pytest.mark.timeout(300)  # two sweeps, on a machine that may be busy


class Story(NamedTuple):
    """The rows of `cells` after each of the two runs, and what the analysis makes of the last."""

    cut: pl.DataFrame
    resumed: pl.DataFrame
    out: Path
    effects: list[VisitEffect]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    folder = tmp_path_factory.mktemp("visits")
    out, gate = folder / "out", Gate(folder / "gate")
    seed = next(seed for seed in range(20) if waits_in_the_middle(configured(folder, *TACTICS, seed=seed)))
    config = configured(folder, *TACTICS, seed=seed)
    with started("sweep", config, "--out", out, env=gate.env) as driver:
        gate.arrival()  # a tactic or two are committed, another is running: it is let finish, the rest is not
        os.kill(driver.pid, signal.SIGINT)
        assert driver.stdout is not None
        assert any("finishing the cells in flight" in line for line in driver.stdout)
        gate.open()
        text, err = driver.communicate(timeout=120)
        assert driver.returncode == 130
        assert "Traceback" not in err
        assert "the same command goes on" in text
    assert (out / "report.html").exists()
    cut = cells(out)
    config = configured(folder, *TACTICS, ADDED, seed=seed)
    ended = greenray("sweep", config, "--out", out)
    assert ended.code == 0, ended.out + ended.err
    assert "of 6 cells are settled already" in ended.out
    assert "1 of them new in the config" in ended.out
    effects = [visit for finding in analyse(out).findings for visit in finding.effect.visits]
    return Story(cut=cut, resumed=cells(out), out=out, effects=effects)


def configured(folder: Path, *tactics: Any, seed: int) -> Path:
    return write_config(folder, TINY_TRAINING, tiny_serving("baseline", *tactics), seed=seed)


def waits_in_the_middle(config: Path) -> bool:
    """Whether the first visit, by `greenray plan`, comes to the tactic that waits after another, and before another."""
    lines = [line.split() for line in greenray("plan", config).out.splitlines() if " inference " in line]
    names = [line[8] for line in lines if line[-2:] == ["to", "run"]]
    assert (len(names), names[0], names[-1]) == (len(TACTICS) + 2, "baseline", "baseline")
    return 1 < names.index("misbehave_how-wait") < len(names) - 2


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
    assert "misbehave_how-wait" in tactics_of(first)  # the cell in flight was let finish
    assert set(story.cut["run_id"]) < set(story.resumed["run_id"])


def test_the_next_visit_has_its_own_baselines_and_only_what_was_missing(story: Story) -> None:
    second = served(story.resumed, visit=2)
    assert tactics_of(second).isdisjoint(tactics_of(served(story.cut)))
    assert "prune-global_amount-0.9" in tactics_of(second)
    in_order = second.sort("order_in_visit")["bracket"].to_list()
    assert (in_order[0], in_order[-1]) == ("open", "close")
    assert set(in_order[1:-1]) == {None}
    # Nothing that is ok runs again: every declared cell has one attempt, every bracket belongs to one visit.
    assert len(tactics_of(served(story.resumed))) == len(TACTICS) + 1
    assert served(story.resumed).height == len(TACTICS) + 1 + 1 + 2
    assert story.resumed["cell_id"].is_unique().all()


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
    assert set(found) == expected_pairs(story.resumed)


def test_drift_is_known_where_there_are_two_baselines_and_said_to_be_unknown_elsewhere(story: Story) -> None:
    for effect in story.effects:
        cut_short = effect.visit[1] == 1
        assert (effect.drift is None) is cut_short
        assert any("cut short" in flag for flag in effect.flags) is cut_short
        assert effect.energy is not None


def test_the_comparisons_are_in_a_table_beside_the_report(story: Story) -> None:
    table = pl.read_parquet(story.out / "comparisons.parquet")
    assert set(table.select("run_id", "open_run_id", "close_run_id").rows()) == expected_pairs(story.resumed)
    whole = table.filter(pl.col("visit") > 1)
    assert whole.height > 0
    assert whole.select("drift", "drifted", "open_j", "close_j", "energy_ratio").null_count().row(0) == (0,) * 5
    drift = pl.max_horizontal("open_j", "close_j") / pl.min_horizontal("open_j", "close_j") - 1
    assert whole.filter((pl.col("drift") - drift).abs() > 1e-9).is_empty()
    assert (whole["drifted"] == (whole["drift"] > 0.03)).all()
    # A baseline that others on this machine spoiled is not in the mean.
    ratios = [(row, row["tactic_j"] / row["energy_ratio"]) for row in whole.iter_rows(named=True)]
    for row, reference_j in ratios:
        alone = any("with the other alone" in flag for flag in row["flags"])
        means = (row["open_j"], row["close_j"]) if alone else ((row["open_j"] + row["close_j"]) / 2,)
        assert any(abs(reference_j / mean - 1) < 1e-9 for mean in means)
    assert (
        table.filter(pl.col("visit") == 1).select("close_j", "drift", "drifted").null_count().row(0)
        == (len(tactics_of(served(story.cut))),) * 3
    )
    assert table["energy_low"].null_count() == table.height  # one round
    assert table["active_ratio"].null_count() == 0
    assert (table["active_ratio"] > 0).all()


def test_the_report_says_which_comparisons_were_cut_short(story: Story) -> None:
    text = (story.out / "report.md").read_text()
    count = len(tactics_of(served(story.cut)))
    assert f"Cut short: {count} of {len(TACTICS) + 1} comparisons have an opening baseline only" in text
    assert "Gross and active" in text

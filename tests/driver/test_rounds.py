"""Rounds between bounds: what the first ones leave unsure is measured again, and a resume asks for nothing else.

Workers are pretended, but their rows are in a real store and the analysis that is asked is the real one.
"""

import math
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from greenray.cli.plan import print_plan
from greenray.config.spec import SweepConfig
from greenray.driver.ledger import Stored
from greenray.driver.loop import VisitLoop
from greenray.driver.plan import Plan
from greenray.driver.progress import Interrupts
from greenray.store import tables
from greenray.store.base import Store
from greenray.store.registry import open_store
from greenray.worker.assignment import Assignment
from tests.driver.pretend_pool import Act, Notes, PretendPool, config_of, fresh, result_of, row_of, slot
from tests.support.running import cells

SPREAD = {"compile": 0.05, "prune-local": 0.001}
"""How far processes vary under a tactic, as a log ratio: one is far from the target, the other within."""
BUSY = "neighbours kept 1.00 of 2 processors busy"
CONFIG = config_of(fresh(*SPREAD, rounds={"min": 3, "max": 6}), measure={"target_ci": 0.02})


def writer(store: Store, *, contended: Callable[[Assignment], bool] = lambda _: False) -> Callable[[Assignment], Act]:
    """Workers that commit a window a cell; what they measure depends on the cell alone."""

    def script(assignment: Assignment) -> Act:
        cell = assignment.cell
        joules = math.exp(random.Random(cell.cell_id).gauss(0, SPREAD.get(cell.tactic_slug, 0.0005)))
        window = {
            "window": 0,
            "kind": "steady",
            "start_monotonic_s": 0.0,
            "end_monotonic_s": 1.0,
            "duration_s": 1.0,
            "samples": 100,
            "total_energy_j": 100 * joules,
            "energy_scope": "cpu",
            "contention": BUSY if contended(assignment) else None,
            "grade": "A",
        }
        row = row_of(assignment, result_of(cell, attempt=assignment.attempt, visit=assignment.visit))

        def commit() -> None:
            assert tables.commit(store, sweep="t", tactic=cell.tactic_slug, cell=row, windows=[window])

        return Act(first=commit)

    return script


def run(store: Store, script: Callable[[Assignment], Act], config: SweepConfig = CONFIG) -> Notes:
    """A sweep, or what is left of it."""
    pool, notes = PretendPool(slot("a")), Notes()
    pool.script = script
    plan = Plan(config, stored=Stored.read(store), auto_device="cpu")
    tables.write_manifest(store, sweep="t", manifest=plan.manifest([slot("a").info]))
    VisitLoop(plan, store=store, pool=pool, watcher=notes, interrupts=Interrupts(), clock=lambda: pool.now).run()
    return notes


def rounds_of(store: Store, tactic: str) -> list[int]:
    return sorted(cells(Path(store.address)).filter(tactic=tactic)["round"])


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "out")


def test_what_is_not_precise_enough_gets_more_rounds_and_what_is_stops(store: Store) -> None:
    notes = run(store, writer(store))
    assert rounds_of(store, "prune-local") == [1, 2, 3]
    assert rounds_of(store, "compile") == [1, 2, 3, 4, 5, 6]
    assert [text for text in notes.said if "3 cells more" in text]
    later = [result for result in notes.results if result.visit is not None][-9:]
    assert [result.bracket or result.tactic for result in later] == ["open", "compile", "close"] * 3


def test_a_resume_and_a_plan_want_the_same(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    run(store, writer(store))
    before = cells(Path(store.address)).height
    assert run(store, writer(store)).results == []
    assert cells(Path(store.address)).height == before
    print_plan(CONFIG, store=store, console=Console(width=200))
    said = capsys.readouterr().out
    assert "9 cells in 6 blocks, 9 done" in said
    assert "nothing left to run" in said
    print_plan(CONFIG, store=open_store(Path(store.address).parent / "new"), console=Console(width=200))
    said = capsys.readouterr().out
    assert "6 cells in 3 blocks, 0 done" in said
    assert "then further rounds, 6 in all at most, of what is not known within ±2 %" in said


def test_a_round_that_neighbours_spoiled_is_made_up_for_and_a_host_that_is_never_quiet_is_not(
    store: Store, tmp_path: Path
) -> None:
    precise = config_of(fresh("prune-local", rounds={"min": 3, "max": 6}), measure={"target_ci": 0.02})
    run(store, writer(store, contended=lambda assignment: assignment.cell.round == 2), precise)
    assert rounds_of(store, "prune-local") == [1, 2, 3, 4]
    never = open_store(tmp_path / "never")
    run(never, writer(never, contended=lambda _: True), precise)
    assert rounds_of(never, "prune-local") == [1, 2, 3]

"""A driver that was stopped for a while (Ctrl-Z, fg) holds against nobody the time in which it did not listen."""

from pathlib import Path

from greenray.driver.loop import VisitLoop
from greenray.driver.progress import Interrupts
from greenray.store.registry import open_store
from tests.driver.pretend_pool import CELL_S, Act, Notes, PretendPool, fresh, plan_of, slot


def swept(out: Path, pool: PretendPool) -> Notes:
    notes = Notes()
    plan = plan_of(fresh("compile"), limits={"cell_timeout_s": 100.0, "max_attempts": 2})
    store, interrupts = open_store(out), Interrupts()
    VisitLoop(plan, store=store, pool=pool, watcher=notes, interrupts=interrupts, clock=lambda: pool.now).run()
    return notes


def stop(pool: PretendPool, *, at: float, seconds: float) -> None:
    def wake_up() -> None:
        pool.now += seconds

    pool.at(at, wake_up)


def all_well(notes: Notes) -> bool:
    ends = [(result.bracket or result.tactic, result.visit, result.status) for result in notes.results]
    return ends == [("open", 1, "ok"), ("compile", 1, "ok"), ("close", 1, "ok")]


def test_a_visit_that_ended_meanwhile_does_not_look_like_a_minute_without_workers(tmp_path: Path) -> None:
    pool = PretendPool(slot("a"))
    stop(pool, at=5.0 + 2.5 * CELL_S, seconds=120.0)
    assert all_well(swept(tmp_path, pool))


def test_a_cell_that_was_stopped_as_well_is_not_given_up(tmp_path: Path) -> None:
    pool = PretendPool(slot("a"), script=lambda assignment: Act(seconds=620.0 if assignment.order_in_visit == 1 else CELL_S))
    stop(pool, at=5.0 + 1.5 * CELL_S, seconds=600.0)
    assert all_well(swept(tmp_path, pool))
    assert not pool.gone


def test_nor_is_a_reading_of_idle_power(tmp_path: Path) -> None:
    pool = PretendPool(slot("a"))
    pool.idle_act = Act(seconds=305.0)
    stop(pool, at=2.0, seconds=300.0)
    assert all_well(swept(tmp_path, pool))
    assert not pool.gone

"""The loop over visits, with a pool that is pretended and a store that is not: who runs what, and what follows from each end."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from greenray.driver.loop import VisitLoop
from greenray.driver.plan import Plan
from greenray.driver.progress import Interrupts, StopNow
from greenray.errors import ResourceError
from greenray.power.sharing import IdlePower
from greenray.store import tables
from greenray.store.base import Store
from greenray.store.registry import open_store
from greenray.worker.assignment import Assignment, AttemptResult
from tests.driver.pretend_pool import CELL_S, TRAIN, Act, Notes, PretendPool, fresh, plan_of, result_of, row_of, serve, slot
from tests.support.running import cells

FOUR = fresh("compile", "prune-local", "prune-global", "bf16")
LIMITS = {"cell_timeout_s": 100.0, "max_attempts": 2}


class Sweep:
    """A loop, ready to run, over a plan and a pool."""

    def __init__(self, out: Path, pool: PretendPool, *experiments: dict[str, Any], **config: Any) -> None:
        self.out = out
        self.store: Store = open_store(out)
        self.pool = pool
        self.plan: Plan = plan_of(*experiments, **{"limits": LIMITS, **config})
        self.notes = Notes()
        self.interrupts = Interrupts()

    def run(self) -> "Sweep":
        VisitLoop(
            self.plan,
            store=self.store,
            pool=self.pool,
            watcher=self.notes,
            interrupts=self.interrupts,
            clock=lambda: self.pool.now,
        ).run()
        return self

    def ended(self) -> list[tuple[str, int | None, str]]:
        """Tactic or bracket, visit and status of every attempt, in the order in which they ended."""
        return [(result.bracket or result.tactic, result.visit, result.status) for result in self.notes.results]

    def rows(self) -> list[dict[str, Any]]:
        """What this side has written; pretended workers write nothing."""
        return cells(self.out).to_dicts()


def when(**acts: Act) -> Callable[[Assignment], Act]:
    """What becomes of a tactic's first attempt, by its name with _ for -; brackets are `open` and `close`."""

    def script(assignment: Assignment) -> Act:
        name = (assignment.cell.bracket or assignment.cell.tactic_slug).replace("-", "_")
        return acts.get(name, Act()) if assignment.attempt == 1 and (assignment.visit or 1) == 1 else Act()

    return script


def overlapping(pool: PretendPool) -> bool:
    """Whether two cells ever ran at once on one machine."""
    runs = pool.began
    return any(
        a is not b and a.machine == b.machine and a.began_s < b.ended_s and b.began_s < a.ended_s for a in runs for b in runs
    )


def test_a_visit_runs_whole_on_one_worker_with_its_brackets(tmp_path: Path) -> None:
    pool = PretendPool(slot("a"), slot("b", machine="n"))
    sweep = Sweep(tmp_path, pool, FOUR).run()
    assert {run.worker for run in pool.began} == {"a"}
    assert [run.assignment.order_in_visit for run in pool.began] == list(range(6))
    assert {(run.assignment.visit, run.assignment.attempt) for run in pool.began} == {(1, 1)}
    assert (pool.began[0].what, pool.began[-1].what) == ("open", "close")
    assert {status for _, _, status in sweep.ended()} == {"ok"}
    assert sweep.plan.settled() == len(sweep.plan.cells) == 4
    last = sweep.notes.snapshots[-1]
    assert (last.done, last.total, last.failed) == (6, 6, 0)


def test_blocks_go_to_as_many_workers_as_there_are_and_serving_waits_for_its_training(tmp_path: Path) -> None:
    pool = PretendPool(slot("a"), slot("b", machine="n"))
    sweep = Sweep(tmp_path, pool, TRAIN, serve("compile"), fresh("compile", name="other", batch_sizes=[7])).run()
    first, second = pool.began[:2]
    assert {first.worker, second.worker} == {"a", "b"}
    trained = next(run for run in pool.began if run.assignment.cell.phase == "training")
    needy = [run for run in pool.began if run.assignment.cell.model.source == "checkpoint"]
    assert all(run.began_s >= trained.ended_s for run in needy)
    assert sweep.plan.settled() == 3


def test_a_worker_that_dies_costs_its_cell_a_row_and_the_rest_goes_on_elsewhere(tmp_path: Path) -> None:
    pool = PretendPool(slot("a"), slot("b", machine="n", idle_since_s=1.0))
    order = [cell.tactic_slug for cell in plan_of(FOUR).next_visit(plan_of(FOUR).blocks[0]).cells[1:-1]]
    pool.script = when(**{order[1].replace("-", "_"): Act(seconds=3.0, dies="its process on host-of-m ended (killed)")})
    sweep = Sweep(tmp_path, pool, FOUR).run()
    (row,) = sweep.rows()
    assert (row["tactic"], row["status"], row["error_kind"], row["visit"]) == (order[1], "crashed", "worker", 1)
    assert row["error"] == "the worker ended with it: its process on host-of-m ended (killed)"
    assert (row["host"], row["duration_s"], row["energy_j"]) == ("host-of-m", 3.0, None)
    assert pool.gone == [("a", "its process on host-of-m ended (killed)")]
    second = [run for run in pool.began if run.assignment.visit == 2]
    assert {run.worker for run in second} == {"b"}
    assert [second[0].what, second[-1].what] == ["open", "close"]
    assert {run.what for run in second[1:-1]} == set(order[1:])  # what was settled does not run again
    assert next(run for run in second if run.what == order[1]).assignment.attempt == 2


def test_what_an_earlier_round_gave_up_gets_a_row_in_the_later_ones_and_no_time(tmp_path: Path) -> None:
    unsupported = Act(result={"status": "unsupported", "error": "it needs another processor"})
    pool = PretendPool(slot("a"), script=lambda assignment: unsupported if assignment.cell.tactic_slug == "bf16" else Act())
    sweep = Sweep(tmp_path, pool, fresh("compile", "bf16", rounds=3)).run()
    assert [run.what for run in pool.began].count("bf16") == 1
    assert [run.what for run in pool.began].count("compile") == 3
    rows = sweep.rows()
    assert [(row["tactic"], row["round"], row["status"]) for row in rows] == [
        ("bf16", 2, "unsupported"),
        ("bf16", 3, "unsupported"),
    ]
    assert {row["error"] for row in rows} == {"not tried: an earlier round ended so (it needs another processor)"}
    assert sweep.plan.settled() == 6
    assert sweep.plan.failures() == 0


def test_a_worker_that_dies_after_it_had_committed_costs_nothing(tmp_path: Path) -> None:
    pool = PretendPool(slot("a"), slot("b", machine="n"))
    sweep = Sweep(tmp_path, pool, FOUR)

    def script(assignment: Assignment) -> Act:
        if assignment.cell.tactic_slug != "compile" or assignment.attempt > 1:
            return Act()

        def commit() -> None:
            row = row_of(assignment, result_of(assignment.cell, energy_j=12.0))
            assert tables.commit(sweep.store, sweep="t", tactic="compile", cell=row)

        return Act(dies="gone", first=commit)

    pool.script = script
    sweep.run()
    (row,) = sweep.rows()
    assert (row["status"], row["energy_j"], row["attempt"]) == ("ok", 12.0, 1)
    (told,) = [result for result in sweep.notes.results if result.tactic == "compile"]
    assert (told.status, told.energy_j) == ("ok", 12.0)
    assert sum(run.what == "compile" for run in pool.began) == 1


def test_a_gpu_that_is_refused_gets_nothing_more_and_its_visit_goes_on_elsewhere(tmp_path: Path) -> None:
    pool = PretendPool(
        slot("a", cuda=True), slot("b", machine="n", cuda=True), script=when(compile=Act(refused="it is in MIG mode"))
    )
    sweep = Sweep(tmp_path, pool, fresh("compile", "bf16", devices=("cuda",)))
    sweep.run()
    assert pool.refused == [("a", "it is in MIG mode")]
    assert not tmp_path.joinpath("cells").exists()  # it had not begun, so nothing happened
    at = next(index for index, run in enumerate(pool.began) if run.what == "compile")
    assert {run.worker for run in pool.began[at + 1 :]} == {"b"}
    assert sweep.plan.settled() == 2


def test_a_gpu_that_is_lost_with_a_cell_is_refused_and_the_cell_counts(tmp_path: Path) -> None:
    pool = PretendPool(slot("a", cuda=True), slot("b", machine="n", cuda=True))
    pool.script = when(open=Act(result={"gpu_lost": "it is lost: it no longer answers"}))
    sweep = Sweep(tmp_path, pool, fresh("compile", devices=("cuda",))).run()
    assert pool.refused == [("a", "it is lost: it no longer answers")]
    assert sweep.ended() == [("open", 1, "ok"), ("open", 2, "ok"), ("compile", 2, "ok"), ("close", 2, "ok")]


def test_a_training_that_fails_for_good_leaves_rows_for_those_who_wait_for_it(tmp_path: Path) -> None:
    pool = PretendPool(slot("a"))
    pool.script = lambda assignment: Act(result={"status": "oom", "error": "too much", "error_kind": "memory"})
    sweep = Sweep(tmp_path, pool, TRAIN, serve("compile", "bf16")).run()
    assert [run.assignment.attempt for run in pool.began] == [1, 2]
    rows = sweep.rows()
    assert {(row["tactic"], row["status"], row["error_kind"]) for row in rows} == {
        ("compile", "failed", "dependency"),
        ("bf16", "failed", "dependency"),
    }
    training = pool.began[0].assignment.cell
    assert {row["error"] for row in rows} == {f"its checkpoint is missing: training cell {training.cell_id} is not ok"}
    assert sweep.plan.failures() == 3
    last = sweep.notes.snapshots[-1]
    assert (last.done, last.total, last.failed) == (3, 3, 3)


def test_what_can_never_succeed_is_not_tried_twice_and_what_may_is_within_the_visit(tmp_path: Path) -> None:
    never = {"status": "failed", "error": "name it under trust:", "error_kind": "refused"}
    once = {"status": "crashed", "error": "SIGSEGV", "error_kind": "signal"}
    pool = PretendPool(slot("a"), script=when(compile=Act(result=never), bf16=Act(result=once)))
    sweep = Sweep(tmp_path, pool, fresh("compile", "bf16")).run()
    assert sorted((run.what, run.assignment.attempt) for run in pool.began if run.what in ("compile", "bf16")) == [
        ("bf16", 1),
        ("bf16", 2),
        ("compile", 1),
    ]
    assert {run.assignment.visit for run in pool.began} == {1}
    assert sweep.plan.failures() == 1


def test_a_cell_long_past_its_deadline_is_given_up_with_its_worker(tmp_path: Path) -> None:
    pool = PretendPool(slot("a"), script=when(compile=Act(seconds=None)))
    pool.spare = [slot("a2")]
    sweep = Sweep(tmp_path, pool, fresh("compile")).run()
    (row,) = sweep.rows()
    assert (row["status"], row["error_kind"]) == ("timeout", "worker")
    assert row["error"] == "the worker ended with it: it did not answer within 250 s"
    assert 250 < row["duration_s"] < 251
    assert pool.gone == [("a", "it did not answer within 250 s")]
    assert sweep.ended()[-3:] == [("open", 2, "ok"), ("compile", 2, "ok"), ("close", 2, "ok")]


def test_ctrl_c_once_lets_the_cells_in_flight_end(tmp_path: Path) -> None:
    pool = PretendPool(slot("a"), slot("b", machine="n"))
    sweep = Sweep(tmp_path, pool, FOUR, fresh("compile", name="other", batch_sizes=[7]))

    def ctrl_c() -> None:
        sweep.interrupts.count += 1

    pool.at(5.0 + 1.5 * CELL_S, ctrl_c)
    with pytest.raises(StopNow):
        sweep.run()
    assert len(sweep.notes.results) == len(pool.began) == 4  # two had ended, two were in flight
    assert sweep.notes.said == ["finishing the cells in flight, at most 100 s; Ctrl-C again stops now"]
    assert pool.now == pytest.approx(1000 + 5 + 2 * CELL_S, abs=1)


def test_ctrl_c_twice_stops_now(tmp_path: Path) -> None:
    pool = PretendPool(slot("a"), script=when(compile=Act(seconds=None)))
    sweep = Sweep(tmp_path, pool, fresh("compile"))

    def ctrl_c() -> None:
        sweep.interrupts.count += 1

    pool.at(20.0, ctrl_c)
    pool.at(40.0, ctrl_c)
    with pytest.raises(StopNow):
        sweep.run()
    assert pool.now == pytest.approx(1040, abs=1)
    assert sweep.ended() == [("open", 1, "ok")]


def test_ctrl_c_while_idle_power_is_read_waits_for_nothing(tmp_path: Path) -> None:
    pool = PretendPool(slot("a"))
    sweep = Sweep(tmp_path, pool, fresh("compile"))
    pool.at(2.0, lambda: setattr(sweep.interrupts, "count", 1))
    with pytest.raises(StopNow):
        sweep.run()
    assert pool.now == pytest.approx(1002, abs=1)
    assert not pool.began


def test_the_sweep_ends_a_minute_after_its_last_worker(tmp_path: Path) -> None:
    pool = PretendPool(slot("a", cuda=True), slot("b", machine="n"), script=when(compile=Act(refused="it is lost")))
    sweep = Sweep(tmp_path, pool, fresh("compile", devices=("cuda",)))
    with pytest.raises(ResourceError, match="no worker is left that can run the rest; it is lost"):
        sweep.run()
    assert pool.now == pytest.approx(1000 + 5 + CELL_S + CELL_S + 60, abs=1)


def test_a_worker_that_is_still_starting_is_waited_for(tmp_path: Path) -> None:
    pool = PretendPool()
    pool.starting = 1

    def up() -> None:
        pool.starting = 0
        pool.workers.append(slot("late"))

    pool.at(100.0, up)
    sweep = Sweep(tmp_path, pool, fresh("compile")).run()
    assert sweep.plan.settled() == 1
    pool = PretendPool()
    with pytest.raises(ResourceError, match="no worker is left"):
        Sweep(tmp_path / "other", pool, fresh("compile")).run()
    assert pool.now == pytest.approx(1060, abs=1)


@pytest.mark.parametrize(("exclusive", "at_once", "sharing"), [("auto", False, 1), (True, False, 1), (False, True, 2)])
def test_cpu_cells_have_their_host_to_themselves_unless_told_otherwise(
    tmp_path: Path, exclusive: bool | str, at_once: bool, sharing: int
) -> None:
    pool = PretendPool(slot("a"), slot("b"))
    two = [fresh("compile"), fresh("compile", name="other", batch_sizes=[7])]
    Sweep(tmp_path, pool, *two, host={"exclusive_hosts": exclusive}).run()
    assert overlapping(pool) is at_once
    assert {run.assignment.workers_sharing for run in pool.began} == {sharing}


def test_gpu_cells_of_one_host_run_side_by_side_and_its_cpu_cells_alone(tmp_path: Path) -> None:
    pool = PretendPool(slot("a", cuda=True), slot("b", cuda=True))
    both = fresh("compile", devices=("cuda", "cpu"), batch_sizes=[4, 8])
    Sweep(tmp_path, pool, both).run()
    on_gpu = [run for run in pool.began if run.assignment.cell.device == "cuda"]
    alone = [run for run in pool.began if run.assignment.cell.device == "cpu"]
    assert {run.assignment.workers_sharing for run in on_gpu} == {2}
    assert max(run.began_s for run in on_gpu) < min(run.began_s for run in alone)  # GPUs first
    assert not any(a.began_s < b.ended_s and b.began_s < a.ended_s for a in alone for b in pool.began if a is not b)


def test_reading_idle_power_holds_up_its_own_machine_and_no_other(tmp_path: Path) -> None:
    pool = PretendPool(slot("a"), slot("a2"), slot("b", machine="n", idle_since_s=1.0))
    pool.idle_act = Act(seconds=20.0)
    blocks = [fresh("compile", batch_sizes=[4, 5, 6, 7])]
    Sweep(tmp_path, pool, *blocks, host={"exclusive_hosts": False}).run()
    assert pool.readings[:2] == [("m", 1000.0), ("n", 1000.0)]  # both at once
    assert {run.began_s for run in pool.began[:3]} == {1020.0}
    for machine, began_s in pool.readings:
        busy = [run for run in pool.began if run.machine == machine]
        assert not any(run.began_s < began_s + 20.0 and run.ended_s > began_s for run in busy)
    assert {run.assignment.idle for run in pool.began} == {IdlePower(cpu_w=7.0, source="rapl", seconds=5.0)}


def test_a_machine_that_is_drained_reads_again_while_others_go_on(tmp_path: Path) -> None:
    pool = PretendPool(slot("a"), slot("b", machine="n", idle_since_s=1.0))
    pool.idle_act = Act(seconds=500.0)  # longer than the loop has patience
    pool.script = lambda assignment: Act(seconds=250.0)  # of a block long enough for a reading to be out of date
    pool.at(0.1, lambda: setattr(pool, "idle_act", Act(seconds=5.0)))
    pool.spare = [slot("a3"), slot("b3", machine="n")]
    sweep = Sweep(tmp_path, pool, fresh("compile", batch_sizes=[4, 5, 6])).run()
    assert [name for name, _ in pool.gone] == ["a", "b"]
    assert all("did not read its idle power within 35 s" in reason for _, reason in pool.gone)
    assert not tmp_path.joinpath("cells").exists()  # no cell was lost with them
    assert sweep.plan.settled() == 3
    late = [reading for reading in pool.readings if reading[1] > 1000 + 600]
    assert late  # the third block waits for a drained machine, which is read again ...
    others = [run for run in pool.began if run.machine != late[0][0]]
    assert any(run.began_s <= late[0][1] <= run.ended_s for run in others)  # ... while the other one computes


def test_a_worker_that_dies_over_its_idle_reading_is_replaced(tmp_path: Path) -> None:
    pool = PretendPool(slot("a"))
    pool.idle_act = Act(seconds=2.0, dies="its process ended")
    pool.at(2.0, lambda: setattr(pool, "idle_act", Act(seconds=5.0)))
    pool.spare = [slot("a2")]
    sweep = Sweep(tmp_path, pool, fresh("compile")).run()
    assert pool.gone == [("a", "its process ended")]
    assert {run.worker for run in pool.began} == {"a2"}
    assert [run.assignment.attempt for run in pool.began] == [1, 1, 1]
    assert sweep.plan.failures() == 0


def test_what_is_shown_of_a_running_sweep(tmp_path: Path) -> None:
    known = plan_of(FOUR)
    (block,) = known.blocks
    before: list[AttemptResult] = [result_of(block.bracket("open", visit=1), duration_s=30.0)]
    pool = PretendPool(slot("a"), script=lambda assignment: Act(seconds=30.0))
    sweep = Sweep(tmp_path, pool, FOUR, results=before).run()
    views = [snapshot for snapshot in sweep.notes.snapshots if snapshot.workers and snapshot.workers[0].cell]
    first = views[0]
    assert first.workers[0].cell == "vit-tiny baseline (open) cpu batch 32"
    assert (first.done, first.total, first.eta_s) == (0, 6, 180.0)
    assert views[-1].eta_s == 30.0
    assert sweep.notes.snapshots[-1].eta_s is None

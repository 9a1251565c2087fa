"""The loop over visits, with a pool that is pretended and a store that is not: who runs what, and what follows from each end."""

from pathlib import Path

import pytest

from greenray.driver.pool import Starting
from greenray.driver.progress import StopNow
from greenray.errors import ResourceError
from greenray.store import tables
from greenray.worker.assignment import Assignment, AttemptResult
from tests.driver.looping import FOUR, Sweep, when
from tests.driver.pretend_pool import CELL_S, TRAIN, Act, PretendPool, fresh, plan_of, result_of, row_of, serve, slot


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
    assert row["error"] == "the worker ended with it: it did not answer within 430 s"
    assert 430 < row["duration_s"] < 431
    assert pool.gone == [("a", "it did not answer within 430 s")]
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
    pool.starting = [Starting(host="host-of-m", since_s=7.0)]

    def up() -> None:
        pool.starting = []
        pool.workers.append(slot("late"))

    pool.at(100.0, up)
    sweep = Sweep(tmp_path, pool, fresh("compile")).run()
    assert sweep.plan.settled() == 1
    assert {worker.host for worker in sweep.notes.waited_for} == {"host-of-m"}
    pool = PretendPool()
    with pytest.raises(ResourceError, match="no worker is left"):
        Sweep(tmp_path / "other", pool, fresh("compile")).run()
    assert pool.now == pytest.approx(1060, abs=1)


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

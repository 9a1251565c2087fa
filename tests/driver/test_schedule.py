"""Who runs next: pending = declared - settled, whole visits, and hosts that are or are not shared."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenray.driver.plan import Plan, Schedule, Visit, assign
from greenray.worker.assignment import AttemptResult
from tests.driver.pretend_pool import TRAIN, fresh, plan_of, result_of, serve, slot

SERVED = serve("compile", "prune-local")
(TRAINING, SERVING) = plan_of(TRAIN, SERVED).blocks
(TRAINED,) = TRAINING.cells


def schedule(*results: AttemptResult, of: tuple[dict[str, Any], ...] = (TRAIN, SERVED)) -> Schedule:
    return Schedule(plan_of(*of, results=results))


def tactics(visit: Visit) -> list[str]:
    return [cell.bracket or cell.tactic_slug for cell in visit.cells]


def test_serving_waits_for_its_checkpoint() -> None:
    assert [visit.block.block_id for visit in schedule().ready()] == [TRAINING.block_id]
    (visit,) = schedule(result_of(TRAINED)).ready()
    assert sorted(tactics(visit)[1:-1]) == ["compile", "prune-local"]
    assert (tactics(visit)[0], tactics(visit)[-1], visit.number) == ("open", "close", 1)


def test_a_training_that_failed_for_good_leaves_orphans_once_and_revives_them() -> None:
    failed = [result_of(TRAINED, "crashed", attempt=n) for n in (1, 2)]
    lost = schedule(*failed)
    assert not lost.ready()
    assert [cell.cell_id for cell, _ in lost.orphans()] == [cell.cell_id for cell in SERVING.cells]
    assert not lost.finished()  # a row is still to say so
    assert lost.remaining() == []  # nobody will ever run them
    noted = [result_of(cell, "failed", error_kind="dependency", attempt=n) for cell in SERVING.cells for n in (1, 2)]
    told = schedule(*failed, *noted)
    assert not told.orphans()
    assert told.finished()
    revived = schedule(*failed, result_of(TRAINED, attempt=3), *noted)
    assert tactics(revived.ready()[0]).count("compile") == 1


def test_a_finished_store_takes_a_new_tactic_and_runs_only_it_and_its_brackets() -> None:
    done = [result_of(cell) for cell in (TRAINED, *SERVING.cells)]
    done += [result_of(SERVING.bracket(kind, visit=1)) for kind in ("open", "close")]
    assert schedule(*done).finished()
    (visit,) = schedule(*done, of=(TRAIN, serve("compile", "prune-local", "prune-global"))).ready()
    assert tactics(visit) == ["open", "prune-global", "close"]
    assert visit.number == 2


def test_what_is_open_is_not_handed_out_twice_and_comes_back_as_a_new_visit() -> None:
    plan = plan_of(TRAIN, SERVED, results=[result_of(TRAINED)])
    visits = Schedule(plan)
    (first,) = visits.ready()
    visits.begin(first)
    assert not visits.ready()
    assert not visits.finished()
    for cell in first.cells[:2]:
        plan.ledger.record(result_of(cell, visit=1))
    visits.end(first)  # its worker died
    (second,) = visits.ready()
    assert second.number == 2
    assert {c.cell_id for c in second.cells[1:-1]} == {c.cell_id for c in first.cells[2:-1]}


@pytest.mark.parametrize(
    ("statuses", "settled"),
    [
        (["ok"], True),
        (["unsupported"], True),
        (["not_applied"], True),
        (["crashed"], False),
        (["crashed", "timeout"], True),
        (["crashed", "ok"], True),
        (["ok", "crashed"], True),
    ],
)
def test_when_a_cell_is_settled(statuses: list[str], settled: bool) -> None:
    ends = [result_of(TRAINED, status, attempt=n) for n, status in enumerate(statuses, 1)]
    assert schedule(*ends, of=(TRAIN,)).finished() is settled


def test_an_ok_attempt_counts_whatever_came_after_it() -> None:
    ends = [result_of(TRAINED, status, attempt=n) for n, status in enumerate(("failed", "ok", "crashed"), 1)]
    plan = plan_of(TRAIN, results=ends, limits={"max_attempts": 9})
    assert plan.ledger.state(TRAINED.cell_id).result == ends[1]
    assert plan.settled() == 1
    assert plan.failures() == 0


def test_what_can_never_succeed_is_settled_at_once_and_who_waits_for_it_is_told() -> None:
    refused = schedule(result_of(TRAINED, "failed", error_kind="refused"))
    assert not refused.ready()
    assert len(refused.orphans()) == 2


def test_what_had_no_model_or_data_is_tried_in_later_rounds_and_by_the_next_run() -> None:
    plan = plan_of(fresh("compile", rounds=2))
    first, second = sorted(plan.cells.values(), key=lambda cell: cell.round)
    ends = [result_of(first, "failed", error_kind="resource", attempt=n) for n in (1, 2)]
    for end in ends:
        plan.ledger.record(end)
    assert plan.ledger.settled(first.cell_id)  # for now
    assert plan.untold() == []
    assert [visit.cells[1] for visit in Schedule(plan).ready()] == [second]
    later = plan_of(fresh("compile", rounds=2), results=ends)
    assert [visit.cells[1] for visit in Schedule(later).ready()] == [first, second]
    assert later.ledger.state(first.cell_id).highest_attempt == 2


def test_what_is_withheld_is_tried_again_by_the_next_run_alone() -> None:
    plan = plan_of(fresh("compile", rounds=2))
    first, second = sorted(plan.cells.values(), key=lambda cell: cell.round)
    end = result_of(first, "failed", error_kind="withheld")
    plan.ledger.record(end)
    assert plan.untold() == [(second, end)]
    assert not Schedule(plan).ready()
    told = result_of(second, "failed", error_kind="dependency")
    later = plan_of(fresh("compile", rounds=2), results=[end, told])
    assert [visit.cells[1] for visit in Schedule(later).ready()] == [first, second]


def test_what_is_asked_many_times_a_second_is_found_once_until_something_changes() -> None:
    plan = plan_of(fresh("compile", "prune-local"))
    visits = Schedule(plan)
    assert visits.ready() is visits.ready()
    assert visits.remaining() is visits.remaining()
    (visit,) = before = visits.ready()
    visits.begin(visit)
    assert (visits.ready(), visits.remaining()) == ([], [])
    plan.ledger.record(result_of(visit.cells[1], visit=1))
    visits.end(visit)
    (after,) = visits.ready()
    assert (len(after.cells), len(before[0].cells)) == (3, 4)
    assert len(visits.remaining()) == 3


MODELS = [{"architecture": name, "preset": "tiny"} for name in ("vit", "resnet", "convnext", "swin")]


def test_every_model_is_visited_once_before_any_is_visited_again_each_time_in_another_order() -> None:
    def orders(seed: int) -> list[list[str]]:
        visits = Schedule(plan_of(serve("compile", models=MODELS, rounds=6), seed=seed)).ready()
        assert [visit.cells[0].round for visit in visits] == sorted(4 * [*range(1, 7)])
        return [[visit.cells[0].model.label for visit in visits[at : at + 4]] for at in range(0, 24, 4)]

    assert all(len(set(order)) == 4 for order in orders(0))
    assert len({tuple(order) for order in orders(0)}) > 1
    assert orders(0) == orders(0) != orders(1)


def test_training_comes_before_what_does_not_need_it() -> None:
    (first, *_) = schedule(of=(serve("compile", models=MODELS), TRAIN)).ready()
    assert first.cells[0].phase == "training"


def test_between_bounds_the_least_rounds_run_until_more_are_wanted() -> None:
    plan = plan_of(fresh("compile", "prune-local", rounds={"min": 3, "max": 5}))
    assert sorted(cell.round for cell in plan.cells.values()) == [1, 1, 2, 2, 3, 3]
    for cell in plan.cells.values():
        plan.ledger.record(result_of(cell))
    visits = Schedule(plan)
    assert visits.finished()
    first = next(cell for cell in plan.cells.values() if cell.tactic_slug == "compile")
    assert plan.want({first.repeated_id: 5}) == 2
    assert [tactics(visit) for visit in visits.ready()] == [["open", "compile", "close"]] * 2
    assert [visit.cells[1].round for visit in visits.ready()] == [4, 5]
    assert plan.want({first.repeated_id: 3, "r1-unknown": 9}) == 0  # what is wanted stays wanted


def test_what_ended_badly_for_good_is_not_tried_again_in_every_round_unless_a_round_of_it_was_ok() -> None:
    plan = plan_of(fresh("compile", "prune-local", rounds=3), limits={"max_attempts": 2})
    by_round = {cell.round: cell for cell in plan.cells.values() if cell.tactic_slug == "compile"}
    plan.ledger.record(result_of(by_round[1], "timeout"))
    assert plan.untold() == []  # it has another attempt
    plan.ledger.record(result_of(by_round[1], "timeout", attempt=2))
    assert [(cell.round, end.status) for cell, end in plan.untold()] == [(2, "timeout"), (3, "timeout")]
    assert [tactics(visit) for visit in Schedule(plan).ready()] == [["open", "prune-local", "close"]] * 3
    for cell, end in plan.untold():
        plan.ledger.record(result_of(cell, end.status, error_kind="dependency"))
    assert plan.untold() == []
    for cell in plan.cells.values():
        if cell.tactic_slug == "prune-local":
            plan.ledger.record(result_of(cell))
    assert Schedule(plan).finished()
    assert plan.failures() == 3
    plan.ledger.record(result_of(by_round[2], attempt=2))  # the same config with more attempts
    assert [tactics(visit) for visit in Schedule(plan).ready()] == [["open", "compile", "close"]]


def both_arms() -> tuple[list[Visit], Visit, Visit]:
    visits = schedule(result_of(TRAINED), of=(TRAIN, serve("compile", devices=("cuda", "cpu")))).ready()
    by_device = {visit.block.device: visit for visit in visits}
    return visits, by_device["cuda"], by_device["cpu"]


def test_gpus_first_then_the_cpu_stretch_on_a_drained_host() -> None:
    visits, cuda, cpu = both_arms()
    a, b = slot("a", cuda=True), slot("b", cuda=True)
    assert assign(visits=visits, idle=[a], running={}, exclusive_hosts="auto") == (cuda, a)
    busy = {"m": [cuda.cells[0]]}
    assert assign(visits=[cpu], idle=[b], running=busy, exclusive_hosts="auto") is None
    assert assign(visits=[cpu], idle=[b], running=busy, exclusive_hosts=False) == (cpu, b)
    stretch = {"m": [cpu.cells[0]]}
    assert assign(visits=visits, idle=[b], running=stretch, exclusive_hosts="auto") is None


def test_exclusive_hosts_run_one_cell_at_a_time() -> None:
    visits, cuda, _ = both_arms()
    busy = {"m": [cuda.cells[0]]}
    b, c = slot("b", cuda=True), slot("c", machine="n", cuda=True)
    assert assign(visits=visits, idle=[b], running=busy, exclusive_hosts=True) is None
    assert assign(visits=visits, idle=[b, c], running=busy, exclusive_hosts=True) == (cuda, c)


def test_a_host_without_a_gpu_takes_cpu_visits_and_never_cuda() -> None:
    visits, cuda, cpu = both_arms()
    plain = slot("p")
    assert assign(visits=visits, idle=[plain], running={}, exclusive_hosts="auto") == (cpu, plain)
    assert assign(visits=[cuda], idle=[plain], running={}, exclusive_hosts="auto") is None


def test_the_worker_idle_longest_comes_first() -> None:
    visits, cuda, _ = both_arms()
    late, early = slot("late", cuda=True, idle_since_s=9.0), slot("early", cuda=True, idle_since_s=1.0)
    assert assign(visits=visits, idle=[late, early], running={}, exclusive_hosts=False) == (cuda, early)


@given(st.lists(st.sampled_from(["ok", "crashed", "timeout", "unsupported", "die"]), min_size=60, max_size=60))
def test_every_sweep_ends_with_every_cell_settled_or_lost(ends: list[str]) -> None:
    plan: Plan = plan_of(TRAIN, SERVED)
    visits = Schedule(plan)
    ran: list[str] = []
    outcomes = iter(ends)
    for _ in range(40):
        if visits.finished():
            break
        for cell, _ in visits.orphans():
            plan.ledger.record(result_of(cell, "failed", error_kind="dependency"))
        if not visits.ready():
            continue
        visit = visits.ready()[0]
        visits.begin(visit)
        for cell in visit.cells:
            end = next(outcomes, "ok")
            attempt = plan.ledger.state(cell.cell_id).highest_attempt + 1
            plan.ledger.record(result_of(cell, "crashed" if end == "die" else end, attempt=attempt, visit=visit.number))
            ran.append(cell.cell_id)
            if end == "die":
                break
        visits.end(visit)
    assert visits.finished()
    assert all(ran.count(cell_id) <= 2 for cell_id in plan.cells)

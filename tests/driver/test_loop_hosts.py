"""The loop and its machines: who has one to itself, and when the idle power of one is read."""

from pathlib import Path

import pytest

from greenray.power.sharing import IdlePower
from tests.driver.looping import Sweep, overlapping
from tests.driver.pretend_pool import Act, PretendPool, fresh, slot


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

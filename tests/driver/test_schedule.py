"""Who runs next: pending = declared - settled, whole visits, and hosts that are or are not shared."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenray.config.cell import Block, Cell
from greenray.config.load import build
from greenray.config.matrix import expand
from greenray.driver.schedule import Ledger, Schedule, Visit, WorkerSlot, assign

TRAIN = {
    "name": "train",
    "phase": "training",
    "models": [{"architecture": "vit", "preset": "tiny"}],
    "datasets": ["digits"],
    "epochs": 1,
}


def serve(*tactics: str, devices: tuple[str, ...] = ("cpu",)) -> dict[str, Any]:
    return {
        "name": "serve",
        "phase": "inference",
        "models": [{"from": "train"}],
        "datasets": ["digits"],
        "tactics": list(tactics),
        "devices": list(devices),
    }


def blocks(*experiments: dict[str, Any]) -> list[Block]:
    return expand(build({"name": "t", "experiments": list(experiments)}), auto_device="cpu")


def row(cell: Cell, status: str, *, attempt: int = 1, error_kind: str | None = None) -> dict[str, Any]:
    return {
        "cell_id": cell.cell_id,
        "block_id": cell.block_id,
        "attempt": attempt,
        "status": status,
        "error_kind": error_kind,
        "visit": cell.visit,
        "phase": cell.phase,
        "device": cell.device,
        "model": cell.model.label,
        "tactic": cell.tactic_slug,
        "duration_s": 1.0,
    }


def schedule(of: list[Block], *rows: dict[str, Any], max_attempts: int = 2) -> Schedule:
    ledger = Ledger()
    for entry in rows:
        ledger.add(entry)
    return Schedule(of, ledger=ledger, max_attempts=max_attempts)


def tactics(visit: Visit) -> list[str]:
    return [cell.bracket or cell.tactic_slug for cell in visit.cells]


def test_serving_waits_for_its_checkpoint() -> None:
    train, served = blocks(TRAIN, serve("compile"))
    fresh = schedule([train, served])
    assert [v.block for v in fresh.ready()] == [train]
    trained = schedule([train, served], row(train.cells[0], "ok"))
    (visit,) = trained.ready()
    assert tactics(visit) == ["open", "compile", "close"]
    assert visit.number == 1


def test_a_training_that_failed_for_good_leaves_orphans_once_and_revives_them() -> None:
    train, served = blocks(TRAIN, serve("compile", "prune-local"))
    failed = [row(train.cells[0], "crashed", attempt=n) for n in (1, 2)]
    lost = schedule([train, served], *failed)
    assert not lost.ready()
    assert [cell.cell_id for cell, _ in lost.orphans()] == [cell.cell_id for cell in served.cells]
    assert not lost.finished()  # a row is still to say so
    noted = [row(cell, "failed", error_kind="dependency") for cell in served.cells]
    told = schedule([train, served], *failed, *noted)
    assert not told.orphans()
    assert told.finished()
    revived = schedule([train, served], *failed, row(train.cells[0], "ok", attempt=3), *noted)
    assert tactics(revived.ready()[0]).count("compile") == 1


def test_a_finished_store_takes_a_new_tactic_and_runs_only_it_and_its_brackets() -> None:
    train, served = blocks(TRAIN, serve("compile", "prune-local"))
    done = [row(train.cells[0], "ok"), *(row(cell, "ok") for cell in served.cells)]
    done += [row(served.bracket(kind, visit=1), "ok") for kind in ("open", "close")]
    assert schedule([train, served], *done).finished()
    _, more = blocks(TRAIN, serve("compile", "prune-local", "prune-global"))
    (visit,) = schedule([train, more], *done).ready()
    assert tactics(visit) == ["open", "prune-global", "close"]
    assert visit.number == 2


def test_what_is_open_is_not_handed_out_twice_and_comes_back_as_a_new_visit() -> None:
    train, served = blocks(TRAIN, serve("compile", "prune-local"))
    plan = schedule([train, served], row(train.cells[0], "ok"))
    (first,) = plan.ready()
    plan.begin(first)
    assert not plan.ready()
    assert not plan.finished()
    plan.ledger.add(row(first.cells[0], "ok"))
    plan.ledger.add(row(first.cells[1], "ok"))
    plan.end(first)  # its worker died
    (second,) = plan.ready()
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
    (train,) = blocks(TRAIN)
    plan = schedule([train], *(row(train.cells[0], status, attempt=n) for n, status in enumerate(statuses, 1)))
    assert plan.finished() is settled


def test_longest_expected_first() -> None:
    both = blocks({**TRAIN, "models": [{"architecture": a, "preset": "tiny"} for a in ("vit", "resnet")]})
    plan = schedule(both)
    plan.ledger.durations = {
        ("training", "cpu", "vit-tiny", "baseline"): [1.0],
        ("training", "cpu", "resnet-tiny", "baseline"): [9.0],
    }
    assert [v.cells[0].model.label for v in plan.ready()] == ["resnet-tiny", "vit-tiny"]


def seat(name: str, *, host: str = "h", board: bool = True, idle: float = 0.0) -> WorkerSlot:
    return WorkerSlot(worker_id=name, host=host, has_gpu=board, idle_since_s=idle)


def both_arms() -> tuple[list[Visit], Visit, Visit]:
    train, cuda, cpu = blocks(TRAIN, serve("compile", devices=("cuda", "cpu")))
    visits = schedule([train, cuda, cpu], row(train.cells[0], "ok")).ready()
    by_device = {visit.block.device: visit for visit in visits}
    return visits, by_device["cuda"], by_device["cpu"]


def test_boards_first_then_the_cpu_stretch_on_a_drained_host() -> None:
    visits, cuda, cpu = both_arms()
    assert assign(visits=visits, idle=[seat("a")], running={}, exclusive_hosts="auto") == (cuda, seat("a"))
    busy = {"h": [cuda.cells[0]]}
    assert assign(visits=[cpu], idle=[seat("b")], running=busy, exclusive_hosts="auto") is None
    assert assign(visits=[cpu], idle=[seat("b")], running=busy, exclusive_hosts=False) == (cpu, seat("b"))
    stretch = {"h": [cpu.cells[0]]}
    assert assign(visits=visits, idle=[seat("b")], running=stretch, exclusive_hosts="auto") is None


def test_exclusive_hosts_run_one_cell_at_a_time() -> None:
    visits, cuda, _ = both_arms()
    busy = {"h": [cuda.cells[0]]}
    assert assign(visits=visits, idle=[seat("b")], running=busy, exclusive_hosts=True) is None
    assert assign(visits=visits, idle=[seat("b"), seat("c", host="g")], running=busy, exclusive_hosts=True) is not None


def test_a_host_without_board_takes_cpu_visits_and_never_cuda() -> None:
    visits, cuda, cpu = both_arms()
    plain = seat("p", board=False)
    assert assign(visits=visits, idle=[plain], running={}, exclusive_hosts="auto") == (cpu, plain)
    assert assign(visits=[cuda], idle=[plain], running={}, exclusive_hosts="auto") is None


def test_the_worker_idle_longest_comes_first() -> None:
    visits, cuda, _ = both_arms()
    seats = [seat("late", idle=9.0), seat("early", idle=1.0)]
    assert assign(visits=visits, idle=seats, running={}, exclusive_hosts=False) == (cuda, seats[1])


@given(st.lists(st.sampled_from(["ok", "crashed", "timeout", "unsupported", "die"]), min_size=60, max_size=60))
def test_every_sweep_ends_with_every_cell_settled_or_lost(ends: list[str]) -> None:
    all_blocks = blocks(TRAIN, serve("compile", "prune-local"))
    plan = schedule(all_blocks)
    ran: list[str] = []
    outcomes = iter(ends)
    for _ in range(40):
        if plan.finished():
            break
        for cell, _ in plan.orphans():
            plan.ledger.add(row(cell, "failed", error_kind="dependency"))
        if not plan.ready():
            continue
        visit = plan.ready()[0]
        plan.begin(visit)
        for cell in visit.cells:
            end = next(outcomes, "ok")
            state = plan.ledger.state(cell.cell_id)
            plan.ledger.add(row(cell, "crashed" if end == "die" else end, attempt=state.highest_attempt + 1))
            ran.append(cell.cell_id)
            if end == "die":
                break
        plan.end(visit)
    assert plan.finished()
    for block in all_blocks:
        for cell in block.cells:
            assert ran.count(cell.cell_id) <= 2

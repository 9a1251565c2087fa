"""What is asked, settled, left, new and expected: a config held against what a store really holds, read once."""

import dataclasses
from pathlib import Path

import pytest

from greenray.config.cell import Cell
from greenray.driver.ledger import Stored, committed
from greenray.driver.plan import Plan, check_measured_alike
from greenray.driver.sweep import _what_is_to_do
from greenray.errors import ConfigError, StoreError
from greenray.store import tables
from greenray.store.base import Store
from greenray.store.registry import open_store
from greenray.worker.assignment import Assignment, AttemptResult
from tests.driver.pretend_pool import TRAIN, config_of, fresh, plan_of, result_of, row_of, serve, slot

TACTICS = ("compile", "prune-local")
HERE = [slot("a", cuda=True).info]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "out")


def write(store: Store, cell: Cell, status: str = "ok", *, sweep: str = "t", **changes: object) -> AttemptResult:
    """Commit an attempt as a worker would, and give back what it was."""
    result = result_of(cell, status, **changes)
    assignment = Assignment(cell=cell, attempt=result.attempt, visit=result.visit, order_in_visit=None, workers_sharing=1)
    row = row_of(assignment, result)
    assert tables.commit(store, sweep=sweep, tactic=cell.tactic_slug, cell=row)
    return result


def read(store: Store, *tactics: str, **config: object) -> Plan:
    return Plan(config_of(fresh(*tactics), **config), stored=Stored.read(store), auto_device="cpu")


def test_a_result_comes_back_from_the_store_as_it_went_in(store: Store) -> None:
    (block,) = plan_of(fresh(*TACTICS)).blocks
    written = [
        write(store, block.cells[0], "failed", visit=3),
        write(store, block.cells[0], attempt=2, visit=4, gpu_name="a GPU", energy_j=None),
        write(store, block.bracket("open", visit=4)),
    ]
    found = Stored.read(store).results["t"]
    assert sorted(found, key=lambda result: (result.tactic, result.attempt)) == [written[2], *written[:2]]
    assert committed(store, sweep="t", cell_id=written[1].cell_id, attempt=2) == written[1]
    assert committed(store, sweep="t", cell_id=written[1].cell_id, attempt=3) is None


def test_what_is_settled_left_and_new_is_known_from_one_reading_and_from_results(store: Store) -> None:
    (block,) = plan_of(fresh(*TACTICS)).blocks
    write(store, block.cells[0], visit=1)
    tables.write_manifest(store, sweep="t", manifest=plan_of(fresh(*TACTICS)).manifest(HERE))
    plan = read(store, *TACTICS, "bf16")
    assert plan.settled() == 1
    assert [plan.cells[cell_id].tactic_slug for cell_id in plan.new] == ["bf16"]
    (block,) = plan.blocks
    assert sorted(cell.tactic_slug for cell in plan.pending(block)) == ["bf16", "prune-local"]
    assert [kind[3] for kind in plan.kinds_left(block)][-2:] == ["baseline", "baseline"]
    visit = plan.next_visit(block)
    assert visit is not None
    assert visit.number == 2
    for cell in plan.pending(block):
        plan.ledger.record(result_of(cell, visit=2))
    assert plan.settled() == 3
    assert plan.next_visit(block) is None
    assert plan.kinds_left(block) == []
    assert read(store, *TACTICS).settled() == 1  # what was not written is not there


def test_what_was_refused_is_settled_until_trust_names_its_model(store: Store) -> None:
    tactics = (*TACTICS, "prune-global")
    (block,) = plan_of(fresh(*tactics)).blocks
    write(store, block.cells[0], "failed", error="allow it with trust: {pickle: [vit-tiny]}", error_kind="refused", visit=1)
    write(store, block.cells[1], "failed", visit=1)
    write(store, block.cells[2], "failed", error="no labelled images", error_kind="refused", visit=1)
    tables.write_manifest(store, sweep="t", manifest=plan_of(fresh(*tactics)).manifest(HERE))
    others = list(block.cells[3:])
    assert read(store, *tactics).pending(block) == [block.cells[1], *others]
    assert read(store, *tactics, trust={"pickle": ["o/another"]}).pending(block) == [block.cells[1], *others]
    for _ in range(2):  # also when the sweep that was to try it was stopped after it had written its manifest
        trusting = read(store, *tactics, trust={"pickle": ["vit-tiny"]})
        assert trusting.pending(block) == [*block.cells[:2], *others]
        tables.write_manifest(store, sweep="t", manifest=trusting.manifest(HERE))
    assert [trusting.ledger.state(cell.cell_id).highest_attempt for cell in block.cells[:3]] == [1, 1, 1]
    assert trusting.ledger.state(block.cells[1].cell_id).tries == 1


def test_a_store_that_is_not_there_yet_holds_nothing_and_what_is_none_is_refused(store: Store, tmp_path: Path) -> None:
    plan = read(store, *TACTICS)
    assert (plan.settled(), plan.new) == (0, [])
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(StoreError, match="not a GreenRay store"):
        Stored.read(store)


def test_expectations_are_medians_of_like_ok_attempts_also_of_other_sweeps(store: Store) -> None:
    cells = [block.cells[0] for block in plan_of(fresh("compile", rounds=4)).blocks]
    for cell, duration_s, energy_j in zip(cells, (4.0, 6.0, 11.0), (40.0, 70.0, None), strict=False):
        write(store, cell, sweep="another", duration_s=duration_s, energy_j=energy_j)
    write(store, cells[3], "failed", duration_s=99.0)
    ledger = read(store, "compile").ledger
    like = ledger.expected(("inference", "cpu", "vit-tiny", "compile"))
    assert like is not None
    assert (like.duration_s, like.energy_j) == (6.0, 55.0)
    assert ledger.expected(("inference", "cpu", "vit-tiny", "prune-local")) is None  # unknown, not guessed
    assert ledger.about_s(("inference", "cpu", "vit-tiny", "prune-local")) == 6.0  # but good enough to put visits in order
    assert ledger.about_s(("training", "cpu", "vit-tiny", "baseline")) is None
    ledger.record(result_of(cells[3], attempt=2, duration_s=12.0))
    like = ledger.expected(("inference", "cpu", "vit-tiny", "compile"))
    assert like is not None
    assert like.duration_s == 8.5


def test_failures_are_those_of_declared_cells_and_of_the_latest_brackets(store: Store) -> None:
    (block,) = plan_of(fresh(*TACTICS)).blocks
    for number, status in ((1, "crashed"), (2, "oom")):
        write(store, block.bracket("open", visit=number), status)
    write(store, block.cells[0], "failed", visit=2)
    write(store, block.cells[1], "unsupported", visit=2)
    (other,) = plan_of(fresh("bf16", batch_sizes=[7])).blocks
    write(store, other.cells[0], "failed")
    plan = read(store, *TACTICS)
    assert plan.failures() == 2
    plan.ledger.record(result_of(block.cells[0], attempt=2, visit=2))
    assert plan.failures() == 1


def test_what_was_measured_otherwise_or_elsewhere_is_not_mixed_in(store: Store) -> None:
    plan = plan_of(fresh(*TACTICS))
    write(store, plan.blocks[0].cells[0])
    tables.write_manifest(store, sweep="t", manifest=plan.manifest(HERE))
    check_measured_alike(config_of(fresh("bf16")), Stored.read(store), out="OUT")
    with pytest.raises(ConfigError, match=r"OUT holds cells of t measured otherwise \(measure: window_s was 5.0 and is 2.0\)"):
        check_measured_alike(config_of(fresh("bf16"), measure={"window_s": 2.0}), Stored.read(store), out="OUT")
    cpu_model = {"idle_w_per_core": 9.0}
    with pytest.raises(ConfigError, match=r"\(cpu_model: idle_w_per_core was 1.5 and is 9.0\)"):
        check_measured_alike(config_of(fresh("bf16"), host={"cpu_model": cpu_model}), Stored.read(store), out="OUT")
    older = plan.manifest(HERE)
    del older["measure"]["in_flight"]  # a key that came later: the default is what was done then
    tables.write_manifest(store, sweep="t", manifest=older)
    check_measured_alike(config_of(fresh("bf16")), Stored.read(store), out="OUT")
    with pytest.raises(ConfigError, match=r"\(measure: in_flight was 1 and is 2\)"):
        check_measured_alike(config_of(fresh("bf16"), measure={"in_flight": 2}), Stored.read(store), out="OUT")
    read(store, *TACTICS).check_hardware(HERE, out="OUT")
    elsewhere = [dataclasses.replace(HERE[0], cpu_name="another processor")]
    with pytest.raises(ConfigError, match="measured on a processor, which is not present now; give a new folder"):
        read(store, *TACTICS).check_hardware(elsewhere, out="OUT")
    read(store, "bf16").check_hardware(elsewhere, out="OUT")  # nothing of this sweep's is taken over


def test_baselines_are_announced_where_there_are_some() -> None:
    cells = "%s, on 1 worker, device cpu"
    assert _what_is_to_do(plan_of(fresh("baseline")), workers=1) == cells % "1 cell"
    assert _what_is_to_do(plan_of(fresh(*TACTICS)), workers=1) == cells % "2 cells, and two baselines around each visit"


def test_the_manifest_names_every_cell_and_the_hardware(store: Store) -> None:
    plan = plan_of(TRAIN, serve("compile", devices=("cuda", "cpu")))
    manifest = plan.manifest(HERE, refused=["it is in MIG mode"])
    tables.write_manifest(store, sweep="t", manifest=manifest)
    assert Stored.read(store).manifests == {"t": manifest}
    assert [cell["cell_id"] for cell in manifest["cells"]] == list(plan.cells)
    assert {cell["device"] for cell in manifest["cells"]} == {"cuda", "cpu"}
    assert (manifest["hardware"][0]["gpu_name"], manifest["refused"]) == ("a GPU", ["it is in MIG mode"])

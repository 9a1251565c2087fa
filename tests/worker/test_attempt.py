"""An attempt's order of things, where it matters before the cell's process exists; and what one hands to the next."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from greenray.config.cell import Cell
from greenray.config.matrix import expand
from greenray.config.settings import CpuModel
from greenray.config.spec import SweepConfig
from greenray.errors import StoreError
from greenray.power.instrument import Instrument
from greenray.processes.launcher import CellProcess, Spawn
from greenray.store import reader
from greenray.store.base import Store
from greenray.store.local import LocalStore
from greenray.worker.assignment import Assignment, AttemptResult
from greenray.worker.attempt import run_attempt
from greenray.worker.caches import CompileCaches
from greenray.worker.worker import worker_info
from tests.driver.pretend_pool import TRAIN, config_of, fresh, plan_of, serve, settings_of


class NeverStarted(Spawn):
    """A launcher that is not to be asked."""

    def start(self, **_: object) -> CellProcess:
        pytest.fail("the cell was started before its checkpoint was there")


def run(
    cell: Cell, *, config: SweepConfig, out: Path, instrument: Instrument, windows: int | None = None, **kept: Any
) -> AttemptResult:
    """The first attempt of a cell that has its host to itself."""
    return run_attempt(
        Assignment(cell=cell, attempt=1, visit=None, order_in_visit=None, workers_sharing=1, windows=windows),
        settings=settings_of(out, config),
        info=worker_info(instrument, uses_cuda=False, sees_store=True),
        instrument=instrument,
        memory_limit_bytes=1 << 34,
        **kept,
    )


def test_a_checkpoint_is_there_before_the_cell_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(_: Store, key: str) -> Path:
        raise StoreError(f"{key} cannot be fetched")

    monkeypatch.setattr(LocalStore, "fetch_folder", fetch)
    served = next(
        cell for block in plan_of(TRAIN, serve("compile")).blocks for cell in block.cells if cell.model.source == "checkpoint"
    )
    config = config_of(TRAIN, serve("compile"))
    instrument = Instrument(accelerator=None, hz=50, cpu_model=CpuModel())
    with (
        NeverStarted(target="none:none") as launcher,
        CompileCaches(parent=tmp_path) as caches,
        pytest.raises(StoreError, match=served.model.id),
    ):
        run(served, config=config, out=tmp_path / "out", instrument=instrument, launcher=launcher, caches=caches)
    instrument.close()


@pytest.mark.timeout(90)
def test_a_round_begins_with_what_the_one_before_has_compiled_and_gives_the_windows_it_is_asked_for(tmp_path: Path) -> None:
    measure = {"window_s": 0.05, "max_windows": 3, "min_counter_updates": 1, "idle_s": 5, "quiet_wait_s": 0}
    config = config_of(fresh("compile", "prune-local", rounds=2), measure=measure)
    cells = [cell for block in expand(config, auto_device="cpu") for cell in block.cells]
    cells.sort(key=lambda cell: (cell.round, cell.tactic_slug))
    instrument = Instrument(accelerator=None, hz=50, cpu_model=CpuModel())
    with Spawn(target="tests.driver.pretend_cell:compiles") as launcher, CompileCaches(parent=tmp_path) as caches:
        kept = {"instrument": instrument, "launcher": launcher, "caches": caches}
        results = [
            run(cell, config=config, out=tmp_path / "out", windows=windows, **kept)
            for cell, windows in zip(cells, (1, 3, None, 1), strict=True)
        ]
    instrument.close()
    assert [result.status for result in results] == ["ok"] * 4
    rows = {row["cell_id"]: row for row in reader.scan(LocalStore(str(tmp_path / "out")), table="cells").collect().to_dicts()}
    assert [rows[cell.cell_id]["warm"] for cell in cells] == [False, False, True, True]
    assert {row["num_threads"] for row in rows.values()} == {max(1, instrument.host.usable_cores - 1)}
    windows = reader.scan(LocalStore(str(tmp_path / "out")), table="windows").filter(pl.col("kind") == "steady").collect()
    for cell, result, wanted in zip(cells, results, (1, 3, 2, 1), strict=True):
        own = windows.filter(pl.col("cell_id") == cell.cell_id)
        spoiled = own.filter(pl.col("contention").is_not_null()).height
        assert result.contended == (spoiled > 0)
        assert own.height - spoiled == wanted or own.height == wanted + 3


@pytest.mark.timeout(90)
@pytest.mark.parametrize("rehearsal", [False, True])
def test_only_in_a_rehearsal_a_cell_begins_with_what_another_has_compiled(tmp_path: Path, rehearsal: bool) -> None:
    measure = {"window_s": 0.05, "max_windows": 1, "min_counter_updates": 1, "idle_s": 5, "quiet_wait_s": 0}
    config = config_of(fresh("compile", rounds=1, batch_sizes=[8, 16]), measure=measure)
    config = config.model_copy(update={"rehearsal": rehearsal})
    cells = [cell for block in expand(config, auto_device="cpu") for cell in block.cells]
    instrument = Instrument(accelerator=None, hz=50, cpu_model=CpuModel())
    with Spawn(target="tests.driver.pretend_cell:compiles") as launcher, CompileCaches(parent=tmp_path) as caches:
        for cell in cells:
            run(cell, config=config, out=tmp_path / "out", instrument=instrument, launcher=launcher, caches=caches)
    instrument.close()
    rows = {row["cell_id"]: row for row in reader.scan(LocalStore(str(tmp_path / "out")), table="cells").collect().to_dicts()}
    assert [rows[cell.cell_id]["warm"] for cell in cells] == [False, rehearsal]

"""An attempt's order of things, where it matters before the cell's process exists."""

from pathlib import Path

import pytest

from greenray.config.settings import CpuModel
from greenray.errors import StoreError
from greenray.power.instrument import Instrument
from greenray.processes.launcher import CellProcess, Spawn
from greenray.store.base import Store
from greenray.store.local import LocalStore
from greenray.worker.assignment import Assignment
from greenray.worker.attempt import run_attempt
from greenray.worker.caches import CompileCaches
from greenray.worker.worker import worker_info
from tests.driver.pretend_pool import TRAIN, config_of, plan_of, serve, settings_of


class NeverStarted(Spawn):
    """A launcher that is not to be asked."""

    def start(self, **_: object) -> CellProcess:
        pytest.fail("the cell was started before its checkpoint was there")


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
        run_attempt(
            Assignment(cell=served, attempt=1, visit=None, order_in_visit=None, workers_sharing=1),
            settings=settings_of(tmp_path / "out", config),
            info=worker_info(instrument, uses_cuda=False, sees_store=True),
            instrument=instrument,
            launcher=launcher,
            caches=caches,
            memory_limit_bytes=1 << 34,
        )
    instrument.close()

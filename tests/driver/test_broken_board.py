"""A board that an Xid has stopped, in a real sweep: it is refused after its first failure and the others do the work."""

from pathlib import Path

import polars as pl
import pytest

from greenray.store import reader
from tests import simnvml
from tests.support.plugins import pretend_cuda, pretend_fault
from tests.support.running import Ended, cells, greenray, write_config

BROKEN, SOUND = (simnvml.uuid_of(index) for index in range(2))
MEASURE = {
    "window_s": 0.3,
    "min_windows": 2,
    "max_windows": 2,
    "min_counter_updates": 10,
    "idle_s": 0.1,
    "warmup_max_s": 0.2,
    "quiet_wait_s": 0,
}
BATCHES = [4, 5]


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ended]:
    folder = tmp_path_factory.mktemp("broken")
    library = simnvml.build(folder / "lib")
    control = folder / "control"
    control.touch()
    serving = {
        "name": "serve",
        "phase": "inference",
        "models": [{"architecture": "resnet", "preset": "tiny"}],
        "datasets": [{"id": "digits", "samples": 32}],
        "batch_sizes": BATCHES,
        "devices": ["cuda"],
    }
    env = {
        **simnvml.environment(library, boards=2, control=control),
        pretend_cuda.BOARDS: f"{BROKEN},{SOUND}",
        pretend_cuda.CONTROL: str(control),
        pretend_fault.XIDS: BROKEN,
    }
    ended = greenray("sweep", write_config(folder, serving, measure=MEASURE), "--out", folder / "out", timeout_s=170, env=env)
    return folder / "out", ended


@pytest.mark.timeout(240)
def test_it_costs_one_attempt_and_the_sweep_goes_on_elsewhere(swept: tuple[Path, Ended]) -> None:
    out, ended = swept
    assert ended.code == 0, ended.out + ended.err
    rows = cells(out)
    (failed,) = rows.filter(pl.col("status") != "ok").to_dicts()
    assert (failed["status"], failed["gpu_uuid"], failed["attempt"]) == ("failed", BROKEN, 1)
    assert failed["error"] == f"AcceleratorError: {pretend_fault.ECC}"
    settled = rows.filter(pl.col("status") == "ok")
    assert sorted(settled["batch_size"]) == BATCHES
    assert set(settled["gpu_uuid"]) == {SOUND}


def test_it_is_named_with_the_reason_in_print_manifest_and_report(swept: tuple[Path, Ended]) -> None:
    out, ended = swept
    reason = f"board {BROKEN} failed: torch cannot use CUDA: {pretend_fault.ECC}"
    assert f"refused: {reason}" in ended.out
    assert reader.manifests(out)["t"]["refused"] == [reason]
    assert reason in (out / "report.md").read_text().replace("\\", "")
    assert reason in (out / "report.html").read_text()

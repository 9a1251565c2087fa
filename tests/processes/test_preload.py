"""The real list of preloaded modules: touches no device on a CUDA build, and leaves a process whose forks can compute."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from greenray.cell.preload import CELL_TARGET
from greenray.processes.forkserver import ForkServer
from greenray.processes.launcher import LaunchError
from greenray.worker.supervise import supervise
from greenray.worker.worker import cell_preload
from tests.support import ROOT
from tests.support.processes import FOLDER


def opened(*modules: str, environment: dict[str, str | None]) -> ForkServer:
    """A fork server as a worker's, but for the modules and the environment."""
    return ForkServer(target=CELL_TARGET, preload=replace(cell_preload(), modules=modules), environment=environment)


def pretended(tmp_path: Path) -> dict[str, str | None]:
    return {"PYTHONPATH": f"{FOLDER}:{ROOT}", "TOUCHES": str(tmp_path / "touches")}


def test_preloading_touches_no_device_on_a_cuda_build(tmp_path: Path) -> None:
    with opened("pretend_cuda", *cell_preload().modules, environment=pretended(tmp_path)) as launcher:
        assert launcher.failed == {}
    assert not (tmp_path / "touches").exists(), (tmp_path / "touches").read_text()


@pytest.mark.parametrize("module", ["hazard_asks_for_capability", "hazard_asks_for_availability"])
def test_a_module_that_touches_the_device_is_found_on_a_cuda_build(tmp_path: Path, module: str) -> None:
    (tmp_path / "modules").mkdir()
    shutil.copy(FOLDER / "hazards" / f"{module}.py", tmp_path / "modules")  # alone: beside it lies a stand-in for torch
    environment = {**pretended(tmp_path), "PYTHONPATH": f"{FOLDER}:{tmp_path / 'modules'}:{ROOT}"}
    with pytest.raises(LaunchError, match=r"initialised CUDA|made a CUDA call"):
        opened("pretend_cuda", module, environment=environment)
    assert (tmp_path / "touches").exists()


def test_asking_whether_there_is_a_board_is_no_touch(tmp_path: Path) -> None:
    """What torchao does at its import; harmless only because the server sees no board and asks NVML, not CUDA."""
    (tmp_path / "asks.py").write_text(
        "import torch\nassert not torch.cuda.is_available()\nassert torch.cuda.device_count() == 0\n"
    )
    environment = {**pretended(tmp_path), "PYTHONPATH": f"{FOLDER}:{tmp_path}:{ROOT}"}
    with opened("pretend_cuda", "asks", environment=environment) as launcher:
        assert launcher.failed == {}
    assert not (tmp_path / "touches").exists()


def test_a_fork_computes_and_compiles(tmp_path: Path) -> None:
    """torch's thread pool and the compiler's workers start in the child, because the server never started them."""
    with ForkServer(target="tests.processes.sample_cells:computes_with_torch", preload=cell_preload()) as launcher:
        process = launcher.start(env={"TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "kernels")}, log_path=tmp_path / "cell.log")
        outcome = supervise(process, deadline_s=60, memory_limit_bytes=None, handle=lambda message: None)
    assert outcome.status == "ok", (tmp_path / "cell.log").read_text()
    assert outcome.done is not None
    assert outcome.done.settings == {"total": 256.0**3, "agrees": True}
    assert any((tmp_path / "kernels").rglob("*.so"))  # the cell's own cache, not one that the server had settled on

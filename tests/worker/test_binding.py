"""Cells with a board run on the processors close to it; eight workers share a host."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from greenray.config.matrix import expand
from greenray.config.settings import CpuModel
from greenray.power.instrument import Instrument
from greenray.processes.launcher import Spawn
from greenray.store import reader
from greenray.store.local import LocalStore
from greenray.worker.binding import BoardCores, board_cores
from greenray.worker.caches import CompileCaches
from tests.driver.pretend_pool import config_of, fresh
from tests.gpu.made_vendor import MadeGpu
from tests.simnvml import Board, environment
from tests.worker.test_attempt import run


@dataclass(frozen=True, slots=True, kw_only=True)
class Near(MadeGpu):
    """A GPU that tells its processors."""

    name: str = "made"
    close: tuple[int, ...] | None

    def cpu_affinity(self) -> list[int] | None:
        return None if self.close is None else list(self.close)


# Eight boards on two nodes of 64 physical cores, two processors each: 0-63 and 128-191, 64-127 and 192-255.
NODES = [(*range(64 * node, 64 * node + 64), *range(128 + 64 * node, 192 + 64 * node)) for node in (0, 1)]
BOARDS = [Near(index=index, uuid=f"MADE-{index}", close=NODES[index // 4]) for index in range(8)]


@pytest.fixture
def topology(tmp_path: Path) -> Path:
    for core in range(256):
        folder = tmp_path / f"sys/devices/system/cpu/cpu{core}/topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(f"{core % 128},{core % 128 + 128}\n")
    return tmp_path


def test_eight_workers_divide_two_nodes_and_nobody_s_core(topology: Path) -> None:
    found = [board_cores(gpu, among=BOARDS, allowed=range(256), root=topology) for gpu in BOARDS]
    cells = [one.of_cell(workers_sharing=8) for one in found]
    assert [(cell.physical, cell.sharing, len(cell.cores)) for cell in cells] == [(16, 1, 32)] * 8
    assert sorted(core for cell in cells for core in cell.cores) == list(range(256))
    for gpu, cell in zip(BOARDS, cells, strict=True):
        assert set(cell.cores) <= set(gpu.close)
        assert {core % 128 for core in cell.cores} == {core for core in cell.cores if core < 128}  # whole cores
    alone = found[5].of_cell(workers_sharing=1)
    assert (set(alone.cores), alone.physical) == (set(NODES[1]), 64)


def test_a_node_with_too_few_cores_is_shared_whole(topology: Path) -> None:
    found = board_cores(BOARDS[2], among=BOARDS, allowed=(0, 1, 2, 128, 129, 130, 70), root=topology)
    cell = found.of_cell(workers_sharing=8)
    assert (cell.cores, cell.physical, cell.sharing) == ((0, 1, 2, 128, 129, 130), 3, 4)


@pytest.mark.parametrize(
    ("close", "allowed", "word"),
    [
        (None, range(256), "does not tell"),
        (NODES[1], range(64), "none of the processors"),
        ((), range(64), "none of the processors"),
    ],
)
def test_no_binding_has_a_reason(topology: Path, close: tuple[int, ...] | None, allowed: range, word: str) -> None:
    found = board_cores(Near(index=0, uuid="MADE-0", close=close), among=BOARDS, allowed=allowed, root=topology)
    assert found.of_cell(workers_sharing=8) is None
    assert word in (found.reason or "")


def test_nvml_tells_the_processors_of_each_board(simnvml, python) -> None:
    boards = [Board(more={"cpus": "0-3,64-67"}), Board(more={"cpus": "130"}), Board()]
    code = "import json\nfrom greenray.gpu import registry\nprint(json.dumps([gpu.cpu_affinity() for gpu in registry.gpus()]))"
    assert json.loads(python(code, env=environment(simnvml, boards=boards))) == [[0, 1, 2, 3, 64, 65, 66, 67], [130], None]


@pytest.mark.timeout(90)
@pytest.mark.parametrize("bound", [True, False])
def test_the_row_says_where_the_cell_ran(tmp_path: Path, bound: bool) -> None:
    measure = {"window_s": 0.05, "max_windows": 1, "min_counter_updates": 1, "idle_s": 0.1, "quiet_wait_s": 0}
    config = config_of(fresh("prune-local"), measure=measure)
    cell = expand(config, auto_device="cpu")[0].cells[0].model_copy(update={"device": "cuda"})
    core = min(os.sched_getaffinity(0))
    cores = BoardCores(groups=((core,),)) if bound else BoardCores(reason="nobody tells")
    instrument = Instrument(accelerator=None, hz=50, cpu_model=CpuModel())
    with Spawn(target="tests.driver.pretend_cell:quiet") as launcher, CompileCaches(parent=tmp_path) as caches:
        kept = {"instrument": instrument, "launcher": launcher, "caches": caches, "board_cores": cores}
        result = run(cell, config=config, out=tmp_path / "out", windows=1, **kept)
    instrument.close()
    assert result.status == "ok"
    (row,) = reader.scan(LocalStore(str(tmp_path / "out")), table="cells").collect().to_dicts()
    settings = json.loads(row["settings"])
    assert (settings["cores"] == str(core), settings.get("cores_not_bound")) == (
        (True, None) if bound else (len(os.sched_getaffinity(0)) == 1, "nobody tells")
    )
    assert row["num_threads"] == 1 or not bound

"""Which board is which, in a real sweep over simulated boards: the one that is measured computes, or it is refused."""

import json
from pathlib import Path

import polars as pl
import pytest

from greenray.store import reader
from tests import simnvml
from tests.support.plugins import pretend_cuda, pretend_fault
from tests.support.running import Ended, cells, greenray, write_config

HIDDEN, BY_NUMBER, BY_SHORT, LIAR, TURNCOAT, FALLING, SLICED, LOST, BROKEN = range(9)
UUIDS = [simnvml.uuid_of(index) for index in range(9)]
MEASURE = {
    "window_s": 0.3,
    "min_windows": 2,
    "max_windows": 2,
    "min_counter_updates": 10,
    "idle_s": 0.1,
    "warmup_max_s": 0.2,
    "quiet_wait_s": 0,
}
USABLE = (BY_NUMBER, BY_SHORT, FALLING)
BATCHES = [4, 5, 6, 7, 8, 9, 10, 11]


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ended]:
    folder = tmp_path_factory.mktemp("identity")
    library = simnvml.build(folder / "lib")
    control = folder / "control"
    control.touch()
    boards = [simnvml.Board(high_w=100 + 50 * index) for index in range(6)]
    boards += [simnvml.Board(more={"mig": 1}), simnvml.Board(more={"lost_from": 0.001}), simnvml.Board(high_w=500)]
    serving = {
        "name": "serve",
        "phase": "inference",
        "models": [{"architecture": "resnet", "preset": "tiny"}],
        "datasets": [{"id": "digits", "samples": 32}],
        "batch_sizes": BATCHES,
        "devices": ["cuda"],
    }
    config = write_config(folder, serving, measure=MEASURE)
    env = {
        **simnvml.environment(library, boards=boards, control=control),
        pretend_cuda.BOARDS: ",".join(UUIDS),
        pretend_cuda.LIES: UUIDS[LIAR],
        pretend_cuda.TURNS: UUIDS[TURNCOAT],
        pretend_cuda.FALLS: UUIDS[FALLING],
        pretend_cuda.CONTROL: str(control),
        pretend_fault.XIDS: UUIDS[BROKEN],
        # As a user may have it: by number, by shortened UUID in either case, and CUDA counting the other way round.
        "CUDA_VISIBLE_DEVICES": f"1,{UUIDS[BY_SHORT][:12]},gpu-{UUIDS[LIAR][4:14].upper()},4,5,6,7,8",
        "CUDA_DEVICE_ORDER": "FASTEST_FIRST",
    }
    ended = greenray("sweep", config, "--out", folder / "out", timeout_s=170, env=env)
    return folder / "out", ended


@pytest.mark.timeout(240)
def test_the_sweep_ends_well_without_the_boards_that_were_refused(swept: tuple[Path, Ended]) -> None:
    out, ended = swept
    assert ended.code == 0, ended.out + ended.err
    rows = cells(out)
    settled = rows.filter(pl.col("status") == "ok")
    assert sorted(settled["batch_size"]) == BATCHES
    assert {UUIDS[BY_NUMBER], UUIDS[BY_SHORT]} <= set(settled["gpu_uuid"]) <= {UUIDS[index] for index in USABLE}
    assert UUIDS[HIDDEN] not in set(rows["gpu_uuid"])


def test_what_is_measured_is_what_computes(swept: tuple[Path, Ended]) -> None:
    windows = reader.scan(swept[0], table="windows").filter(pl.col("kind") == "steady").collect()
    power_w = {UUIDS[index]: 100 + 50 * index for index in range(6)} | {UUIDS[BROKEN]: 500}
    known = windows.filter(pl.col("gpu_energy_j").is_not_null())
    assert known.height >= 2 * len(BATCHES) - 2
    for row in known.to_dicts():
        assert row["gpu_energy_j"] / row["duration_s"] == pytest.approx(power_w[row["gpu_uuid"]], rel=0.1)


def test_a_cuda_row_tells_of_memory_and_launches(swept: tuple[Path, Ended]) -> None:
    for row in cells(swept[0]).filter(pl.col("status") == "ok").to_dicts():
        assert row["peak_gpu_memory_bytes"] == row["peak_gpu_memory_load_bytes"] >= 4 * row["parameters"]
        ratio = row["unsynchronized_samples_per_s"] / row["synchronized_samples_per_s"]
        assert row["latency_bound"] == (ratio > 1.15)
        assert 0 <= row["device_time_share"] <= 1
        settings = json.loads(row["settings"])
        assert (settings["in_flight"], "warmup_rise_c" in settings) == (1, True)


def test_a_mismatch_or_an_xid_in_a_cell_refuses_the_board_and_the_cell_runs_on_another(swept: tuple[Path, Ended]) -> None:
    out, _ = swept
    rows = cells(out)
    failed = rows.filter(pl.col("status") != "ok").to_dicts()
    assert {row["gpu_uuid"]: row["error"] for row in failed} == {
        UUIDS[TURNCOAT]: f"CUDA ran on board {pretend_cuda.LIE}, {UUIDS[TURNCOAT]} is measured",
        UUIDS[BROKEN]: f"AcceleratorError: {pretend_fault.ECC}",
    }
    assert len(failed) == 2  # neither board got another
    for row in failed:
        assert (row["status"], row["attempt"]) == ("failed", 1)
        (again,) = rows.filter((pl.col("cell_id") == row["cell_id"]) & (pl.col("attempt") == 2)).to_dicts()
        assert (again["status"], again["gpu_uuid"] in {UUIDS[index] for index in USABLE}) == ("ok", True)


def test_a_board_that_is_lost_gets_no_further_cell(swept: tuple[Path, Ended]) -> None:
    rows = cells(swept[0]).filter(pl.col("gpu_uuid") == UUIDS[FALLING]).to_dicts()
    assert [row["status"] for row in rows] == ["ok"]
    assert rows[0]["energy_j"] is None  # of the whole attempt, which saw the end of the board


@pytest.mark.parametrize(
    ("board", "sentence"),
    [
        (LIAR, f"CUDA runs on board {pretend_cuda.LIE} where {UUIDS[LIAR]} is measured"),
        (TURNCOAT, f"CUDA ran on board {pretend_cuda.LIE}, {UUIDS[TURNCOAT]} is measured"),
        (SLICED, f"board {UUIDS[SLICED]} is in MIG mode: energy is known per board only"),
        (FALLING, f"board {UUIDS[FALLING]} is lost: it no longer answers"),
        (LOST, "board 7 is lost: it does not answer"),
        (BROKEN, f"board {UUIDS[BROKEN]} failed: torch cannot use CUDA: {pretend_fault.ECC}"),
    ],
)
def test_every_refused_board_is_named_in_print_manifest_and_report(swept: tuple[Path, Ended], board: int, sentence: str) -> None:
    out, ended = swept
    assert f"refused: {sentence}" in ended.out
    refused = reader.manifests(out)["t"]["refused"]
    assert len(refused) == 6
    assert [text for text in refused if text.startswith(sentence)], refused
    assert sentence in (out / "report.md").read_text().replace("\\", "")
    assert sentence in (out / "report.html").read_text()

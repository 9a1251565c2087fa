"""A sweep that ended before its manifest: the same command goes on, and nobody reports or lists what is not there."""

import signal
from pathlib import Path

from greenray.store import tables
from greenray.store.registry import open_store
from tests.support.processes import left_of_sweep, wait_until
from tests.support.running import greenray, sentence, started, tiny_serving, write_config
from tests.support.synthetic import Sweep


def test_ctrl_c_before_the_manifest_leaves_what_the_same_command_goes_on_with(tmp_path: Path) -> None:
    # A board that is not there is waited for; the probe is written once Ctrl-C is listened to.
    fresh = {"models": [{"architecture": "resnet", "preset": "tiny"}]}
    config, out = write_config(tmp_path, tiny_serving("baseline", devices=["cuda"], **fresh)), tmp_path / "out"
    with started("sweep", config, "--out", out, env={"CUDA_VISIBLE_DEVICES": ""}) as driver:
        wait_until(lambda: list(out.glob(".staging/probe-*")), timeout_s=120, what="the wait for workers")
        driver.send_signal(signal.SIGINT)
        said, err = driver.communicate(timeout=60)
    assert driver.returncode == 130, err
    assert "nothing was measured, so there is no report" in said
    assert "stopped; the same command goes on where it was" in said
    assert not left_of_sweep(out, timeout_s=20)
    assert not list(out.glob("report.*"))
    tables.require_writable(open_store(out))


def test_what_has_begun_is_listed_in_a_line_and_has_no_report(tmp_path: Path) -> None:
    out = tmp_path / "out"
    store = open_store(out)
    with store.log_file(tables.DRIVER_LOG), store.lock():
        assert greenray("status", out).out == f"{out}: no sweep has come as far as its first cell; running\n"
    assert greenray("status", out).out == f"{out}: no sweep has come as far as its first cell; not running\n"
    sentence("report", out, parts=(f"{out}: nothing was measured there yet", "run its sweep first"))
    assert sorted(path.name for path in out.iterdir()) == [".lock", "logs"]


def test_cells_without_a_manifest_are_not_said_to_be_none(tmp_path: Path) -> None:
    Sweep(out=tmp_path, windows=1).cell("baseline", energy_j=0.004, model="vit-tiny")
    assert greenray("status", tmp_path).out == f"{tmp_path}: holds cells of quick and no manifest; not running\n"

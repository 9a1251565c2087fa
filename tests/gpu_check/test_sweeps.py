"""The sweep sections: their configs, a real sweep of a small model on the CPU, and what is made of its store."""

import time
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from greenray.config.load import build, load
from greenray.tactics.registry import TACTICS
from tests.gpu_check.load import ROOT
from tests.gpu_check.sweeps import CHAINS, Swept, judge, quickstart_config, read_cells, save_vit, sweep, vit_config
from tests.support.running import QUICK

SMALL = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64, "image_size": 32}


def test_both_configs_run_every_tactic_that_leaves_the_board_as_it_is(tmp_path: Path) -> None:
    for config in (quickstart_config(), vit_config(tmp_path / "vit-b")):
        loaded = build({**config, "folder": str(tmp_path)})
        (serve,) = [experiment for experiment in loaded.experiments if experiment.name == "serve"]
        asked = ["+".join(step.name for step in chain) for chain in serve.tactics]
        assert {*TACTICS} - {*asked} == {"power-limit"}
        assert {*CHAINS} <= {*asked}
    assert [e.name for e in build({**quickstart_config(), "folder": str(tmp_path)}).experiments] == [
        experiment.name for experiment in load(ROOT / "configs" / "quickstart.yaml").experiments
    ]


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Swept:
    """A small model of the same kind under one tactic."""
    folder = tmp_path_factory.mktemp("swept")
    save_vit(folder / "vit-b", **SMALL)
    config = vit_config(folder / "vit-b")
    (experiment,) = config["experiments"]
    experiment |= {"datasets": [{"id": "digits", "samples": 32}], "batch_sizes": [16], "devices": ["cpu"]}
    experiment["tactics"] = ["baseline", "prune-local"]
    config["measure"] = QUICK
    (folder / "vit-b.yaml").write_text(yaml.safe_dump(config))
    return sweep(folder / "vit-b.yaml", folder / "out", until_s=time.monotonic() + 150)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_sweep_becomes_a_table(swept: Swept) -> None:
    found = judge(swept, device="cpu", gpu_uuid=None)
    assert (swept.exit_code, swept.stopped) == (0, False), swept.stderr
    assert found.verdict == "ok", found
    (table,) = found.tables
    tactics = [row[1] for row in table.rows]
    assert sorted(tactics) == ["baseline (close)", "baseline (open)", "prune-local"]
    assert tactics[0] == "baseline (open)"
    assert {row[3] for row in table.rows} == {"ok"}
    assert all(row[4] > 0 for row in table.rows)
    assert all(row[5] is None for row in table.rows)  # no board: no figure, rather than 0
    assert all(1 <= cell["windows"] <= 4 for cell in read_cells(swept.out))  # a busy host costs windows, or asks for more


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_what_is_wrong_is_said_in_words(swept: Swept) -> None:
    # No cell ran on a board.
    assert judge(swept, device="cuda", gpu_uuid=None).verdict == "off"
    broken = judge(replace(swept, exit_code=1, stderr="no GPU\n"), device="cpu", gpu_uuid=None)
    assert (broken.verdict, broken.notes) == ("off", ["The sweep ended with exit code 1: no GPU"])
    # Where only the report's libraries are missing, the cells are still good.
    poor = judge(replace(swept, exit_code=1, stderr="ModuleNotFoundError: No module named 'plotly'"), device="cpu", gpu_uuid=None)
    assert poor.verdict == "unclear"
    cut = judge(replace(swept, exit_code=130, stopped=True), device="cpu", gpu_uuid=None)
    assert cut.verdict == "cut short"
    assert "The time ran out" in cut.summary
    nothing = judge(replace(swept, out=swept.out / "empty", exit_code=2, stderr="no such thing\n"), device="cpu", gpu_uuid=None)
    assert (nothing.verdict, nothing.summary) == ("off", "0 cells have ended (none), 0 measured on cpu.")


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_sweep_without_time_is_stopped(tmp_path: Path) -> None:
    config = quickstart_config()
    (tmp_path / "quickstart.yaml").write_text(yaml.safe_dump(config))
    started_s = time.monotonic()
    stopped = sweep(tmp_path / "quickstart.yaml", tmp_path / "out", until_s=started_s + 1)
    assert stopped.stopped
    assert time.monotonic() - started_s < 60
    assert judge(stopped, device="cpu", gpu_uuid=None).verdict in ("off", "cut short")

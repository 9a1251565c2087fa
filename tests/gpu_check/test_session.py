"""The sections of a first session in short form: on a simulated board, with small models on the processor in its place."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from greenray.processes.forkserver import Preload
from tests import simnvml
from tests.gpu_check import loops, quantised, starting
from tests.gpu_check.simulated import PLAIN, environment, with_cells

# It stands still while a job computes, for nothing of the job reaches it: 70 W, and warmer by a degree every four seconds.
BOARD = replace(PLAIN, more={**PLAIN.more, "heating_c_per_s": 0.25, "heating_from": 1})
RUNS = ((9, 16, 10, 11), (12, 13, 14, 15))
SECTIONS = """
import json, sys
from tests.gpu_check.sections import run_section
settings = dict(load="tests.gpu_check.waves:open_load", scale=0.03, limit_s=200, keep=None)
print(json.dumps({number: run_section(int(number), **settings).as_json() for number in sys.argv[1:]}))
"""


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory, python: Callable[..., str]) -> dict[int, dict[str, Any]]:
    """What each section found; some of them one after the other in a process, to import once."""
    library = simnvml.build(tmp_path_factory.mktemp("simnvml"))

    def several(numbers: tuple[int, ...]) -> dict[str, Any]:
        folder = tmp_path_factory.mktemp("several")
        env = with_cells(environment(folder, library, BOARD))
        return json.loads(python(SECTIONS, *numbers, env=env, timeout_s=250).splitlines()[-1])

    with ThreadPoolExecutor(max_workers=len(RUNS)) as pool:
        found = [finding for part in pool.map(several, RUNS) for finding in part.items()]
    return {int(number): finding for number, finding in found}


pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_everything_imports_and_forks_get_the_board(checked: dict[int, dict[str, Any]]) -> None:
    found = checked[9]
    assert found["verdict"] == "ok", found
    assert [one["problem"] for one in found["data"]["forks"]] == [None] * 4
    assert found["notes"] == ["In this short form modules were imported by the fork server only, and nothing was spawned."]


def test_imports_are_timed_and_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starting, "cell_preload", lambda: Preload(modules=("json", "no_such_module")))
    found = starting.imported()
    assert found["json"][1] is None
    assert found["no_such_module"][1] == "ModuleNotFoundError: No module named 'no_such_module'"


def test_each_call_is_timed_in_each_state(checked: dict[int, dict[str, Any]]) -> None:
    found = checked[10]
    for state in ("idle", "loaded", "contexts"):
        assert len(found["data"][state]) == 11
        for times in found["data"][state].values():
            assert 0 < times["median_s"] <= times["p95_s"] <= times["p99_s"] <= times["longest_s"]
    assert found["data"]["contexts made"] == 0
    assert any(note.startswith("No context was made") for note in found["notes"])


def test_looking_does_not_wake_a_simulated_board(checked: dict[int, dict[str, Any]]) -> None:
    data = checked[11]["data"]
    for state, level_w in (("no context", 70), ("context", 85)):
        for kind in ("ends", "polled"):
            assert data[state][kind] == pytest.approx([level_w] * 4, rel=0.02), (state, kind)


def test_every_load_is_measured_with_its_energy(checked: dict[int, dict[str, Any]]) -> None:
    found = checked[12]
    assert found["verdict"] == "ok", found
    rows = found["data"]["rows"]
    assert len(rows) == len(loops.MODELS) * (len(loops.ARMS) - 1) * len(loops.LOOPS)
    for row in rows:
        assert row["energy_a_sample_j"] * row["samples_per_s"] == pytest.approx(row["power_w"])
        assert row["power_w"] == pytest.approx(70, rel=0.05)
    assert "In this short form nothing was compiled." in found["notes"]


def test_what_int8_asks_of_the_board_is_counted(checked: dict[int, dict[str, Any]]) -> None:
    found = checked[13]
    assert found["verdict"] == "ok", found
    calls = {row["arm"]: row["calls"] for row in found["data"]["rows"] if "calls" in row}
    assert set(calls) == set(quantised.ARMS[:2])
    assert calls["bf16+int8"]["operations"] > calls["bf16"]["operations"] > 20
    assert calls["bf16"]["values fetched"] == 0


def test_the_way_from_cold_is_followed_second_by_second(checked: dict[int, dict[str, Any]]) -> None:
    found = checked[14]
    assert found["verdict"] == "ok", found
    assert len(found["data"]["rows"]) == 4
    assert found["data"]["at_rest_s"]["power_w"] == 0


def test_training_is_measured_with_each_supply(checked: dict[int, dict[str, Any]]) -> None:
    found = checked[15]
    assert found["verdict"] == "ok", found
    assert len(found["data"]["rows"]) == 6
    assert all(row["samples_per_s"] > 0 for row in found["data"]["rows"])


def test_a_full_board_is_told_and_a_killed_process_leaves_nothing(checked: dict[int, dict[str, Any]]) -> None:
    found = checked[16]
    assert found["verdict"] == "ok", found
    refused = [row for row in found["data"]["filled"] if row["error"] is not None]
    assert len(refused) == 2
    assert all(row["recognised"] for row in refused)
    killed = found["data"]["killed"]
    assert killed["rose_bytes"] == 16 << 30
    assert killed["listed"] == 1
    assert 0 <= killed["memory_back_s"] < 20
    assert 0 <= killed["unlisted_s"] < 20

"""Every refusal and downgrade, from a simulated board or host to the row of the store and the words of the report."""

import html
import json
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest
from markdown_it import MarkdownIt

from greenray.analysis.wording import kind_of
from greenray.config.load import load
from greenray.driver.ledger import Stored
from greenray.driver.plan import Plan
from greenray.power.grade import worse
from greenray.report.markdown import escape
from greenray.store import reader, tables
from greenray.store.registry import open_store
from tests import simnvml
from tests.driver.pretend_cell import CONTROL, WINDOWS
from tests.driver.refusals import CASES, REFUSED_AT_ONCE, REFUSED_LATER, cell_of, number_of
from tests.support import ROOT
from tests.support.running import greenray, write_config

# A window holds 70 updates of a counter of 20 ms; one of 100 ms makes 21 of them.
MEASURE = {
    "window_s": 1.4,
    "min_windows": WINDOWS,
    "max_windows": WINDOWS,
    "min_counter_updates": 20,
    "idle_s": 0.1,
    "quiet_wait_s": 0,
}
PROCESSES = 4
MEASURED = [name for name in CASES if name not in (REFUSED_AT_ONCE, REFUSED_LATER)]
pytestmark = pytest.mark.timeout(170)


@dataclass(frozen=True, kw_only=True)
class Store:
    """A store that holds an attempt of every case, and its report."""

    out: Path
    refused: dict[str, str]
    windows: dict[str, list[dict]]
    page: str
    twin: str


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("refusals")
    library = simnvml.build(folder / "lib")
    batches = [number + 1 for number in range(len(CASES))]
    serving = {
        "name": "serve",
        "phase": "inference",
        "models": [{"architecture": "resnet", "preset": "tiny"}],
        "datasets": ["digits"],
        "batch_sizes": batches,
        "devices": ["cuda", "cpu"],
    }
    path, out, control = write_config(folder, serving, measure=MEASURE), folder / "out", folder / "control"
    control.touch()
    boards = [
        simnvml.Board(more={key: time.monotonic() if value == "NOW" else value for key, value in (case.board or {}).items()})
        for case in CASES.values()
    ]
    env = {
        **os.environ,
        **simnvml.environment(library, boards=boards, control=control),
        CONTROL: str(control),
        "PYTHONPATH": str(ROOT),
    }

    def measure(names: list[str]) -> dict[str, str | None]:
        command = [sys.executable, "-m", "tests.driver.refusals", str(out), str(path), *names]
        ended = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout)

    with_board = [name for name, case in CASES.items() if case.board is not None]
    without = [name for name, case in CASES.items() if case.board is None]
    with ThreadPoolExecutor() as pool:
        answers = list(pool.map(measure, (with_board[number::PROCESSES] for number in range(PROCESSES))))
    answers.append(measure(without))  # by themselves: their neighbours take whole processors
    refused = {name: why for answer in answers for name, why in answer.items() if why}
    config = load(path)
    manifest = Plan(config, stored=Stored(), auto_device="cuda").manifest([], refused=list(refused.values()))
    tables.write_manifest(open_store(out), sweep=config.name, manifest=manifest)
    windows = reader.scan(out, table="windows").filter(pl.col("kind") == "steady").sort("window").collect()
    steady = {name: windows.filter(pl.col("cell_id") == cell_of(config, name).cell_id).to_dicts() for name in MEASURED}
    for name, rows in steady.items():
        told = [(row["total_energy_j"], row["rejected"], row["contention"], row["grade_reasons"]) for row in rows]
        assert len(rows) >= WINDOWS, (name, told)
        # Only for one that is not quiet, or whose energy nobody knows, is another taken.
        if CASES[name].source and len(rows) > WINDOWS:
            assert any(row["contention"] or row["total_energy_j"] is None for row in rows), (name, told)
        if spoiled(name):
            assert len(rows) == 2 * WINDOWS, (name, told)
    ended = greenray("report", out)
    assert ended.code == 0, ended.err
    page = re.sub(r"<script.*?</script>", "", (out / "report.html").read_text(), flags=re.DOTALL)
    return Store(out=out, refused=refused, windows=steady, page=html.unescape(page), twin=(out / "report.md").read_text())


@pytest.mark.parametrize("name", MEASURED)
def test_grade_and_reasons_are_in_the_row(store: Store, name: str) -> None:
    # A machine with other things to do can starve the recorder, which rightly costs a window: not all of them, as a rule.
    case, rows = CASES[name], store.windows[name][WINDOWS - 1 : WINDOWS] if in_last(name) else store.windows[name]
    row = next((row for row in rows if _as_told(row, name)), None)
    assert row is not None, [row["grade_reasons"] for row in rows]
    main = "gpu" if case.board is not None else "cpu"
    assert row[f"{main}_energy_source"] == case.source
    if case.source is None:
        assert row[f"{main}_energy_j"] is None
        assert row["total_energy_j"] is None
    else:
        assert row[f"{main}_energy_j"] > 0
        assert row["total_energy_j"] > 0
    if main == "gpu" and case.source is not None:
        assert row["gpu_energy_j"] == pytest.approx(300 * row["duration_s"], rel=0.03)


def in_last(name: str) -> bool:
    """Whether the fault befalls the last window that was asked for."""
    return CASES[name].cell in ("reset", "lost", "unmetered")


def spoiled(name: str) -> bool:
    """Whether others are busy in every window."""
    return CASES[name].host.startswith("neighbour") and "two workers" not in CASES[name].host


def _as_told(row: dict, name: str) -> bool:
    case, reasons, grade = CASES[name], row["grade_reasons"], CASES[name].grade
    if row["contention"] and not spoiled(name):  # by what else this machine does just now
        grade = worse(grade)
        reasons = [one for one in reasons if one != row["contention"] and not one.startswith("used all the same: none of")]
    same = len(reasons) == len(case.reasons) and all(a.startswith(b) for a, b in zip(reasons, case.reasons, strict=True))
    return same and row["grade"] == grade


@pytest.mark.parametrize("name", [name for name in MEASURED if in_last(name)])
def test_the_windows_before_a_fault_keep_their_energy(store: Store, name: str) -> None:
    assert any(row["total_energy_j"] is not None and row["total_energy_j"] > 0 for row in store.windows[name][: WINDOWS - 1])


@pytest.mark.parametrize("name", [name for name in MEASURED if CASES[name].reasons])
def test_every_reason_stands_in_the_report_with_its_windows(store: Store, name: str) -> None:
    rows = _table(store.twin)
    reasons = store.windows[name][WINDOWS - 1]["grade_reasons"]
    assert reasons
    for reason in reasons:
        _, windows, cells, *_ = next(row for row in rows if _kind_of(row[0]) == kind_of(escape(reason)))
        told = [row for row in _steady(store.out) if any(kind_of(one) == kind_of(reason) for one in row["grade_reasons"])]
        assert (int(windows), int(cells)) == (len(told), len({row["run_id"] for row in told}))


def test_the_page_and_its_twin_tell_the_same(store: Store) -> None:
    rows = _table(store.twin)
    assert len(rows) >= 20
    assert any("__" in html.unescape(text).replace("\\", "") for text, *_ in rows)  # what Markdown could take for emphasis
    for text, *_ in rows:
        shown = html.unescape(MarkdownIt().renderInline(text))  # as a reader sees it
        assert f">{shown}<" in store.page, text
    kinds = [_kind_of(text) for text, *_ in rows]
    assert len(set(kinds)) == len(kinds)


def test_unknown_energy_is_counted_and_never_nought(store: Store) -> None:
    unknown = [row for row in _steady(store.out) if row["total_energy_j"] is None]
    assert len(unknown) >= 5
    assert f"{len(unknown)} have no total energy" in store.twin
    assert re.search(r"(?<![\d.])0(\.0+)? [kmMG]?J\b", store.twin) is None
    cells = reader.scan(store.out, table="cells").collect()
    assert cells.filter(pl.col("energy_j") == 0).is_empty()


def test_refused_boards_are_named_in_one_sentence(store: Store) -> None:
    assert set(store.refused) == {REFUSED_AT_ONCE, REFUSED_LATER}
    assert "MIG mode" in store.refused[REFUSED_AT_ONCE]
    for name, sentence in store.refused.items():
        assert simnvml.uuid_of(number_of(name)) in sentence
        assert f"- {escape(sentence)}." in store.twin
        assert f"<li>{sentence}.</li>" in store.page
    config = load(store.out.parent / "t.yaml")
    (row,) = (
        reader.scan(store.out, table="cells")
        .filter(pl.col("cell_id") == cell_of(config, REFUSED_LATER).cell_id)
        .collect()
        .to_dicts()
    )
    assert (row["status"], row["error"]) == ("failed", store.refused[REFUSED_LATER])


def test_the_report_says_what_the_model_assumes(store: Store) -> None:
    assert "1.5 W idle and 6 W active a core were assumed" in store.twin
    assert "1.5 W idle and 6 W active a core were assumed" in store.page


def _steady(out: Path) -> list[dict]:
    return reader.scan(out, table="windows").filter(pl.col("kind") == "steady").collect().to_dicts()


def _kind_of(text: str) -> str:
    """As `kind_of`, of a sentence of the report, where figures can be ranges."""
    return kind_of(text).replace("#\N{EN DASH}#", "#")


def _table(twin: str) -> list[list[str]]:
    """The rows of the table of reasons."""
    section = twin.partition("## How good the measurements are")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ") and not line.startswith(("| why", "| :-"))]
    return [[value.strip() for value in row.strip("|").split(" | ")] for row in rows]

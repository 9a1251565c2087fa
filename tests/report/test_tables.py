"""The tables are files that machines and LaTeX read, with the figures of the analysis, whatever models are called."""

import csv
import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from typer.testing import CliRunner

from greenray.analysis import Analysis, analyse
from greenray.analysis.correlations import matrices
from greenray.analysis.estimators.found import find
from greenray.cli.app import app
from greenray.report.tables import TABLES, build, write
from greenray.report.tables.writers import as_latex, escape
from tests.support.papers import trained_and_served
from tests.support.running import sentence
from tests.support.synthetic import Sweep

HOSTILE = r"a&b_100%#{\input{/etc/passwd}}$x^2~\\[3em] *`''--" + '"<|>é‐😀\nb,c;"d"'
NAMES = {"models", "effects", "over_models", "devices", "training", "learning_rates", "inference", "correlations"}
NAMES |= {"profiles", "estimators"}
COMMANDS = {
    *(
        "textbackslash",
        "textasciitilde",
        "textasciicircum",
        "textless",
        "textgreater",
        "textbar",
        "textquotedblright",
        "textendash",
    ),
    *("ldots", "times", "mu", "to", "toprule", "midrule", "bottomrule", "endhead", "endfirsthead", "endfoot"),
    *("begin", "end", "caption", "label", "multicolumn"),
}
TOKEN = re.compile(r"\\(?P<command>[A-Za-z]+)|\\(?P<escaped>[&%$#_{}\\])|(?P<special>[&%$#_{}~^\\])|(?P<text>.)", re.DOTALL)


def parsed(latex: str) -> list[str]:
    """Tokens of LaTeX, if it is balanced and uses nothing but what the writer knows; text is told letter by letter."""
    found, depth, math = [], 0, False
    for token in TOKEN.finditer(latex):
        special = token["special"]
        depth += (special == "{") - (special == "}")
        assert depth >= 0, latex
        math ^= special == "$"
        assert token["command"] is None or token["command"] in COMMANDS, token["command"]
        assert special in (None, "&", "{", "}", "$") or (special == "^" and math), (special, latex)
        found.append(token[0])
    assert depth == 0, latex
    assert not math, latex
    return found


def cells_of(latex: str) -> list[list[str]]:
    """Lines of the table, each by its cells, still as LaTeX."""
    body = latex.split(r"\endfoot")[1].split(r"\end{longtable}")[0].strip().splitlines()
    assert all(line.endswith(r" \\") for line in body)
    return [re.split(r"(?<!\\)&", line.removesuffix(r" \\")) for line in body]


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    return analyse(trained_and_served(tmp_path_factory.mktemp("paper") / "out", count=5))


@pytest.fixture(scope="module")
def folder(paper: Analysis, tmp_path_factory: pytest.TempPathFactory) -> Path:
    into = tmp_path_factory.mktemp("tables") / "made" / "here"
    write(paper, into)
    return into


def read(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def number(text: str) -> float | None:
    return float(text) if text else None


def test_files_are_those_of_the_registry(folder: Path) -> None:
    assert {name.removeprefix(".") for name in TABLES} == NAMES
    assert {file.name for file in folder.iterdir()} == {f"{name}{ending}" for name in NAMES for ending in (".csv", ".tex")}


def test_rows_have_every_column_and_no_other_file_is_touched(paper: Analysis, tmp_path: Path) -> None:
    for table in build(paper).values():
        assert len(set(table.columns)) == len(table.columns)
        assert all(set(table.columns) <= set(row) for row in table.rows)
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "models.csv").write_text("old")
    write(paper, tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert (tmp_path / "models.csv").read_text().startswith("label,")
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    write(analyse(paper.frames.store), tmp_path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_effects_are_those_of_the_analysis_in_full_precision(paper: Analysis, folder: Path) -> None:
    rows = {(row["label"], row["tactic"], row["measure"]): row for row in read(folder, "effects")}
    assert paper.findings
    for finding in paper.findings:
        row, energy = rows[finding.label, finding.tactic, "energy_j"], finding.effect.energy
        assert energy is not None
        assert [number(row[name]) for name in ("change", "change_low", "change_high")] == [energy.ratio, energy.low, energy.high]
        assert (row["unit"], row["basis"], row["change_is"]) == ("J/sample", energy.basis, "ratio")
        quality, change = rows[finding.label, finding.tactic, "accuracy"], finding.accuracy
        assert change is not None
        assert number(quality["change"]) == change.difference
        assert number(quality["mcnemar_p"]) == change.p_value


def test_over_models_are_those_of_the_analysis(paper: Analysis, folder: Path) -> None:
    rows = {(row["tactic"], row["measure"]): row for row in read(folder, "over_models")}
    assert len(paper.overall) == 2
    for effect in paper.overall:
        for name, found in effect.measures.items():
            row = rows[effect.tactic, name]
            ends = [number(row[column]) for column in ("change", "change_low", "change_high", "wilcoxon_p_holm")]
            assert ends == [found.change.value, found.change.low, found.change.high, found.wilcoxon_p]
            assert int(row["families"]) == found.families


def test_what_is_unknown_is_empty_and_says_why(folder: Path) -> None:
    unknown = [row for row in read(folder, "effects") if row["measure"] == "gpu_energy_j"]
    assert unknown
    assert {(row["change"], row["baseline"], row["basis"]) for row in unknown} == {
        ("", "", "not known of the tactic and the baseline")
    }
    for name in ("models", "inference", "training", "effects"):
        for row in read(folder, name):
            assert "None" not in row.values()
            assert "nan" not in row.values()


def test_training_models_and_correlations_are_those_of_the_analysis(paper: Analysis, folder: Path) -> None:
    trained = {row["model"]: row for row in read(folder, "training")}
    for run in paper.training:
        row = trained[run.arm.cell["model"]]
        assert number(row["energy_j"]) == run.energy_j
        assert number(row["cpu_energy_j"]) == pytest.approx(run.energy_j)
        assert (number(row["gpu_energy_j"]), number(row["power_w"])) == (None, pytest.approx((run.energy_j or 0) / 20))
    assert {row["learning_rate"] for row in read(folder, "learning_rates")} == {"0.001"}
    (matrix,) = matrices(paper.arms, paper.training)
    rows = read(folder, "correlations")
    assert len(rows) == 2 * len(matrix.pairs)
    known = {(row["x"], row["y"], row["method"]): row for row in rows}
    for pair in matrix.pairs:
        for method, found in pair.found.items():
            row = known[pair.x.name, pair.y.name, method]
            assert [number(row[name]) for name in ("r", "r_low", "r_high", "p_holm")] == [
                found.r,
                found.low,
                found.high,
                found.p_holm,
            ]
            assert found.r is not None or row["reason"]


def test_estimators_are_those_of_the_analysis(paper: Analysis, folder: Path) -> None:
    estimated = find(paper)
    profiles = read(folder, "profiles")
    assert [number(row["median_error"]) for row in profiles] == [error.median for error in estimated.profiles]
    rows = {(row["phase"], row["estimator"]): row for row in read(folder, "estimators")}
    for judged in estimated.judged:
        row = rows[judged.group.phase, judged.chosen.name]
        assert (number(row["median_error"]), number(row["r2"])) == (judged.chosen.median, judged.chosen.r2)
        assert row["median_error"] or row["note"]


def test_energies_without_a_figure_keep_their_reason(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out")
    sweep.cell("baseline", energy_j=None, model="m", model_family="f", bracket="open", visit=1, block_id="b")
    write(analyse(sweep.finish()), tmp_path / "tables")
    (row,) = read(tmp_path / "tables", "models")
    assert (row["energy_j"], row["reason"]) == ("", "no window has a total")


@pytest.mark.parametrize("name", sorted(NAMES))
def test_latex_is_balanced_and_every_line_has_its_cells(paper: Analysis, name: str) -> None:
    table = build(paper, (f".{name}",))[name]
    latex = as_latex(table, label=name)
    first, rest = latex.split("\n", 1)
    assert first == r"% \usepackage{booktabs,longtable}"
    parsed(rest.replace(f"tab:{name}", "tab:x").replace("longtable}", "x}"))
    assert latex.count(r"\begin{longtable}") == latex.count(r"\end{longtable}") == 1
    lines = cells_of(latex)
    assert len(lines) == max(1, len(table.printed.rows))
    assert {len(line) for line in lines} == {len(table.printed.columns) if table.printed.rows else 1}
    latex.encode("latin-1")


@pytest.mark.parametrize("modelled", [0.0, 0.9])
def test_captions_say_where_energies_were_not_measured(tmp_path: Path, modelled: float) -> None:
    sweep = Sweep(out=tmp_path / "out", modelled=modelled)
    sweep.visit("m", family="f", energy_j=0.01, tactics={"bf16": 0.7})
    captions = [table.caption for table in build(analyse(sweep.finish())).values()]
    assert {"estimated from CPU time" in caption for caption in captions} == {bool(modelled)}


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out")
    evil = {"dataset": HOSTILE, "cpu_name": HOSTILE}
    sweep.rounds(3, HOSTILE, family=HOSTILE, energy_j=0.004, tactics={"compile": 0.8}, block_id="b1", **evil)
    sweep.train(HOSTILE, family=HOSTILE, epochs_j=[1.0, 2.0], **evil)
    tables = tmp_path / "tables"
    write(analyse(sweep.finish()), tables)
    (row,) = read(tables, "models")
    assert (row["model"], row["dataset"]) == (HOSTILE, HOSTILE)
    for name in NAMES:
        latex = (tables / f"{name}.tex").read_text(encoding="utf-8")
        lines = cells_of(latex)
        assert len({len(line) for line in lines}) == 1
        for cell in (cell for line in lines for cell in line):
            parsed(cell)
    assert escape(HOSTILE) in (tables / "models.tex").read_text(encoding="utf-8")


BACK = {
    **{rf"\{special}": special for special in "&%$#_{}"},
    r"\textbackslash{}": "\\",
    r"\textasciitilde{}": "~",
    r"\textasciicircum{}": "^",
    r"\textless{}": "<",
    r"\textgreater{}": ">",
    r"\textbar{}": "|",
    r"\textquotedblright{}": '"',
    "{[}": "[",
    "{]}": "]",
    "{*}": "*",
    "{`}": "`",
    "-{}": "-",
    "'{}": "'",
}


@given(st.text("ab1 &%$#_{}\\~^<>|[]*-`'\",.", max_size=25))
@example("--- '' \\\\[1em] {")
def test_escaped_text_says_the_same(text: str) -> None:
    latex = escape(text)
    parsed(latex)
    assert not re.search(r"--|''|^\[|^\*", latex)
    pattern = "|".join(map(re.escape, sorted(BACK, key=len, reverse=True)))
    assert re.sub(pattern, lambda found: BACK[found[0]], latex) == " ".join(text.split())


@given(st.text(max_size=15))
def test_any_letter_is_one_that_pdflatex_knows(text: str) -> None:
    latex = escape(text)
    parsed(latex)
    latex.encode("latin-1")
    assert not re.search(r"[\x00-\x1f\x7f-\xbf]", latex)


def test_the_command_writes_them_and_says_where(tmp_path: Path) -> None:
    out, tables = trained_and_served(tmp_path / "out", count=1, rounds=1), tmp_path / "tables"
    ended = CliRunner().invoke(app, ["report", str(out), "--tables", str(tables)], env={"COLUMNS": "500"})
    assert ended.exit_code == 0, ended.output
    assert ended.output.splitlines()[-1] == f"tables: {tables}"
    assert len(list(tables.iterdir())) == 2 * len(NAMES)
    assert "tables:" not in CliRunner().invoke(app, ["report", str(out)]).output
    help_ = " ".join(CliRunner().invoke(app, ["report", "--help"], env={"COLUMNS": "500"}).output.split())
    assert all(name in help_ for name in NAMES)


def test_a_folder_that_cannot_be_is_a_sentence(tmp_path: Path) -> None:
    out = trained_and_served(tmp_path / "out", count=1, rounds=1)
    (tmp_path / "file").write_text("mine")
    sentence("report", out, "--tables", tmp_path / "file", parts=("cannot be written", "file"))
    assert (tmp_path / "file").read_text() == "mine"

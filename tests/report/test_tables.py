"""The tables are files that machines and LaTeX read, with the figures of the analysis, whatever models are called."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from greenray.analysis import Analysis, analyse
from greenray.analysis.correlations import matrices
from greenray.analysis.estimators.found import find
from greenray.cli.app import app
from greenray.report import build as build_page
from greenray.report.tables import TABLES, build, write
from greenray.report.tables.writers import as_latex, escape
from tests.report.latex import cells_of, parsed
from tests.report.reading import number, read
from tests.support.papers import trained_and_served
from tests.support.running import sentence
from tests.support.synthetic import Sweep

HOSTILE = r"a&b_100%#{\input{/etc/passwd}}$x^2~\\[3em] *`''--" + '"<|>é‐😀\nb,c;"d"'
NAMES = {"models", "effects", "over_models", "devices", "training", "learning_rates", "inference", "correlations"}
NAMES |= {"profiles", "estimators"}


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    return analyse(trained_and_served(tmp_path_factory.mktemp("paper") / "out", count=5))


@pytest.fixture(scope="module")
def folder(paper: Analysis, tmp_path_factory: pytest.TempPathFactory) -> Path:
    into = tmp_path_factory.mktemp("tables") / "made" / "here"
    write(paper, into)
    return into


def test_files_are_those_of_the_registry(folder: Path) -> None:
    assert {name.removeprefix(".") for name in TABLES} == NAMES
    made = {f"{name}{ending}" for name in NAMES for ending in (".csv", ".tex")}
    assert {file.name for file in folder.iterdir()} == made | {"columns.csv"}


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


def test_energy_to_a_share_of_the_best_is_that_of_the_run(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out", noise=0.0)
    sweep.train("m", family="f", epochs_j=[10.0, 20.0, 30.0], qualities=[0.5, 0.91, 1.0])
    sweep.train("n", family="g", epochs_j=[10.0])
    write(analyse(sweep.finish()), tmp_path / "tables")
    reached, never = read(tmp_path / "tables", "training")
    assert (reached["epochs_to_90_percent_of_best"], number(reached["energy_to_90_percent_of_best_j"])) == ("2", 30.0)
    assert number(reached["energy_to_95_percent_of_best_j"]) == 60.0
    assert (number(reached["evaluation_energy_j"]), reached["reason_no_share_of_best"]) == (3.0, "")
    assert (never["energy_to_90_percent_of_best_j"], never["best_accuracy"]) == ("", "")
    assert "not evaluated after each epoch" in never["reason_no_share_of_best"]


def test_busy_trainings_are_marked_and_no_part_of_a_mean_of_quiet_ones(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out", noise=0.0)
    for round_, (contention, joules) in enumerate(((None, 10.0), ("others kept 1.5 processors busy", 30.0)), start=1):
        sweep.contention = contention
        sweep.train("m", family="f", epochs_j=[joules, joules], round=round_)
    write(analyse(sweep.finish()), tmp_path / "tables")
    trained = {number(row["energy_j"]): row["contended"] for row in read(tmp_path / "tables", "training")}
    assert trained == {20.0: "false", 60.0: "true"}
    (row,) = read(tmp_path / "tables", "learning_rates")
    assert (number(row["energy_j"]), row["runs"]) == (20.0, "1")


def test_a_training_that_diverged_is_a_row_with_its_reason(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out", noise=0.0)
    rate = '{"epochs": 1, "learning_rate": 0.1}'
    sweep.train("m", family="f", epochs_j=[10.0], hyperparameters=rate, round=1)
    why = "training diverged in epoch 1 (loss nan); try a lower learning rate"
    for round_, settings in ((2, rate), (1, rate.replace("0.1", "9.0"))):
        sweep.train(
            "m",
            family="f",
            epochs_j=[],
            hyperparameters=settings,
            round=round_,
            block_id=f"b{settings}{round_}",
            status="failed",
            error=why,
        )
    write(analyse(sweep.finish()), tmp_path / "tables")
    trained = read(tmp_path / "tables", "training")
    assert [(row["status"], row["energy_j"], row["reason"]) for row in trained] == [
        ("ok", "10.0", ""),
        *[("failed", "", why)] * 2,
    ]
    low, high = read(tmp_path / "tables", "learning_rates")
    assert (low["learning_rate"], low["runs"], low["runs_without_result"], number(low["energy_j"])) == ("0.1", "1", "1", 10.0)
    assert (high["learning_rate"], high["runs"], high["energy_j"], high["reason"]) == ("9.0", "0", "", why)
    assert " & 0 of 1" in (tmp_path / "tables" / "learning_rates.tex").read_text()


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
    tables = build(analyse(sweep.finish()))
    assert {"estimated from CPU time" in table.caption for table in tables.values()} == {bool(modelled)}
    told = ({"modelled", "modelled_share", "cpu_modelled"}.intersection(table.columns) for table in tables.values())
    assert all(told)
    (row,) = {row["estimator"]: row for row in tables["estimators"].rows if row["estimator"].startswith("constant")}.values()
    assert row["modelled"] is bool(modelled)


def test_what_was_hardly_applied_is_marked_in_print_and_counted(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out", noise=0.0)
    for model, share in (("a", 0.001), ("b", 1.0)):
        sweep.visit(model, family=model, energy_j=0.01, tactics={"bf16": 0.7}, touched_macs_share=share)
    analysis = analyse(sweep.finish())
    write(analysis, tmp_path / "tables")
    assert {row["hardly_applied_models"] for row in read(tmp_path / "tables", "over_models")} == {"1"}
    tables = {name: (tmp_path / "tables" / f"{name}.tex").read_text(encoding="utf-8") for name in ("effects", "over_models")}
    assert tables["effects"].count("bf16 (hardly applied)") == 1
    assert "bf16 (hardly applied to 1 of 2)" in tables["over_models"]
    (page,) = build_page(analysis, (".over_models",)).sections
    assert any("bf16 (hardly applied to 1 of 2)" in row[0] for block in page.blocks for row in getattr(block, "rows", ()))


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


def test_the_command_writes_them_and_says_where(tmp_path: Path) -> None:
    out, tables = trained_and_served(tmp_path / "out", count=1, rounds=1), tmp_path / "tables"
    ended = CliRunner().invoke(app, ["report", str(out), "--tables", str(tables)], env={"COLUMNS": "500"})
    assert ended.exit_code == 0, ended.output
    assert ended.output.splitlines()[-1] == f"tables: {tables}"
    assert len(list(tables.iterdir())) == 2 * len(NAMES) + 1
    assert "tables:" not in CliRunner().invoke(app, ["report", str(out)]).output
    help_ = " ".join(CliRunner().invoke(app, ["report", "--help"], env={"COLUMNS": "500"}).output.split())
    assert all(name in help_ for name in NAMES)


def test_a_folder_that_cannot_be_is_a_sentence(tmp_path: Path) -> None:
    out = trained_and_served(tmp_path / "out", count=1, rounds=1)
    (tmp_path / "file").write_text("mine")
    sentence("report", out, "--tables", tmp_path / "file", parts=("cannot be written", "file"))
    assert (tmp_path / "file").read_text() == "mine"

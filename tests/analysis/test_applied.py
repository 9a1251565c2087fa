"""A tactic that touched under 1 % of a model is never shown without saying so."""

from pathlib import Path

import pytest

from greenray.analysis import Analysis, analyse, artefacts
from greenray.report import build, markdown, tables
from greenray.report.document import Grid, Section
from tests.support.synthetic import Sweep

FEW = {"touched_parameters_share": 0.0021, "touched_macs_share": 0.0011}
WORDS = "hardly applied (0.2 % of the parameters, 0.1 % of the multiply-accumulates)"


def made(out: Path, *models: dict[str, float | None], rounds: int = 3, ratio: float = 0.8) -> Sweep:
    sweep = Sweep(out=out, noise=0.0)
    for number, columns in enumerate(models):
        sweep.rounds(rounds, f"m{number}", family=f"f{number}", energy_j=0.004, tactics={"compile": ratio}, **columns)
    return sweep


def test_it_is_said_beside_every_effect(tmp_path: Path) -> None:
    analysis = analyse(made(tmp_path / "out", FEW).finish())
    assert analysis.clear[0].startswith(f"m0: compile, {WORDS}, uses 20.0 % less energy")
    twin = markdown.render(build(analysis))
    shown = [line for line in twin.splitlines() if ("| compile" in line or "at best: compile" in line) and "c1-" not in line]
    assert len(shown) > 5
    for line in shown:  # all but the list of cells, where no effect stands
        assert "compile (hardly applied)" in line, line
    assert analysis.best[0].finding is not None


@pytest.mark.parametrize(
    ("columns", "marked"),
    [
        ({"touched_parameters_share": 0.08, "touched_macs_share": 0.0005}, True),  # a large classifier that does little
        ({"touched_parameters_share": 0.001, "touched_macs_share": 0.2}, False),  # a stem of few weights that does much
        ({"touched_parameters_share": 0.004, "touched_macs_share": None}, True),
        ({"touched_parameters_share": None, "touched_macs_share": None}, False),  # unknown is not hardly
        ({"touched_parameters_share": 1.0, "touched_macs_share": 1.0}, False),
        ({"touched_parameters_share": 0.01, "touched_macs_share": 0.01}, False),
    ],
)
def test_the_work_decides_where_it_is_known(tmp_path: Path, columns: dict[str, float | None], marked: bool) -> None:
    (sentence,) = analyse(made(tmp_path / "out", columns).finish()).clear
    assert ("hardly applied" in sentence) is marked


def test_over_models_it_says_to_how_many(tmp_path: Path) -> None:
    whole = {"touched_parameters_share": 1.0, "touched_macs_share": 1.0}
    analysis = analyse(made(tmp_path / "out", FEW, whole, FEW, whole, whole).finish())
    assert analysis.overall[0].hardly == 2
    assert "hardly applied to 2 models" in analysis.over_models[0]
    assert "hardly applied to m0, m2 (at most 0.1 % of the work)" in analysis.clear[0]
    assert "| 2 models |" in markdown.render(build(analysis)).split("## Over models")[-1]


def test_tables_for_papers_and_machines_say_it_too(tmp_path: Path) -> None:
    whole = {"touched_parameters_share": 1.0, "touched_macs_share": 1.0}
    analysis = analyse(made(tmp_path / "out", FEW, whole, whole).finish())
    short = next(block for block in over_models(analysis).blocks if isinstance(block, Grid))
    assert short.rows[0][0] == "compile (hardly applied to 1 of 3)"
    found = tables.build(analysis, (".effects", ".over_models"))
    assert {(row["label"], row["hardly_applied"]) for row in found["effects"].rows} == {
        ("m0", True),
        ("m1", False),
        ("m2", False),
    }
    assert [line[1] for line in found["effects"].printed.rows] == ["compile (hardly applied)", "compile", "compile"]
    assert {row["hardly_applied_models"] for row in found["over_models"].rows} == {1}
    assert {line[0] for line in found["over_models"].printed.rows} == {"compile (hardly applied to 1 of 3)"}


def over_models(analysis: Analysis) -> Section:
    return next(section for section in build(analysis).sections if section.id == "over-models")


def test_sizes_and_trainings_say_it_too(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out")
    sweep.cell("baseline", energy_j=0.004, model="m", model_family="m", size_bytes=1000, parameters_bytes=1000)
    few = {"size_bytes": 900, "parameters_bytes": 700, **FEW}
    sweep.cell("dynamic-quantization", energy_j=0.004, model="m", model_family="m", **few)
    sweep.train("m", family="m", epochs_j=[1.0], tactic="channels-last", **FEW)
    analysis = analyse(sweep.finish())
    (size,) = artefacts.sizes(analysis.arms)
    assert size.hardly
    (said,) = artefacts.size_sentences([size])
    assert said.startswith("dynamic-quantization on m (hardly applied to 1 model): what parameters() lists changes by −30 %")
    assert [run.named for run in analysis.training] == ["channels-last (hardly applied)"]
    found = tables.build(analysis, (".training", ".learning_rates"))
    assert [[row["hardly_applied"] for row in table.rows] for table in found.values()] == [[True], [True]]
    assert all(table.printed.rows[0][1] == "channels-last (hardly applied)" for table in found.values())


@pytest.mark.parametrize(("rounds", "ratio"), [(1, 0.8), (3, 1.0)])
def test_it_is_said_where_nothing_is_claimed_too(tmp_path: Path, rounds: int, ratio: float) -> None:
    sweep = made(tmp_path / "out", FEW, rounds=rounds, ratio=ratio)
    (sentence,) = analyse(sweep.finish()).not_clear
    assert WORDS in sentence

"""The section on predicting: its charts carry the numbers of its tables, and its words follow from them."""

import math
from pathlib import Path
from typing import Any

import pytest

from greenray.analysis import analyse
from greenray.analysis.estimators.found import find
from greenray.analysis.papers.figures import MAVROMATIS
from greenray.analysis.wording import relative_error
from greenray.report import build, markdown, page
from greenray.report.document import Chart, Grid
from greenray.report.sections import estimators
from tests.support.described import made_models, true_energy_j, write_store
from tests.support.synthetic import Sweep, quickstart

LINE = ".estimators"
EVIL = "<script>alert(1)</script>%{x}"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("store") / "out"
    write_store(out, models=11, tactics={}, rounds=1, noise=0.02)
    sweep = Sweep(out=out, name="training", noise=0.0)
    for number in range(3):
        sweep.train(f"t{number}", family=f"g{number}", epochs_j=[20.0 + number, *[10.0] * 9])
    return sweep.finish()


@pytest.fixture(scope="module")
def blocks(store: Path) -> dict[str, Any]:
    (section,) = build(analyse(store), (LINE,)).sections
    grids = {block.heading: block for block in section.blocks if isinstance(block, Grid)}
    return grids | {block.id: block for block in section.blocks if isinstance(block, Chart)}


def test_the_errors_of_profiles_are_drawn_as_they_are_tabled(blocks: dict[str, Any]) -> None:
    table: Grid = blocks["Short profiles: median (worst) error"]
    by_energy = table.columns.index("by energy")
    tabled = {row[1]: row[by_energy].split(" (")[0] for row in table.rows if row[0] == "training"}
    (line,) = [trace for trace in blocks["profiles"].figure["data"] if trace["name"] == "training, by energy"]
    drawn = dict(zip(line["x"], line["y"], strict=True))
    assert tabled["first epoch"] == relative_error(drawn[1] / 100)
    assert tabled["first 5 epochs"] == relative_error(drawn[5] / 100)
    assert drawn[1] == pytest.approx(100 * (10 * 21 / 111 - 1), rel=1e-4)  # the median of three models


def test_predictions_are_drawn_beside_what_was_measured(blocks: dict[str, Any]) -> None:
    chart: Chart = blocks["predicted-inference"]
    measured = [x for trace in chart.figure["data"] if trace["mode"] == "markers" for x in trace["x"]]
    assert sorted(measured) == pytest.approx(sorted(true_energy_j(model) for model in made_models(11)), rel=0.1)
    for trace in (trace for trace in chart.figure["data"] if trace["mode"] == "markers"):
        assert trace["error_y"]["array"][0] > 0
        assert abs(math.log(trace["y"][0] / trace["x"][0])) < 0.5
    assert chart.figure["layout"]["xaxis"]["type"] == "log"


def test_every_estimator_stands_in_the_table_and_too_few_say_so(blocks: dict[str, Any]) -> None:
    found = next(block for heading, block in blocks.items() if heading.startswith("Descriptors: inference"))
    assert [row[0] for row in found.rows][:3] == [
        "descriptors, form chosen by nested leave-one-out",
        "power law of parameters",
        "power law of MACs",
    ]
    training = next(block for heading, block in blocks.items() if heading.startswith("Descriptors: training"))
    assert "needs 5 model families measured alike, there are 3" in training.rows[0]


def test_the_claims_are_told_in_words(store: Path) -> None:
    twin = markdown.render(build(analyse(store), (LINE,)))
    assert "Short profiles predict the total of training within 5 %: cannot be told. " in twin  # of three families
    assert "Short profiles predict the total of inference within 5 %: holds from the first window on. " in twin
    assert "MACs predict energy of inference better than parameters: holds. Their log errors are " in twin
    assert MAVROMATIS.source in twin
    assert "of 11 models" in twin
    assert "What others report" in twin
    assert "CPU time" not in twin


def test_few_models_are_told_to_be_few_and_modelled_energy_is_called_that(tmp_path: Path) -> None:
    twin = markdown.render(build(analyse(quickstart(tmp_path / "out", modelled=1.0)), (LINE,)))
    assert (
        "Which descriptor predicts energy of inference: cannot be told (needs 5 model families measured alike, there are 3)."
        in twin
    )
    assert "No 90 % interval for a model that was never measured" in twin
    assert "estimated from CPU time" in twin


def test_energies_of_which_only_some_are_modelled_are_not_all_called_that(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out", noise=0.0, windows=1)
    for number, columns in enumerate(made_models(3)):
        sweep.modelled, device = (0.9, "cpu") if number == 2 else (0.0, "cuda")
        sweep.visit(family=columns.pop("model_family"), energy_j=0.01, tactics={}, device=device, **columns)
    notes = find(analyse(sweep.finish())).notes  # those modelled are in the smaller group
    (said,) = notes
    assert said.startswith("Some of these energies are mostly estimated from CPU time")


def test_names_from_outside_become_no_markup(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out", noise=0.02)
    for number, columns in enumerate(made_models(6)):
        shared = columns | {"model": f"{EVIL}{number}", "model_family": f"{EVIL}{number}"}
        model, family = shared.pop("model"), shared.pop("model_family")
        sweep.visit(model, family=family, energy_j=true_energy_j(columns), tactics={}, cpu_name=EVIL, **shared)
    document = build(analyse(sweep.finish()), (LINE,))
    assert "alert(1)</script>" not in page.render(document)
    (section,) = document.sections
    (chart,) = [block for block in section.blocks if isinstance(block, Chart) and block.id.startswith("predicted")]
    assert chart.figure["data"]
    assert all("<script>" not in trace["name"] and "%{" not in trace["name"] for trace in chart.figure["data"])


def test_nothing_measured_has_no_section(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out")
    sweep.cell("compile", energy_j=None, status="failed", model="m", error="it fell over")
    assert estimators.load(analyse(sweep.finish())) is None

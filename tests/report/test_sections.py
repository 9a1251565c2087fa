"""A section is one file and one line; what it is about, image or text, accuracy or BLEU, comes from the store."""

from pathlib import Path

import pytest

from greenray.analysis import analyse
from greenray.report import build, markdown, page
from greenray.report.document import Chart
from greenray.report.sections import SECTIONS, accuracy, cost, energy
from tests.support.papers import trained_and_served
from tests.support.synthetic import Sweep, quickstart

LINE = "tests.report.longest_cell"


def test_a_section_is_added_by_one_file_and_one_line(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out")
    sweep.cell("compile", energy_j=0.01, model="slow-model", duration_s=75.0)
    sweep.cell("compile", energy_j=0.01, model="quick-model", duration_s=5.0)
    document = build(analyse(sweep.finish()), (SECTIONS[0], LINE, *SECTIONS[1:]))
    assert [section.id for section in document.sections][:2] == ["headline", "longest"]
    for shown in (page.render(document), markdown.render(document)):
        assert "The longest cell" in shown
        assert "compile on slow-model took 75.0 s." in shown


def test_a_section_that_finds_nothing_is_left_out(tmp_path: Path) -> None:
    document = build(analyse(Sweep(out=tmp_path / "out").finish()), (LINE, ".reproducibility"))
    assert [section.id for section in document.sections] == ["reproducibility"]


def test_every_section_has_something_to_show_somewhere(tmp_path: Path) -> None:
    quickstart(tmp_path / "out")
    trained_and_served(tmp_path / "out", count=4, rounds=1, name="paper")
    Sweep(out=tmp_path / "out", name="other", seed=7).cell("compile", energy_j=0.01, model="swin-tiny", trace=True)
    document = build(analyse(tmp_path / "out"))
    assert len(document.sections) == len(SECTIONS) == len({section.id for section in document.sections})


def told(out: Path, *models: dict[str, str | None]) -> str:
    sweep = Sweep(out=out, noise=0.0)
    for number, columns in enumerate(models):
        sweep.rounds(3, f"m{number}", family=f"f{number}", energy_j=0.004, tactics={"compile": 0.8}, accuracy_lost=20, **columns)
    return markdown.render(build(analyse(sweep.finish())))


def test_unit_and_measure_are_those_of_the_task(tmp_path: Path) -> None:
    twin = told(tmp_path / "out", {"unit": "query", "quality_measure": "BLEU"})
    for said in (
        "compile uses 20.0 % less energy per query",
        "costs 5.6 points of BLEU (on 360 queries)",
        "pays back after 16,000 queries",
        "Few queries: BLEU rests on 360 queries, so one query is 0.28 points.",
        "## BLEU",
        "| baseline / query | tactic / query |",
        "| baseline, queries/s |",
        "electricity / million queries",
        "Cost of N queries = ",
    ):
        assert said in twin, said
    assert "image" not in twin.replace("image-classification", "")
    assert "ccuracy" not in twin


@pytest.mark.parametrize("columns", [{"unit": None, "quality_measure": None}])
def test_stores_from_before_tasks_said_so_have_samples(tmp_path: Path, columns: dict[str, str | None]) -> None:
    twin = told(tmp_path / "out", columns)
    assert "less energy per sample" in twin
    assert "costs 5.6 points of accuracy (on 360 samples)" in twin
    assert "## Accuracy" in twin


def test_charts_speak_of_the_unit_of_the_tables_beside_them(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out", noise=0.0)
    sweep.rounds(3, "m", family="f", energy_j=0.004, tactics={"compile": 0.8}, unit="query")
    shown = page.render(build(analyse(sweep.finish())))
    for said in ("change of energy per query against the baseline", "queries served", "} queries: %{y"):
        assert said in shown, said
    for title in ("samples served", "per sample against", "} samples: %{y"):
        assert title not in shown, title


def test_where_models_differ_each_keeps_its_word_and_the_headings_take_neither(tmp_path: Path) -> None:
    twin = told(tmp_path / "out", {"unit": "image"}, {"unit": "text", "quality_measure": "BLEU"})
    assert "less energy per image" in twin
    assert "less energy per text" in twin
    assert "| baseline / sample | tactic / sample |" in twin
    assert "## Quality" in twin
    assert "costs 5.6 points of accuracy (on 360 images)" in twin
    assert "costs 5.6 points of BLEU (on 360 texts)" in twin


@pytest.mark.parametrize("rounds", [1, 3])
def test_money_carbon_and_the_trade_off_show_no_change_that_nothing_supports(tmp_path: Path, rounds: int) -> None:
    sweep = Sweep(out=tmp_path / "out", device="cuda", scope="gpu+cpu")
    sweep.rounds(rounds, "m", family="f", energy_j=0.004, tactics={"compile": 0.5})
    analysis = analyse(sweep.finish())
    section = cost.show(analysis.findings, analysis)
    shown = markdown.render(build(analysis)).split("## Cost and carbon")[1].split("### Prices used")[0]
    (row,) = [line for line in shown.splitlines() if line.startswith("| m | compile |")]
    assert ("→" in row) is (rounds == 3)
    assert ("no interval" in row) is (rounds == 1)
    assert section.blocks
    changed = accuracy.load(analysis)
    assert changed
    chart = accuracy.chart(changed, unit="image")
    assert isinstance(chart, Chart)
    baseline, tactic, *_ = chart.figure["data"]
    assert (baseline["marker"]["symbol"], tactic["marker"]["symbol"]) == (
        ["circle"],
        ["circle-open" if rounds == 1 else "circle"],
    )
    assert ("no interval" in tactic["text"][0], "no interval" in chart.caption) == (rounds == 1, rounds == 1)


def test_as_many_tactics_as_there_are_can_be_told_apart_in_a_chart(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out", noise=0.0)
    sweep.rounds(1, "m", family="f", energy_j=0.004, tactics={f"tactic-{number:02}": 0.9 for number in range(30)})
    chart = energy.chart(analyse(sweep.finish()).findings, "image")
    assert chart is not None
    markers = [trace["marker"] for trace in chart.figure["data"]]
    assert len({(marker["color"], marker["symbol"]) for marker in markers}) == len(markers) == 30

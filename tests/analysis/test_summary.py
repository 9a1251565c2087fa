"""In short: the best tactic of each model under the limit of accuracy, what is clear, and what is not, each said once."""

from pathlib import Path
from typing import Any

import pytest

from greenray.analysis import analyse
from greenray.analysis.accuracy import AccuracyChange
from greenray.analysis.summary import within_limit
from greenray.analysis.wording import percent_change
from greenray.errors import NOT_TRIED
from greenray.report import build
from greenray.report.document import Bullets, Grid, Notes, Tiles
from greenray.report.sections.headline import best_tactics
from greenray.tasks.base import QualityMeasure
from tests.support.synthetic import Sweep


def change(difference: float, **measure: Any) -> AccuracyChange:
    kind = {"name": "accuracy", "kind": "right-answers", "higher_is_better": True} | measure
    return AccuracyChange(
        measure=QualityMeasure(**kind), baseline=0.9, tactic=0.9, difference=difference, samples=100, unit="image"
    )


@pytest.mark.parametrize(
    ("found", "within"),
    [
        (change(-1.0), True),
        (change(-1.1), False),
        (change(5.0), True),
        (change(0.9, kind="share", higher_is_better=False), True),
        (change(1.1, kind="share", higher_is_better=False), False),
        (change(0.001, kind="number", higher_is_better=False), False),
        (change(0.0, kind="number", higher_is_better=False), True),
        (change(-0.001, kind="number"), False),
        (None, False),  # unknown is not known to be within
    ],
)
def test_the_limit_is_a_point_of_a_share_and_nothing_of_a_number(found: AccuracyChange | None, within: bool) -> None:
    assert within_limit(found) is within


def sweep_of(out: Path) -> Sweep:
    """Two models: `a` has a cheap tactic that loses too much and a dearer one that does not; of `b` nothing is clear."""
    sweep = Sweep(out=out, noise=0.0, visit_noise=0.01)
    lost = {"int4": 36, "compile": 1, "prune-global": 0}
    for number in range(1, 6):
        for model, tactics in (("a", {"int4": 0.3, "compile": 0.6, "prune-global": 1.0}), ("b", {"prune-global": 1.0})):
            row = {"model": model, "model_family": model, "visit": 1, "round": number, "block_id": f"{model}-{number}"}
            sweep.cell("baseline", energy_j=0.004, bracket="open", order_in_visit=0, **row)
            for order, (tactic, ratio) in enumerate(tactics.items(), 1):
                level = 0.004 * ratio * (1 + sweep.rng.gauss(0, 0.01))
                sweep.cell(tactic, energy_j=level, wrong=18 + lost[tactic], order_in_visit=order, optimize_energy_j=1.0, **row)
            sweep.cell("baseline", energy_j=0.004, bracket="close", order_in_visit=9, **row)
    return sweep


def test_best_clear_and_not_clear(tmp_path: Path) -> None:
    analysis = analyse(sweep_of(tmp_path / "out").finish())
    table = best_tactics(analysis)
    assert table.heading == "Best tactic by model, losing at most 1 point of accuracy"
    assert [row[:2] for row in table.rows] == [("a", "compile"), ("b", "none is clear")]
    clear = analysis.clear
    assert [sentence.split(" uses")[0] for sentence in clear] == ["a: int4", "a: compile"]  # the largest saving first
    assert "costs 10.0 points of accuracy" in clear[0]
    (once,) = analysis.not_clear
    assert once.startswith("prune-global: no clear difference to energy per image on a and b (")
    assert " %, intervals within −" in once


def test_a_model_whose_savings_all_cost_too_much_says_so(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out", noise=0.0)
    sweep.rounds(3, "a", family="a", energy_j=0.004, tactics={"int4": 0.3}, accuracy_lost=36)
    (best,) = analyse(sweep.finish()).best
    assert (best.finding, best.why) == (None, "none within the limit")


def test_unknown_quality_is_not_called_over_the_limit(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out", noise=0.0)
    for number in (1, 2, 3):
        row = {"model": "a", "visit": 1, "round": number, "block_id": f"t{number}", "phase": "training"}
        for tactic, energy_j, bracket in (("baseline", 0.004, "open"), ("amp", 0.002, None), ("baseline", 0.004, "close")):
            sweep.cell(tactic, energy_j=energy_j, bracket=bracket, **row)
    (best,) = analyse(sweep.finish()).best
    assert (best.finding, best.why) == (None, "quality unknown")


@pytest.mark.parametrize(
    ("measure", "heading"),
    [
        ({}, "losing at most 1 point of accuracy"),
        ({"quality_measure": "WER", "quality_kind": "share", "quality_higher_is_better": False}, "losing at most 1 point of WER"),
        (
            {"quality_measure": "perplexity", "quality_kind": "number", "quality_higher_is_better": False},
            "without a worse perplexity",
        ),
    ],
)
def test_the_heading_tells_the_limit_that_was_applied(tmp_path: Path, measure: dict[str, Any], heading: str) -> None:
    sweep = Sweep(out=tmp_path / "out", noise=0.0)
    sweep.rounds(3, "a", family="a", energy_j=0.004, tactics={"int4": 0.3}, **measure)
    assert best_tactics(analyse(sweep.finish())).heading == f"Best tactic by model, {heading}"


def test_each_of_several_measures_has_its_limit_in_the_heading(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out", noise=0.0)
    sweep.rounds(3, "a", family="a", energy_j=0.004, tactics={"int4": 0.3})
    perplexity: dict[str, Any] = {"quality_measure": "perplexity", "quality_kind": "number", "quality_higher_is_better": False}
    sweep.rounds(3, "b", family="b", energy_j=0.004, tactics={"int4": 0.3}, **perplexity)
    heading = best_tactics(analyse(sweep.finish())).heading
    assert heading == "Best tactic by model, losing at most 1 point of accuracy, without a worse perplexity"


def test_the_tile_keeps_the_interval_with_the_figure(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out", noise=0.0, visit_noise=0.01)
    sweep.rounds(3, "a", family="a", energy_j=0.004, tactics={"compile": 0.5})
    analysis = analyse(sweep.finish())
    (section,) = (one for one in build(analysis).sections if one.id == "headline")
    (tiles,) = (block for block in section.blocks if isinstance(block, Tiles))
    figure, label = tiles.items[0]
    assert f"{figure} {label}".startswith(percent_change(analysis.findings[0].effect.energy))
    assert " to " in label


def test_the_page_reads_caveats_table_clear_not_clear(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path / "out")
    sweep.modelled = 0.9
    sweep.rounds(3, "c", family="c", energy_j=0.004, tactics={"compile": 0.5})
    (section,) = (one for one in build(analyse(sweep.finish())).sections if one.id == "headline")
    told = [block.heading.split(",")[0] for block in section.blocks if isinstance(block, Bullets | Grid)]
    assert isinstance(section.blocks[0], Notes)
    assert told == ["Best tactic by model", "Clear", "Not clear", "Over models"]


def test_what_cannot_be_concluded_from_cpu_time_is_said(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out", modelled=0.9)
    sweep.rounds(3, "c", family="c", energy_j=0.004, tactics={"compile": 0.5})
    (said,) = (caveat.text for caveat in analyse(sweep.finish()).caveats if caveat.weighty)
    assert "cannot tell spinning (threads that wait busily) from work" in said
    assert "What may be concluded here: time per image, accuracy, size, memory." in said
    assert "What may not: joules, and savings of tactics that change the power drawn at equal CPU time." in said


def test_a_model_with_several_batch_sizes_is_one_model(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out", noise=0.0)
    for batch in (1, 2, 4, 8, 16):
        sweep.rounds(3, "a", family="f", energy_j=0.004, tactics={"compile": 0.5}, batch_size=batch, block_id=f"b{batch}")
    (said,) = analyse(sweep.finish()).clear
    assert " on 1 model in 5 settings (a (batch 1), a (batch 2), a (batch 4) and 2 more; " in said


def test_a_tactic_that_is_clear_on_many_models_is_said_once(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out", noise=0.0)
    for number, model in enumerate("abcdef"):
        tactics = {"compile": 0.5 + number / 100} | ({"int4": 2.5} if number < 2 else {})
        sweep.rounds(3, model, family=model, energy_j=0.004, tactics=tactics, accuracy_lost=9)
    compiled, *int4 = analyse(sweep.finish()).clear
    sure = "intervals within −50.0 to −45.0 %, 3 rounds"
    expected = f"compile uses 45.0 to 50.0 % less energy per image on 6 models (a, b, c and 3 more; {sure})"
    assert compiled == f"{expected}, costs up to 2.5 points of accuracy."
    assert [sentence.split(" energy")[0] for sentence in int4] == ["a: int4 uses 2.5 times the", "b: int4 uses 2.5 times the"]


def test_training_is_told_from_inference_where_tactics_are_compared_in_both(tmp_path: Path) -> None:
    refused: dict[str, Any] = {"energy_j": None, "status": "unsupported", "model": "m"}
    sweep = Sweep(out=tmp_path / "both", noise=0.0)
    sweep.cell("tf32", **refused, error="no board")
    sweep.cell("tf32", **refused, error="trained so already", phase="training")
    assert sorted(analyse(sweep.finish()).without_result) == [
        "m (training): tf32 is unsupported (trained so already).",
        "m: tf32 is unsupported (no board).",
    ]
    sweep = Sweep(out=tmp_path / "one", noise=0.0)
    sweep.cell("tf32", **refused, error="trained so already", phase="training")
    assert analyse(sweep.finish()).without_result == ("m: tf32 is unsupported (trained so already).",)


def test_rounds_that_were_not_tried_share_the_reason_of_the_one_that_was(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out")
    for round_, why in enumerate(("no such kernel (ours)", f"{NOT_TRIED} (no such kernel (ours))"), start=1):
        sweep.cell("tf32", energy_j=None, status="unsupported", error=why, model="m", repeated_id="r", round=round_)
    assert analyse(sweep.finish()).without_result == ("m: tf32 is unsupported (no such kernel (ours)).",)


def test_one_crash_in_five_rounds_is_not_said_of_all(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out", noise=0.0)
    for number in range(1, 6):
        row = {"model": "m", "model_family": "m", "visit": 1, "round": number, "block_id": f"m-{number}"}
        sweep.cell("baseline", energy_j=0.004, bracket="open", **row)
        crash: dict[str, Any] = {"status": "crashed", "error": "signal 11"} if number == 2 else {}
        sweep.cell("compile", energy_j=None if crash else 0.002, **row, **crash)
        sweep.cell("int4", energy_j=None, status="unsupported", error="needs a newer processor", **row)
    assert sorted(analyse(sweep.finish()).without_result) == [
        "m: compile crashed in 1 of 5 rounds (signal 11).",
        "m: int4 is unsupported (needs a newer processor).",
    ]


def test_a_cell_that_never_started_is_a_round_of_its_cell_all_the_same(tmp_path: Path) -> None:
    """It knows no hardware, so its label may be another where there are several kinds of it."""
    sweep = Sweep(out=tmp_path / "out", noise=0.0)
    sweep.cell("compile", energy_j=0.002, model="m")
    for number in (1, 2):
        row = {"model": "n", "round": number, "block_id": f"n-{number}", "repeated_id": "r1-n"}
        died: dict[str, Any] = {"status": "crashed", "error": "signal 9"} if number == 2 else {"cpu_name": "Another CPU"}
        sweep.cell("compile", energy_j=None if number == 2 else 0.002, **row, **died)
    assert analyse(sweep.finish()).without_result == ("n: compile crashed in 1 of 2 rounds (signal 9).",)


def test_a_visit_that_another_has_made_good_leaves_no_round_without_a_result(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out", noise=0.0)
    for number in (1, 2):
        row = {"model": "m", "round": number, "block_id": f"m-{number}", "order_in_visit": 0, "repeated_id": "r1-m"}
        died: dict[str, Any] = {"energy_j": None, "status": "failed", "error": "CUDA error"}
        sweep.cell("baseline", bracket="open", visit=1, **row, **died)
        if number == 1:
            sweep.cell("baseline", bracket="open", visit=2, cell_id=f"c1-{2:016x}", energy_j=0.004, **row)
    assert analyse(sweep.finish()).without_result == ("m: baseline failed in 1 of 2 rounds (CUDA error).",)

"""Quality is told as its measure is: a share in points, a number in its own scale, better or worse by its direction."""

from pathlib import Path
from typing import Any

import pytest

from greenray.analysis import Analysis, analyse
from greenray.analysis.wording import quality
from greenray.report import build, markdown
from greenray.report.document import Chart
from greenray.tasks.base import QualityMeasure
from tests.support.synthetic import Sweep

PERPLEXITY = {"quality_measure": "perplexity", "quality_kind": "number", "quality_higher_is_better": False}
ERRORS = {"quality_measure": "word error rate", "quality_kind": "share", "quality_higher_is_better": False}
TOKENS = {"unit": "token", "evaluation_unit": "text"}


def analysed(out: Path, *models: tuple[float, float, dict[str, Any]]) -> Analysis:
    """A model each: quality of the baseline and of the tactic, columns. Predictions are kept; by them 0.95 is right."""
    sweep = Sweep(out=out, noise=0.0)
    for number, (before, after, columns) in enumerate(models):
        shared = {"model": f"m{number}", "visit": 1, "block_id": f"b{number}"} | columns
        for order, (tactic, bracket) in enumerate((("baseline", "open"), ("int8", None), ("baseline", "close"))):
            row = shared | {"bracket": bracket, "order_in_visit": order}
            sweep.cell(tactic, energy_j=0.01, quality=after if tactic == "int8" else before, **row)
    return analyse(sweep.finish())


@pytest.mark.parametrize(
    ("measure", "before", "after", "said", "table"),
    [
        (PERPLEXITY, 8.0, 16.0, "raises perplexity from 8.00 to 16.0, which is worse (on", "+8.00, worse (unpaired)"),
        (PERPLEXITY, 8.0, 6.0, "lowers perplexity from 8.00 to 6.00, which is better (on", "−2.00, better (unpaired)"),
        (ERRORS, 0.1, 0.1001, "leaves word error rate as it was (on", "0.0 points (unpaired)"),
        (PERPLEXITY, 8.0, 8.0, "leaves perplexity as it was (on", "0 (unpaired)"),
        (ERRORS, 0.05, 0.07, "raises word error rate by 2.0 points, which is worse (on", "+2.0 points, worse (unpaired)"),
        (
            ERRORS | {"quality_higher_is_better": True},
            0.5,
            0.4,
            "costs 10.0 points of word error rate (on",
            "−10.0 points (unpaired)",
        ),
        (
            PERPLEXITY | {"quality_higher_is_better": True},
            -2.0,
            -1.0,
            "from −2.00 to −1.00, which is better (on",
            "+1.00 (unpaired)",
        ),
    ],
)
def test_a_measure_is_told_in_its_own_words(
    tmp_path: Path, measure: dict[str, Any], before: float, after: float, said: str, table: str
) -> None:
    analysis = analysed(tmp_path / "out", (before, after, measure | TOKENS))
    (finding,) = analysis.findings
    assert f"{said} 360 texts, not compared pairwise)" in finding.sentence
    twin = markdown.render(build(analysis))
    assert table in twin
    assert "McNemar" not in twin
    assert "% right" not in twin
    assert "Few " not in twin
    assert f"Changes of {measure['quality_measure']} have no interval" in twin


def test_right_answers_are_compared_one_by_one_and_counted_in_what_is_evaluated(tmp_path: Path) -> None:
    analysis = analysed(tmp_path / "out", (0.5, 0.5, {"quality_kind": "right-answers"} | TOKENS))
    (finding,) = analysis.findings
    assert finding.accuracy is not None
    assert (finding.accuracy.baseline, finding.accuracy.p_value) == (pytest.approx(0.95), 1)  # what the predictions say
    assert "leaves accuracy as it was (on 360 texts)" in finding.sentence
    assert "Few texts: accuracy rests on 360 texts, so one text is 0.28 points." in markdown.render(build(analysis))


def test_another_share_is_never_made_of_predictions(tmp_path: Path) -> None:
    f1 = {"quality_measure": "F1", "quality_kind": "share"}
    (finding,) = analysed(tmp_path / "out", (0.5, 0.75, f1)).findings
    assert finding.accuracy is not None
    assert (finding.accuracy.baseline, finding.accuracy.tactic, finding.accuracy.p_value) == (0.5, 0.75, None)
    assert "gains 25.0 points of F1" in finding.sentence


def test_unknown_counts_are_unknown(tmp_path: Path) -> None:
    columns: dict[str, Any] = PERPLEXITY | {"samples_evaluated": None}
    analysis = analysed(tmp_path / "out", (8.0, 16.0, columns), (0.5, 0.4, {"quality_kind": "share", "samples_evaluated": None}))
    assert "which is worse (not compared pairwise)" in analysis.findings[0].sentence
    assert "unknown |" in markdown.render(build(analysis)).split("## Quality")[1].split("##")[0]


def test_measures_of_another_scale_or_direction_have_a_chart_of_their_own(tmp_path: Path) -> None:
    analysis = analysed(tmp_path / "out", (8.0, 16.0, PERPLEXITY), (0.95, 0.9, {}), (0.05, 0.06, ERRORS))
    blocks = next(section.blocks for section in build(analysis).sections if section.id == "accuracy")
    shown = {chart.id: chart for chart in blocks if isinstance(chart, Chart)}
    axes = {name: chart.figure["layout"]["yaxis"]["title"]["text"] for name, chart in shown.items()}
    assert axes == {"accuracy": "perplexity", "accuracy-1": "accuracy, %", "accuracy-2": "word error rate, %"}
    assert [chart.caption.split()[0] for chart in shown.values()] == ["Down", "Up", "Down"]
    assert shown["accuracy"].figure["data"][1]["y"] == [16]


def test_training_tells_its_measure_too(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out")
    sweep.train("lm", family="lm", epochs_j=[1.0], **PERPLEXITY | {"accuracy": 8.0, "accuracy_low": 7.5, "accuracy_high": 8.5})
    twin = markdown.render(build(analyse(sweep.finish())))
    assert "| test perplexity |" in twin
    assert "| 8.00 (7.50 to 8.50) |" in twin


def test_a_value_with_half_an_interval_has_none() -> None:
    assert quality(QualityMeasure(name="accuracy", kind="right-answers"), 0.5, 0.4) == "50.0 %"
    assert quality(QualityMeasure(name="loss", kind="number"), None) == "unknown"

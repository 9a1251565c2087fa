"""The sweep checks itself: baselines against baselines, and the baseline under another name."""

import random
from pathlib import Path

import pytest

from greenray.analysis import Analysis, analyse
from greenray.analysis.null_check import NullCheck
from greenray.report import build
from greenray.report.markdown import render
from tests.support.synthetic import Sweep


def swept(out: Path, *, models: int, rounds: int = 5, bias: float = 0.0, busy: bool = False) -> Analysis:
    """Models whose closing baseline differs from the opening one by `bias` in log, and by noise."""
    sweep = Sweep(out=out, noise=0.0, contention="others kept 1.4 of 2 processors busy" if busy else None)
    rng = random.Random(models)
    for model in range(models):
        for number in range(1, rounds + 1):
            row = {
                "model": f"m{model}",
                "model_family": f"f{model}",
                "visit": 1,
                "round": number,
                "block_id": f"b{model}-{number}",
            }
            places = (("baseline", "open"), ("compile", None), ("null-check", None), ("baseline", "close"))
            for order, (tactic, bracket) in enumerate(places):
                level = 0.004 * (1 + rng.gauss(0, 0.003) + bias * (bracket == "close")) * (0.5 if tactic == "compile" else 1)
                sweep.cell(tactic, energy_j=level, bracket=bracket, order_in_visit=order, **row)
    return analyse(sweep.finish())


def in_short(analysis: Analysis) -> str:
    return render(build(analysis)).split("\n## ")[1]


def test_equals_that_show_no_difference_are_said_to_hold_0(tmp_path: Path) -> None:
    analysis = swept(tmp_path / "out", models=6)
    (check,) = analysis.null_checks
    assert (check.hardware, check.intervals, check.passed) == ("Some CPU", 12, True)  # brackets and null-check of each model
    assert check.sentence == f"Null check on Some CPU: {12 - len(check.misses)} of 12 intervals hold 0, as they should."
    assert check.sentence in in_short(analysis)


def test_a_bias_between_equals_is_a_weighty_warning(tmp_path: Path) -> None:
    analysis = swept(tmp_path / "out", models=4, bias=0.05)
    (check,) = analysis.null_checks
    assert not check.passed
    (warning,) = (caveat for caveat in analysis.caveats if caveat.text == check.sentence)
    assert warning.weighty
    assert "intervals between equals hold 0, with differences of up to 5." in warning.text
    assert "as they should" not in in_short(analysis)


@pytest.mark.parametrize(
    ("intervals", "misses", "passed"), [(15, 1, True), (15, 2, True), (15, 3, False), (1, 1, False), (2, 0, True)]
)
def test_so_many_misses_may_be_chance(tmp_path: Path, intervals: int, misses: int, passed: bool) -> None:
    miss = swept(tmp_path / "out", models=1, bias=0.05).null_checks[0].misses[0]
    assert NullCheck(hardware="x", intervals=intervals, misses=(miss,) * misses).passed is passed


@pytest.mark.parametrize(("rounds", "busy"), [(2, False), (4, True)])
def test_under_three_quiet_rounds_there_is_no_check_and_no_line(tmp_path: Path, rounds: int, busy: bool) -> None:
    analysis = swept(tmp_path / "out", models=1, rounds=rounds, busy=busy)
    assert analysis.null_checks == ()
    assert "ull check" not in in_short(analysis)
    assert "No null check: it takes three rounds on a quiet host." in render(build(analysis)).split("## How good")[1]


def test_one_miss_of_two_is_called_neither_good_nor_bad(tmp_path: Path) -> None:
    miss = swept(tmp_path / "out", models=1, bias=0.05).null_checks[0].misses[0]
    said = NullCheck(hardware="x", intervals=2, misses=(miss,)).sentence
    assert said == "Null check on x: 1 of 2 intervals holds 0; they are too few to tell whether that is chance."


def test_the_null_check_is_compared_and_never_praised(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out", noise=0.0)
    for model in "abc":
        sweep.rounds(3, model, family=model, energy_j=0.004, tactics={"compile": 0.9, "null-check": 0.5})
    analysis = analyse(sweep.finish())
    assert [best.finding and best.finding.tactic for best in analysis.best] == ["compile"] * 3
    assert not any("null-check" in sentence for sentence in analysis.headline)
    twin = render(build(analysis))
    listed = {part.splitlines()[0] for part in twin.split("\n## ") if "| a | null-check |" in part}
    assert listed == {"Energy", "Latency and throughput", "What happened to each cell"}
    assert {finding.tactic for finding in analysis.findings} == {"compile", "null-check"}

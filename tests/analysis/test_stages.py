"""A task with several stages: each is compared with the same stage of its baseline, and nothing is told of their mixture."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from greenray.analysis import Analysis, analyse, comparisons
from greenray.analysis.estimators.points import groups
from greenray.report import build, markdown
from tests.support.synthetic import Sweep

BASELINE = {"prefill": (0.001, 4), "decode": (0.1, 4)}
"""Stage -> joules per token, and how many windows its verdict asked for."""

Stages = Mapping[str, tuple[float | None, int]]


def rounds(sweep: Sweep, tactics: Mapping[str, Stages], **columns: Any) -> None:
    """Three rounds alike."""
    for number in (1, 2, 3):
        visit(sweep, tactics, round=number, **columns | {"block_id": f"{columns.get('block_id', 'b')}-{number}"})


def visit(sweep: Sweep, tactics: Mapping[str, Stages], *, baseline: Stages = BASELINE, **columns: Any) -> None:
    block = {"model": "lm", "model_family": "lm", "visit": 1, "block_id": "b1", "unit": "token"} | columns
    cells = [("baseline", baseline, "open"), *((tactic, stages, None) for tactic, stages in tactics.items())]
    for order, (tactic, stages, bracket) in enumerate([*cells, ("baseline", baseline, "close")]):
        row = block | {"device": sweep.device}
        each = [(stage, energy_j) for stage, (energy_j, count) in stages.items() for _ in range(count)]
        windows = [sweep._steady(at, energy_j, row) | {"stage": stage} for at, (stage, energy_j) in enumerate(each)]
        sweep.cell(tactic, energy_j=None, windows=windows, bracket=bracket, order_in_visit=order, **block)


def effects(analysis: Analysis) -> dict[tuple[str, str], float | None]:
    found = ((f.effect.subject.stage, f.tactic, f.effect.energy) for f in analysis.findings)
    return {(stage, tactic): energy and energy.ratio for stage, tactic, energy in found}


def test_how_many_windows_a_stage_took_is_no_effect(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out", noise=0.0)
    rounds(sweep, {"compile": {"prefill": (0.001, 8), "decode": (0.1, 4)}})
    analysis = analyse(sweep.finish())
    assert effects(analysis) == {("prefill", "compile"): pytest.approx(1), ("decode", "compile"): pytest.approx(1)}
    twin = markdown.render(build(analysis))
    for stage, energy in (("prefill", "1.00 mJ"), ("decode", "100 mJ")):
        assert f"| lm (stage {stage}) | compile | 0.0 % (0.0 to 0.0) | 3 rounds | {energy} | {energy} |" in twin
    assert "compile: no clear difference to energy per token on lm (stage decode) and lm (stage prefill) (0.0 %" in twin
    assert "at best" not in twin
    assert "9 cells in 9 attempts: 9 ok." in twin
    assert "| lm | compile |" in twin  # the cell as such, of no stage
    assert [arm.energy_j for arm in analysis.arms] == [None] * 9
    assert [row["stage"] for row in comparisons.rows(analysis)] == ["decode"] * 3 + ["prefill"] * 3


def test_each_stage_has_its_own_effect_and_means_over_models_keep_them_apart(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out", noise=0.0)
    for model in ("a", "b", "c"):
        names = {"model": model, "model_family": model, "block_id": f"b-{model}"}
        rounds(sweep, {"int8": {"prefill": (0.0005, 9), "decode": (0.12, 3)}}, **names)
    analysis = analyse(sweep.finish())
    found = {effect.group.stage: effect.energy and effect.energy.ratio for effect in analysis.overall}
    assert found == {"prefill": pytest.approx(0.5), "decode": pytest.approx(1.2)}
    assert sorted(sentence.split(" (")[0] for sentence in analysis.over_models) == [
        "Over 3 models of 3 families, stage decode: int8 uses 20.0 % more energy per token",
        "Over 3 models of 3 families, stage prefill: int8 uses 50.0 % less energy per token",
    ]
    assert "Each stage is charged the whole of it." in markdown.render(build(analysis))
    assert {group.stage: len(points) for group, points in groups(analysis.arms).items()} == {"prefill": 3, "decode": 3}


def test_a_stage_without_a_usable_window_says_so_and_leaves_the_other_alone(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out", noise=0.0)
    visit(sweep, {"compile": {"prefill": (None, 4), "decode": (0.05, 4)}, "int8": {"decode": (0.2, 4)}})
    analysis = analyse(sweep.finish())
    assert effects(analysis) == {
        ("prefill", "compile"): None,
        ("decode", "compile"): pytest.approx(0.5),
        ("prefill", "int8"): None,
        ("decode", "int8"): pytest.approx(2),
    }
    (unknown,) = (s for s in analysis.not_clear if s.startswith("int8: no comparison of energy"))
    assert "on lm (stage prefill) (" in unknown


def test_a_single_stage_has_no_name_even_where_older_rows_lack_it(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out", noise=0.0)
    for round_, stage in enumerate((None, "forward", "forward"), 1):
        stages = {stage: (0.01, 4)}
        visit(sweep, {"compile": stages}, baseline=stages, round=round_, block_id=f"b-{round_}")  # type: ignore[dict-item, arg-type]
    analysis = analyse(sweep.finish())
    (finding,) = analysis.findings
    assert (finding.label, finding.effect.subject.stage, len(finding.effect.visits)) == ("lm", "", 3)
    assert all(arm.energy_j for arm in analysis.arms)
    assert {row["stage"] for row in comparisons.rows(analysis)} == {None}
    assert "stage" not in markdown.render(build(analysis))

"""A paper's figures of tactics held against stores of known truth: each of the three answers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from greenray.analysis import analyse
from greenray.analysis.devices import side_by_side
from greenray.analysis.papers import tactics
from greenray.analysis.papers.claim import Held
from greenray.analysis.papers.figures import GONZALEZ
from greenray.report import build, markdown
from tests.support.synthetic import Sweep

WHOLE = {"size_bytes": 4_000_000, "parameters_bytes": 4_000_000}
QUANTIZED = {"size_bytes": 1_080_000, "parameters_bytes": 240_000}


def held(sweep: Sweep, tactic: str) -> dict[str, Held]:
    analysis = analyse(sweep.finish())
    rows = side_by_side(analysis.arms, [finding.effect for finding in analysis.findings])
    found = tactics.hold(GONZALEZ.claims, analysis.overall, analysis.findings, rows)
    return {one.claim.measure: one for one in found if one.claim.subject == tactic}


def rounds(sweep: Sweep, tactics: Mapping[str, Mapping[str, Any]], ratios: Sequence[float], *, count: int = 3) -> Sweep:
    """A family for each ratio, each with so many rounds; a column of a tactic that is a list has a value for each family."""
    for number, ratio in enumerate(ratios):
        for round_ in range(1, count + 1):
            shared = {"model": f"m{number}", "model_family": f"f{number}", "visit": 1, "round": round_}
            shared |= {"block_id": f"b-{number}-{round_}"}
            sweep.cell("baseline", energy_j=0.004, bracket="open", order_in_visit=0, **shared, **WHOLE)
            for order, (tactic, columns) in enumerate(tactics.items(), start=1):
                own = {name: value[number] if isinstance(value, list) else value for name, value in columns.items()}
                sweep.cell(tactic, energy_j=0.004 * ratio, order_in_visit=order, **shared, **own)
            sweep.cell("baseline", energy_j=0.004, bracket="close", order_in_visit=len(tactics) + 1, **shared, **WHOLE)
    return sweep


@pytest.mark.parametrize(
    ("ratios", "told"),
    [
        ((0.80, 0.81, 0.79), "holds"),
        ((1.20, 1.21, 1.19), "does not hold"),
        ((0.70, 1.30, 1.00), "cannot be told"),
    ],
)
def test_a_direction_over_families(tmp_path: Path, ratios: Sequence[float], told: str) -> None:
    found = held(rounds(Sweep(out=tmp_path / "out"), {"compile": {}}, ratios), "compile")["energy_j"]
    assert (found.told, found.families) == (told, 3)


@pytest.mark.parametrize(
    ("ratios", "told"),
    [
        ((0.46, 0.47, 0.48), "holds"),
        ((0.80, 0.81, 0.79), "does not hold in size; in direction it holds"),
        ((0.50, 0.80, 0.60, 0.70, 0.75), "cannot be told in size; in direction it holds"),
        ((1.10, 1.11, 1.12), "does not hold"),
    ],
)
def test_a_size_over_families_and_sizes_that_leave_packed_weights_out(tmp_path: Path, ratios: Sequence[float], told: str) -> None:
    found = held(rounds(Sweep(out=tmp_path / "out"), {"dynamic-quantization": QUANTIZED}, ratios), "dynamic-quantization")
    assert found["energy_j"].told == told
    assert found["parameters_bytes"].told == "holds"
    assert found["size_bytes"].told == "does not hold in size; in direction it holds"
    assert found["gpu_energy_j"].told == "cannot be told: not known of the tactic and the baseline"


@pytest.mark.parametrize(
    ("seconds", "told"),
    [([3.0, 3.1, 2.9], "holds"), ([0.5, 0.51, 0.49], "does not hold"), ([0.5, 2.0, 1.0], "cannot be told")],
)
def test_the_time_to_apply_is_compared_with_that_of_local_pruning(tmp_path: Path, seconds: list[float], told: str) -> None:
    both = {"prune-local": {"optimize_s": 1.0}, "prune-global": {"optimize_s": seconds}}
    sweep = rounds(Sweep(out=tmp_path / "out"), both, (1.0, 1.0, 1.0))
    assert held(sweep, "prune-global")["time_to_apply_s"].told == told


@pytest.mark.parametrize(
    ("samples", "told"), [(20, "cannot be told"), (360, "does not hold in size; in direction it cannot be told")]
)
def test_that_accuracy_is_the_same_takes_samples(tmp_path: Path, samples: int, told: str) -> None:
    sweep = rounds(Sweep(out=tmp_path / "out", samples=samples), {"dynamic-quantization": {}}, (1.0, 1.0, 1.0))
    assert held(sweep, "dynamic-quantization")["accuracy_ratio"].told == told  # the paper lost a seventh of it


def test_the_smallest_batches_are_what_the_papers_images_one_by_one_are_held_against(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out")
    for batch, ratio in ((1, 0.8), (32, 1.2)):
        for number in range(3):
            sweep.rounds(
                3,
                f"m{number}",
                family=f"f{number}",
                energy_j=0.004,
                tactics={"compile": ratio},
                batch_size=batch,
                block_id=f"b{batch}-{number}",
            )
    found = held(sweep, "compile")["energy_j"]
    assert (found.told, "batch 1" in found.where, "32" in found.where) == ("holds", True, False)


@pytest.mark.parametrize("families", [2, 3])
def test_claims_are_shown_from_three_families_on(tmp_path: Path, families: int) -> None:
    ratios = [0.8 + 0.001 * number for number in range(families)]
    sweep = rounds(Sweep(out=tmp_path / "out"), {"dynamic-quantization": QUANTIZED}, ratios)
    shown = markdown.render(build(analyse(sweep.finish()), (".arms",)))
    assert ("What the paper found" in shown) is (GONZALEZ.source in shown) is (families == 3)
    if families == 3:
        lines = [line.split(" | ") for line in shown.splitlines() if line.startswith("| dynamic-quantization | ")]
        rows = {line[1]: line for line in lines}
        assert rows["energy"][2] == "−53.5 %, taken as −31.8 to −78.4 %"
        assert rows["energy"][-1] == "does not hold in size; in direction it holds |"
        assert rows["GPU energy"][-1].startswith("cannot be told: ")


def test_of_models_without_an_interval_nothing_is_told(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out", modelled=1.0)
    few = {"touched_parameters_share": 0.002, "touched_macs_share": 0.001}
    found = held(rounds(sweep, {"compile": few}, (0.8, 0.8, 0.8), count=2), "compile")["energy_j"]
    assert found.told == "cannot be told: 2 rounds of each model"
    assert "hardly applied to 3 models" in found.where
    assert "(estimated from CPU time)" in found.where

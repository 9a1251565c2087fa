"""Sizes and zeros that promise too much, on stores of known truth."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from greenray.analysis import analyse, artefacts
from greenray.report import build, markdown
from tests.support.synthetic import Sweep

WHOLE = {"size_bytes": 4_000_000, "parameters_bytes": 4_000_000}


def visits(sweep: Sweep, model: str, tactic: str, *, ratio: float, time_s: float | None = None, **columns: Any) -> None:
    """Three rounds of one tactic, whose rows have these columns."""
    for round_ in range(1, 4):
        shared = {"model": model, "model_family": model, "visit": 1, "round": round_, "block_id": f"b-{model}-{round_}"}
        shared |= {"time_s": time_s}
        sweep.cell("baseline", energy_j=0.004, bracket="open", order_in_visit=0, **shared, **WHOLE)
        sweep.cell(tactic, energy_j=0.004 * ratio, order_in_visit=1, **shared, **columns)
        sweep.cell("baseline", energy_j=0.004, bracket="close", order_in_visit=2, **shared, **WHOLE)


def section(sweep: Sweep) -> str:
    return markdown.render(build(analyse(sweep.finish()))).split("## Arms and artefacts")[1].split("\n## ")[0]


def test_a_size_without_the_packed_weights_is_told_beside_the_file(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out")
    visits(sweep, "vit", "dynamic-quantization", ratio=0.8, size_bytes=1_080_000, parameters_bytes=240_000)
    visits(sweep, "swin", "bf16", ratio=0.8, size_bytes=2_000_000, parameters_bytes=2_000_000)
    analysis = analyse(sweep.finish())
    sizes = {size.tactic: size for size in artefacts.sizes(analysis.arms)}
    assert sizes["dynamic-quantization"].change == pytest.approx(-0.73)
    assert sizes["dynamic-quantization"].naive_change == pytest.approx(-0.94)
    assert sizes["dynamic-quantization"].most == 0.75
    assert (sizes["bf16"].misleads, sizes["bf16"].most) == (False, 0.5)
    assert artefacts.size_sentences(sizes.values()) == [
        "dynamic-quantization on vit: what parameters() lists changes by −94 %, the serialised model by −73 %, and 8 bits for 32 "
        "can save 75 % at most; weights that are packed, or held outside of torch, are no parameters, so the first figure leaves "
        "them out."
    ]
    assert "| vit | dynamic-quantization | 4.00 MB | 1.08 MB | −73.0 % | −94.0 % | −75.0 % |" in section(sweep)


def test_what_a_file_holds_beside_its_weights_hides_no_saving(tmp_path: Path) -> None:
    """Half of the weights' bytes are gone from the file too: 50 % of them, 40 % of it."""
    sweep = Sweep(out=tmp_path / "out")
    visits(sweep, "vit", "bf16", ratio=0.8, size_bytes=2_400_000, parameters_bytes=1_600_000)
    visits(sweep, "vit", "onnxruntime", ratio=0.8, size_bytes=4_200_000, parameters_bytes=0)
    sizes = [replace(size, naive_baseline_bytes=3_200_000) for size in artefacts.sizes(analyse(sweep.finish()).arms)]
    assert {size.tactic: size.misleads for size in sizes} == {"bf16": False, "onnxruntime": True}
    (said,) = artefacts.size_sentences(sizes)
    assert "what parameters() lists changes by −100 %, the serialised model by +5 %; weights" in said


def test_models_are_counted_once_however_many_batches_they_have(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out")
    evidence = json.dumps({"prune-local": {"sparsity_model": 0.3, "permanent": True}})
    for batch in (1, 32):
        columns = {"batch_size": batch, "block_id": f"b{batch}", "evidence": evidence}
        sweep.rounds(3, "vit", family="vit", energy_j=0.004, tactics={"prune-local": 1.0}, **columns)
    (said,) = artefacts.zero_sentences(artefacts.zeros(analyse(sweep.finish()).findings))
    assert said.startswith("prune-local on 1 model in 2 settings: 30 % of the weights are zero")


@pytest.mark.parametrize(("time_ratio", "said"), [(1.0, "no clear difference in time"), (0.7, "time is less all the same")])
def test_zeros_in_dense_kernels_stand_beside_their_time(tmp_path: Path, time_ratio: float, said: str) -> None:
    sweep = Sweep(out=tmp_path / "out", noise=0.004)
    evidence = json.dumps({"prune-local": {"sparsity_model": 0.298, "permanent": True}})
    # Time follows energy in these stores, and scatters with it.
    for round_ in range(1, 4):
        shared = {"model": "vit", "model_family": "vit", "visit": 1, "round": round_, "block_id": f"b-{round_}"}
        level = 0.004 * (1 + 0.001 * (round_ - 2))
        sweep.cell("baseline", energy_j=0.004, bracket="open", order_in_visit=0, **shared)
        sweep.cell("prune-local", energy_j=level * time_ratio, order_in_visit=1, evidence=evidence, **shared)
        sweep.cell("baseline", energy_j=0.004, bracket="close", order_in_visit=2, **shared)
    shown = section(sweep)
    assert f"prune-local on vit: 30 % of the weights are zero and the kernels are dense: {said} (" in shown
    assert "| vit | prune-local | 29.8 % | dense |" in shown


def test_kernels_are_those_of_the_tactic_in_the_chain(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out")
    packed = json.dumps({"bf16": {}, "sparse-2-4": {"weights_converted": 800_000, "backend": "cutlass"}})
    visits(sweep, "a", "bf16+sparse-2-4", ratio=0.8, evidence=packed)
    masked = json.dumps({"prune-global": {"sparsity_model": 0.5, "permanent": False}})
    visits(sweep, "b", "prune-global_amount-0.5_permanent-false", ratio=1.1, evidence=masked)
    cut = json.dumps({"prune-structured": {"parameters_before": 10, "parameters_after": 7}})
    visits(sweep, "c", "prune-structured", ratio=0.8, evidence=cut)
    rows = {row.label: row for row in artefacts.zeros(analyse(sweep.finish()).findings)}
    assert (rows["a"].zeros, rows["a"].kernel) == (0.4, "sparse (cutlass)")
    assert (rows["b"].zeros, rows["b"].kernel) == (0.5, "dense, with a mask multiplied in")
    assert (rows["c"].zeros, rows["c"].kernel) == (None, "dense, and smaller: channels are removed")

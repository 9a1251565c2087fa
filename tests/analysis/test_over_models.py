"""Every measure over models: known truth comes out, a family counts once, Holm is over all tests, unknown stays unknown."""

import math
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from greenray.analysis import Analysis, analyse, stats
from greenray.analysis.measures import MEASURES, changes
from greenray.analysis.overall import OverallEffect
from greenray.analysis.wording import p_value
from greenray.report.document import Text
from greenray.report.sections import over_models as section
from tests.support.synthetic import Sweep

BOARD = {"gpu_uuid": "GPU-1", "gpu_name": "NVIDIA H200"}


class Boards(Sweep):
    """A sweep whose windows know a board too."""

    def _steady(self, index: int, energy_j: float | None, row: Any, time_s: float | None = None) -> dict[str, Any]:
        window = super()._steady(index, energy_j, row, time_s)
        busy = 0.4 if row["tactic_params"].find("baseline") >= 0 else 0.0
        return window | {"gpu_energy_j": (energy_j or 0.0) * window["samples"] / 4, "gpu_utilization": busy}


def swept(out: Path, families: int, *, rounds: int = 3, **tactics: float) -> Analysis:
    sweep = Boards(out=out, noise=0.001, windows=1, visit_noise=0.004)
    rng = random.Random(2)
    for number in range(families):
        model = {"model": f"m{number}", "family": f"f{number}", "energy_j": 0.001 * 2**number, "accuracy_lost": 18}
        described = {"parameters": 1000, "peak_gpu_memory_bytes": 500, **BOARD}
        ratios = {tactic: ratio * math.exp(rng.gauss(0, 0.05)) for tactic, ratio in tactics.items()}
        for round_ in range(1, rounds + 1):
            sweep.visit(**model, tactics=ratios, round_=round_, **described)  # type: ignore[arg-type]
    return analyse(sweep.finish())


def by_tactic(analysis: Analysis) -> dict[str, OverallEffect]:
    return {effect.tactic: effect for effect in analysis.overall}


@pytest.fixture(scope="module")
def eight(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    return swept(tmp_path_factory.mktemp("eight") / "out", 8, compile=0.7, prune=1.0)


def test_known_changes_come_out_of_every_measure(eight: Analysis) -> None:
    found = by_tactic(eight)["compile"].measures
    assert list(found) == [measure.name for measure in MEASURES]
    for name in ("energy_j", "gpu_energy_j", "cpu_energy_j", "time_s", "latency_p50_s"):
        change = found[name].change
        assert change.low is not None
        assert change.high is not None
        assert change.low < 0.7 < change.high
        assert change.basis == "8 model families"
    throughput, time = found["samples_per_s"].change, found["time_s"].change
    assert throughput.value == pytest.approx(1 / (time.value or 0))
    assert (throughput.low, throughput.high) == pytest.approx((1 / (time.high or 0), 1 / (time.low or 0)))
    assert found["gpu_power_w"].change.value == pytest.approx(1, rel=0.01)
    assert found["gpu_utilization"].change.value == pytest.approx(-40)  # points, and 0 is known
    assert found["accuracy"].change.value == pytest.approx(-5)
    assert found["accuracy_ratio"].change.value == pytest.approx((360 - 36) / (360 - 18))
    assert found["electricity"].change.value == found["energy_j"].change.value


def test_what_is_not_known_is_none_with_a_reason(eight: Analysis) -> None:
    rent = by_tactic(eight)["compile"].measures["rent"]
    assert (rent.change.value, rent.models, rent.families, rent.wilcoxon_p) == (None, 0, 0, None)
    assert rent.change.basis == "no price is known"
    memory = by_tactic(eight)["compile"].measures["peak_host_memory_bytes"].change
    assert (memory.value, memory.basis) == (None, "not known of the tactic and the baseline")


def test_latency_of_batches_of_another_size_is_not_compared_and_says_so(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out", noise=0.0)
    row = {"model": "m", "visit": 1, "block_id": "b"}
    for tactic, bracket, batch in (("baseline", "open", 32), ("batch-size", None, 64), ("baseline", "close", 32)):
        sweep.cell(tactic, energy_j=0.01, bracket=bracket, measured_batch_size=batch, **row)
    (finding,) = analyse(sweep.finish()).findings
    found = changes(finding)
    assert found["energy_j"].value == pytest.approx(1)
    assert found["latency_p50_s"].value is None
    assert "not by latency" in found["latency_p50_s"].basis


def test_exact_figures_that_nothing_changes_are_no_hypotheses(eight: Analysis) -> None:
    size = by_tactic(eight)["compile"].measures["size_bytes"]
    assert (size.change.value, size.wilcoxon_p, size.rank_biserial) == (1, None, None)
    assert "size_bytes" not in {found.change.measure.name for _, found in section.load(eight) or ()}


def test_holm_is_over_all_tactics_and_measures_of_a_group(eight: Analysis) -> None:
    tested = [(e.tactic, found) for e in eight.overall for found in e.measures.values() if found.wilcoxon_p is not None]
    # The store has no energy but the processor's, and the board's is a fourth of it: three measures, one hypothesis.
    distinct = {(tactic, tuple(round(value, 9) for value in found.values)): found for tactic, found in tested}
    (hypotheses,) = {found.hypotheses for _, found in tested}
    assert hypotheses == len(distinct) < len(tested)
    assert {found.wilcoxon_p for tactic, found in tested if tactic == "compile" and found.values == tested[0][1].values} == {
        tested[0][1].wilcoxon_p
    }
    raw = [float(scipy_stats.wilcoxon(values).pvalue) if any(values) else 1.0 for _, values in distinct]
    assert [found.wilcoxon_p for found in distinct.values()] == pytest.approx(stats.holm(raw))
    assert min(raw) * hypotheses == pytest.approx(min(found.wilcoxon_p or 0 for _, found in tested))
    assert {found.change.measure.name for _, found in tested}.isdisjoint({"samples_per_s", "electricity", "accuracy_ratio"})


def test_effect_sizes_and_quartiles(eight: Analysis) -> None:
    energy = by_tactic(eight)["compile"].measures["energy_j"]
    assert energy.rank_biserial == -1
    assert -0.2 < (energy.cliffs_delta or 0) < 0  # models differ far more than the tactic changes them
    low, high = energy.quartiles or (0, 0)
    assert 0 < low < (energy.median or 0) < high < 1


def test_under_eight_families_there_is_no_test_and_under_three_no_interval(tmp_path: Path) -> None:
    four = by_tactic(swept(tmp_path / "four", 4, compile=0.7))["compile"].measures["energy_j"]
    assert four.change.low is not None
    assert (four.wilcoxon_p, four.hypotheses) == (None, 0)
    two = by_tactic(swept(tmp_path / "two", 2, compile=0.7))["compile"].measures["energy_j"]
    assert (two.change.low, two.change.basis, two.rank_biserial) == (None, "under 3 families", None)


def test_exact_figures_need_no_rounds(tmp_path: Path) -> None:
    found = by_tactic(swept(tmp_path / "out", 3, rounds=1, compile=0.7))["compile"].measures
    assert found["energy_j"].change.low is None
    assert found["energy_j"].change.basis == "one round of each model"
    accuracy = found["accuracy"].change
    assert accuracy.value == pytest.approx(-5)
    assert (accuracy.low or 0) < -5 < (accuracy.high or -9)
    assert found["size_bytes"].change.low == 1


def test_no_change_on_few_samples_is_not_certain(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out", noise=0.0, samples=20)
    for model in "abc":
        sweep.visit(model, family=model, energy_j=0.01, tactics={"bf16": 0.9}, accuracy_lost=0)
    accuracy = by_tactic(analyse(sweep.finish()))["bf16"].measures["accuracy"].change
    (own,) = {finding.accuracy.high for finding in analyse(tmp_path / "out").findings if finding.accuracy}
    assert (accuracy.value, accuracy.high) == (0, pytest.approx((own or 0) / math.sqrt(3)))


def test_a_family_counts_once_in_every_measure(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out", noise=0.0)
    for model, family, size, lost in (("a1", "a", 0.25, 36), ("a2", "a", 0.25, 36), ("b1", "b", 1.0, 0), ("c1", "c", 1.0, 0)):
        row = {"model": model, "model_family": family, "visit": 1, "block_id": f"b-{model}"}
        for tactic, bracket, wrong in (("baseline", "open", 18), ("int8", None, 18 + lost), ("baseline", "close", 18)):
            bytes_ = 4000 * (1 if bracket else size)
            sweep.cell(tactic, energy_j=0.01, bracket=bracket, wrong=wrong, size_bytes=int(bytes_), **row)
    found = by_tactic(analyse(sweep.finish()))["int8"].measures
    assert (found["size_bytes"].models, found["size_bytes"].families) == (4, 3)
    assert found["size_bytes"].change.value == pytest.approx(0.25 ** (1 / 3))
    assert found["accuracy"].change.value == pytest.approx(-10 / 3)


def test_a_model_counts_once_in_its_family_however_often_it_was_compared(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out", noise=0.0)
    for model, dataset, ratio in (("a1", "x", 0.5), ("a1", "y", 0.5), ("a1", "z", 0.5), ("a2", "x", 1.0), ("b", "x", 0.5)):
        row = {"family": model[0], "energy_j": 0.01, "dataset": dataset, "block_id": f"b-{model}-{dataset}"}
        sweep.rounds(3, model, tactics={"int8": ratio}, **row)
    energy = by_tactic(analyse(sweep.finish()))["int8"].measures["energy_j"]
    assert (energy.models, energy.families) == (3, 2)
    assert energy.change.value == pytest.approx(math.sqrt(math.sqrt(0.5) * 0.5))


def test_one_model_on_several_data_is_not_over_models(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out", noise=0.0)
    for dataset in "xy":
        sweep.visit("m", family="f", energy_j=0.01, tactics={"int8": 0.5}, dataset=dataset, block_id=f"b-{dataset}")
    analysis = analyse(sweep.finish())
    assert (len(analysis.findings), analysis.overall) == (2, ())


def test_only_modelled_energies_are_called_estimated(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out", noise=0.0)
    said = []
    for device, sweep.modelled in (("cpu", 0.9), ("cuda", 0.0)):
        for model in "ab":
            sweep.visit(model, family=model, energy_j=0.01, tactics={"bf16": 0.7}, device=device, block_id=f"{device}-{model}")
        analysis = analyse(sweep.finish())
        shown = section.show(section.load(analysis) or [], analysis)
        said += [block.text for block in shown.blocks if isinstance(block, Text)]
    alone, mixed = said
    assert "energy and money" not in alone
    assert "Energy and money are estimated from CPU time." in alone
    assert "Some energy and money are estimated from CPU time." in mixed


def test_measures_of_a_model_equal_its_effect(eight: Analysis) -> None:
    for finding in eight.findings:
        told = changes(finding)
        for name, estimate in (("energy_j", finding.effect.energy), ("time_s", finding.effect.time)):
            assert estimate is not None
            change = told[name]
            assert (change.value, change.low, change.high) == (estimate.ratio, estimate.low, estimate.high)
            assert change.basis == estimate.basis
        assert told["energy_j"].baseline == pytest.approx(finding.effect.baseline_energy_j)
        assert told["energy_j"].tactic == pytest.approx(finding.effect.tactic_energy_j)


def test_the_section_says_what_the_hypotheses_are(eight: Analysis) -> None:
    shown = section.show(section.load(eight) or [], eight)
    hypotheses = eight.overall[0].measures["energy_j"].hypotheses
    (text,) = [block.text for block in shown.blocks if isinstance(block, Text)]
    assert f"all {hypotheses} hypotheses" in text
    # Eight families that all fall: p is 2 / 2^8 before its adjustment.
    assert f"8 families and so many hypotheses leave no p under {p_value(hypotheses / 128)}: there can be no star." in text


@given(st.lists(st.floats(-10, 10).filter(lambda x: abs(x) > 1e-6), min_size=1, max_size=12))
def test_rank_biserial_is_the_share_of_ranks(values: list[float]) -> None:
    found = stats.rank_biserial(values)
    assert found is not None
    assert -1 <= found <= 1
    assert stats.rank_biserial([-value for value in values]) == pytest.approx(-found)
    assert (found == pytest.approx(1)) is all(value > 0 for value in values)
    assert stats.rank_biserial([0.0, *values]) == pytest.approx(found)


def test_rank_biserial_by_hand() -> None:
    assert stats.rank_biserial([1.0, -2.0, 3.0]) == pytest.approx((1 + 3 - 2) / 6)
    assert stats.rank_biserial([0.0, 0.0]) is None

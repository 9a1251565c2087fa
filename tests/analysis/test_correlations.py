"""Correlations are over models: against scipy on data by hand, with intervals that cover, and never over epochs."""

import math
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from greenray.analysis import Analysis, analyse, association
from greenray.analysis.association import Correlation, Method, adjusted, correlation
from greenray.analysis.correlations import Matrix, matrices
from greenray.analysis.estimators.points import groups
from greenray.report.sections import correlations as section
from tests.support.papers import models, trained_and_served
from tests.support.synthetic import Sweep

X = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]
Y = [2.0, 1.0, 4.0, 3.0, 7.0, 5.0, 8.0, 6.0]


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    return analyse(trained_and_served(tmp_path_factory.mktemp("paper") / "out", rounds=1))


def only(analysis: Analysis) -> Matrix:
    (matrix,) = matrices(analysis.arms, analysis.training)
    return matrix


def test_by_hand_and_by_scipy() -> None:
    pearson, spearman = (correlation(X, Y, method=method) for method in association.METHODS)
    reference = scipy_stats.pearsonr(X, Y)
    assert pearson.r == pytest.approx(reference.statistic) == pytest.approx(1 - 6 * 14 / (8 * 63))  # ranks: one formula
    assert (pearson.low, pearson.high) == pytest.approx(tuple(reference.confidence_interval(0.95)))
    assert pearson.p == pytest.approx(reference.pvalue)
    assert spearman.r == pytest.approx(scipy_stats.spearmanr(X, Y).statistic)
    half = 1.959964 * math.sqrt((1 + (spearman.r or 0) ** 2 / 2) / 5)
    assert math.atanh(spearman.high or 0) - math.atanh(spearman.r or 0) == pytest.approx(half)


@pytest.mark.parametrize(
    ("x", "y", "why"),
    [
        (X[:3], Y[:3], "needs 4, there are 3"),
        ([1.0] * 5, Y[:5], "one of the two is the same everywhere"),
        (X[:7], X[:7], "no width"),
    ],
)
def test_what_cannot_be_given_is_none_with_a_reason(x: list[float], y: list[float], why: str) -> None:
    found = correlation(x, y, method="Pearson")
    assert (found.low, found.high, found.clear) == (None, None, None)
    assert why in found.why


def test_a_perfect_correlation_of_many_is_clear_by_its_test() -> None:
    found = correlation(X, X, method="Spearman")
    assert (found.r, found.low, found.clear) == (1, None, True)


@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)), min_size=4, max_size=20))
@settings(max_examples=60, deadline=None)
def test_an_interval_holds_its_correlation_and_stays_within_one(pairs: list[tuple[float, float]]) -> None:
    for method in association.METHODS:
        found = correlation([x for x, _ in pairs], [y for _, y in pairs], method=method)
        if found.low is not None and found.high is not None and found.r is not None:
            assert -1 <= found.low <= found.r <= found.high <= 1
        else:
            assert found.why
        assert (found.p is not None) is (len(pairs) >= 8 and found.r is not None)


@pytest.mark.parametrize("method", association.METHODS)
def test_intervals_cover_the_truth_at_the_papers_number_of_models(method: Method) -> None:
    rho, rng, runs = 0.8, random.Random(1), 600
    truth = rho if method == "Pearson" else 6 / math.pi * math.asin(rho / 2)
    held = 0
    for _ in range(runs):
        x = [rng.gauss(0, 1) for _ in range(14)]
        y = [rho * a + math.sqrt(1 - rho**2) * rng.gauss(0, 1) for a in x]
        found = correlation(x, y, method=method)
        held += (found.low or 0) <= truth <= (found.high or 0)
    assert 0.92 <= held / runs <= 0.98


def test_holm_is_over_those_that_are_tested() -> None:
    ps = (0.01, None, 0.04)
    found = adjusted([Correlation(method="Pearson", n=9, r=0.5, p=p) for p in ps])
    assert [one.p_holm for one in found] == [pytest.approx(0.02), None, pytest.approx(0.04)]


def test_models_are_the_units_and_what_is_known_of_them_is_found_again(paper: Analysis) -> None:
    matrix = only(paper)
    assert (matrix.models, len(matrix.units)) == (12, 12)
    macs = matrix.pair("macs_per_sample", "energy_j")
    assert macs is not None
    assert {found.n for found in macs.found.values()} == {12}
    described = models(12)
    energies = {arm.cell["model"]: arm.energy_j.mean for arm in paper.arms if arm.energy_j and arm.cell["tactic"] == "baseline"}
    known = [(math.log(described[name]["macs_per_sample"]), math.log(energies[name])) for name in described]
    expected = scipy_stats.pearsonr([x for x, _ in known], [y for _, y in known]).statistic
    assert macs.found["Pearson"].r == pytest.approx(expected, abs=0.01)
    assert macs.found["Pearson"].clear
    assert matrix.values["macs_per_sample"]["net-03"] == pytest.approx(math.log(described["net-03"]["macs_per_sample"]))


def test_what_pooled_epochs_would_have_claimed_is_said_beside_the_models(paper: Analysis) -> None:
    pooled = only(paper).pooled
    assert pooled is not None
    assert (pooled.rows, pooled.claimed.n, pooled.models.n) == (120, 120, 12)
    claimed, models_ = ((one.high or 9) - (one.low or -9) for one in (pooled.claimed, pooled.models))
    assert claimed < models_ / 2
    (said,) = section.pooling(only(paper))
    assert "120 epochs taken for independent" in said
    assert "n = 12" in said


def test_epochs_that_share_a_window_are_rows_of_their_own(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out", noise=0.0)
    for number in range(5):
        row = {"model": f"m{number}", "family": f"f{number}", "macs_per_sample": 2.0**number}
        sweep.train(**row, epochs_j=[10.0 + number**2, 30.0 + number], held=[1, 3])  # type: ignore[arg-type]
    pooled = only(analyse(sweep.finish())).pooled
    assert pooled is not None
    assert (pooled.rows, pooled.claimed.n, pooled.models.n) == (20, 20, 5)


def test_near_duplicates_count_once(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out", noise=0.0)
    rows = [("a", 1e6, 0.001), ("b", 2e6, 0.002), ("c", 4e6, 0.003), ("d", 8e6, 0.009)]
    for family, macs, joules in rows:
        for copy in range(5 if family == "a" else 1):
            sweep.visit(f"{family}{copy}", family=family, energy_j=joules, tactics={}, macs_per_sample=macs)
    matrix = only(analyse(sweep.finish()))
    pair = matrix.pair("macs_per_sample", "energy_j")
    assert pair is not None
    expected = scipy_stats.pearsonr([math.log(m) for _, m, _ in rows], [math.log(j) for _, _, j in rows])
    assert (pair.found["Pearson"].n, matrix.models) == (4, 8)
    assert pair.found["Pearson"].r == pytest.approx(expected.statistic)
    assert pair.found["Pearson"].p is None  # under 8


def test_of_equals_the_batch_size_of_training_comes_first(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out", noise=0.0, windows=1)
    for number in range(4):
        row = {"model": f"m{number}", "family": f"f{number}", "macs_per_sample": 10.0**number, "energy_j": 0.001 * (number + 1)}
        for batch in (4, 32, 64):
            sweep.visit(**row, tactics={}, batch_size=batch, block_id=f"b{batch}-{number}")  # type: ignore[arg-type]
        sweep.train(row["model"], family=row["family"], epochs_j=[1.0 + number], batch_size=32)  # type: ignore[arg-type]
    analysis = analyse(sweep.finish())
    assert [matrix.batch_size for matrix in matrices(analysis.arms, analysis.training)] == [32, 64, 4]


def test_busy_rounds_of_a_model_that_has_quiet_ones_are_left_out(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out", noise=0.0)
    for number in range(4):
        for round_, contention in enumerate((None, "others kept 1.5 processors busy"), start=1):
            sweep.contention = contention if number < 3 else "others kept 1.5 processors busy"  # of the last one both
            energy_j = 0.001 * 2.0**number * (50 if round_ == 2 else 1)
            sweep.visit(f"m{number}", family=f"f{number}", energy_j=energy_j, tactics={}, round_=round_)
    values = only(analyse(sweep.finish())).values["energy_j"]
    expected = [math.log(0.001 * 2.0**number) + (math.log(50) / 2 if number == 3 else 0) for number in range(4)]
    assert [values[f"f{number}"] for number in range(4)] == pytest.approx(expected)


def test_bytes_moved_are_those_of_the_batches_that_were_served(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out", noise=0.0)
    for number in range(4):
        row = {"model": f"m{number}", "family": f"f{number}", "energy_j": 0.001 * (number + 1), "batch_size": 1}
        sweep.visit(**row, tactics={}, bytes_moved_per_sample=1000.0 * 2**number)  # type: ignore[arg-type]
        sweep.train(f"m{number}", family=f"f{number}", epochs_j=[1.0], bytes_moved_per_sample=10.0, batch_size=64)
    values = only(analyse(sweep.finish())).values["bytes_moved_per_sample"]
    assert [values[f"f{number}"] for number in range(4)] == pytest.approx([math.log(1000.0 * 2**number) for number in range(4)])


def test_of_several_trainings_of_all_models_the_longest_are_those_of_the_matrix(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out", noise=0.0)
    for number in range(4):
        row = {"model": f"m{number}", "family": f"f{number}", "macs_per_sample": 10.0**number}
        for batch, epochs in ((4, 1), (128, 3), (256, 1)):
            sweep.train(**row, epochs_j=[batch + number] * epochs, batch_size=batch, block_id=f"{number}-{batch}")  # type: ignore[arg-type]
    analysis = analyse(sweep.finish())
    (matrix,) = matrices(analysis.arms, analysis.training)
    assert matrix.training_batch == 128
    assert matrix.values["training_energy_j"]["f2"] == pytest.approx(math.log(130 / 1437))
    assert [group.batch_size for group in groups(analysis.arms)] == [128, 256, 4]


def test_three_families_have_no_matrix(tmp_path: Path) -> None:
    analysis = analyse(trained_and_served(tmp_path / "out", count=3, rounds=1))
    assert section.load(analysis) is None


def test_the_section_shows_every_pair_once_for_each_method(paper: Analysis) -> None:
    found = section.load(paper)
    assert found
    picture = section.chart(found[0])
    shown = [value for trace in picture.figure["data"] for row in trace["z"] for value in row if value is not None]
    known = [one.r for pair in found[0].pairs for one in pair.found.values() if one.r is not None]
    assert sorted(shown) == pytest.approx(sorted(known), rel=1e-4)
    _, coloured = picture.figure["data"]
    assert sum(value is not None for row in coloured["z"] for value in row) == sum(
        bool(one.clear) for pair in found[0].pairs for one in pair.found.values()
    )

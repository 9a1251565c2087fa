"""Descriptors in worlds where it is known what decides."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenray.analysis import analyse
from greenray.analysis.estimators import candidates as forms
from greenray.analysis.estimators.nested import Fits, judge
from greenray.analysis.estimators.points import Group, Point, descriptor_logs, groups, outside
from greenray.analysis.estimators.predicted import GroupJudged, judge_group, predict
from tests.support.described import EXPONENT, JOULES_PER_MAC, points, write_store
from tests.support.synthetic import Sweep

GROUP = Group("inference", "image-classification", "cpu", "Some CPU", "cpu", "digits", 32, "", "")


def by_name(judged: GroupJudged) -> dict[str, tuple[float | None, float | None]]:
    return {one.name: (one.median, one.r2) for one in judged.rows}


def test_where_macs_decide_they_predict_and_parameters_do_not() -> None:
    judged = judge_group(GROUP, points(14, noise=0.05))
    singles = {one.name.removeprefix("power law of "): one for one in judged.singles}
    assert (singles["MACs"].r2 or 0) > 0.98
    assert (singles["MACs"].rank or 0) > 0.95
    assert (singles["parameters"].r2 or 0) < 0.3
    assert (judged.chosen.median or 1) < 0.1
    assert (judged.chosen.worst or 1) < 0.4
    assert sum(judged.chosen.chosen.values()) == 14
    constant = judged.yardsticks[0]
    assert constant.rank is None
    assert (constant.r2 or 0) <= 0


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 100), st.floats(-20, 20))
def test_no_choice_and_no_fit_sees_the_family_that_is_judged(seed: int, energy: float) -> None:
    world = points(9, seed=seed, noise=0.3, per_family=1)
    left_out = world[seed % 9]
    changed = [replace(point, log_energy=energy) if point is left_out else point for point in world]
    before, after = (Fits(of, forms.candidates(of)) for of in (world, changed))
    without, place = frozenset({left_out.family}), world.index(left_out)
    assert before.chosen(without) is not None
    assert before.chosen(without).name == after.chosen(without).name  # type: ignore[union-attr]
    assert before.predicted(without)[place] == after.predicted(without)[place]  # type: ignore[index]


def test_families_are_left_out_whole() -> None:
    # Two checkpoints of each family are the same but for their names: alone they would give each other away.
    world = points(6, noise=0.5)
    twins = [replace(point, model=f"{point.model}-{copy}") for point in world for copy in "ab"]
    errors = judge("x", Fits(twins, forms.candidates(twins))).errors
    assert min(errors.values()) > 1e-6
    assert all(errors[f"{point.model}-a"] == pytest.approx(errors[f"{point.model}-b"]) for point in world)


def test_the_roofline_finds_both_of_its_constants() -> None:
    rng = np.random.default_rng(0)
    macs, moved = rng.uniform(10, 20, 30), rng.uniform(10, 20, 30)
    true = np.maximum(-20.0 + macs, -18.0 + moved)
    x = np.column_stack([macs, moved])
    assert forms.roofline(x, true, x) == pytest.approx(true)
    for alone in (x + np.array([15, 0]), x - np.array([15, 0])):  # all below one of the roofs
        energy = np.maximum(-20.0 + alone[:, 0], -18.0 + alone[:, 1])
        assert forms.roofline(alone, energy, alone) == pytest.approx(energy)


def test_ridge_is_a_power_law_that_is_held_back() -> None:
    x = np.array([[0.0], [1.0], [2.0], [3.0]])
    y = 2 * x[:, 0] + 1
    assert forms.linear(0.0)(x, y, x) == pytest.approx(y)
    slope = np.diff(forms.linear(5.0)(x, y, x))
    assert slope == pytest.approx(2 * 5 / (5 + 5))  # sum of squares around the mean is 5


@pytest.mark.parametrize("same", [0.1, 16.7, 20.03])
@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_what_is_the_same_everywhere_has_no_slope(same: float, alpha: float) -> None:
    rng = np.random.default_rng(1)
    for count in range(3, 12):
        y = rng.normal(-7, 2, count)
        x, other = np.full((count, 1), same), np.array([[same + 5.0]])
        assert forms.linear(alpha)(x, y, other) == pytest.approx(y.mean())


def test_ridge_is_that_of_scikit_learn() -> None:
    from sklearn.linear_model import Ridge

    rng = np.random.default_rng(2)
    x, y, new = rng.normal(15, 2, (12, 4)), rng.normal(-7, 2, 12), rng.normal(15, 2, (3, 4))
    assert forms.linear(10.0)(x, y, new) == pytest.approx(Ridge(alpha=10.0).fit(x, y).predict(new))


def test_boosting_is_tried_only_where_there_are_models_enough_and_is_the_same_twice() -> None:
    few, many = points(12), points(24, per_family=2, noise=0.1)
    boosted = [any("boosting" in one.name for one in forms.candidates(of)) for of in (few, many, points(24))]
    assert boosted == [False, True, False]
    tree = next(one for one in forms.candidates(many) if "boosting" in one.name)
    x, y = forms.features(tree, many), np.array([point.log_energy for point in many], dtype=np.float64)
    assert (tree.fit(x, y, x) == tree.fit(x, y, x)).all()
    assert np.abs(tree.fit(x, y, x) - y).mean() < 0.3


def test_what_some_model_lacks_is_no_feature() -> None:
    world = points(8)
    lacking = [replace(world[0], logs=descriptor_logs({"parameters": 1e6, "MACs": 1e7})), *world[1:]]
    assert {name for one in forms.candidates(lacking) for name in one.features} == {"parameters", "MACs", "MACs per parameter"}
    assert [one.name for one in forms.yardsticks(lacking)] == ["constant (geometric mean)"]


@pytest.mark.parametrize("count", [1, 4])
def test_few_families_are_said_to_be_few(count: int) -> None:
    judged = judge_group(GROUP, points(count))
    assert judged.chosen.median is None
    assert judged.chosen.note == f"needs 5 model families measured alike, there are {count}"


def test_a_new_model_is_predicted_without_its_family_and_extrapolation_is_said() -> None:
    world = points(8, noise=0.0)
    new = Point(model="new", family="new", logs=descriptor_logs({"parameters": 1e6, "MACs": 1e12}), log_energy=None)
    found = predict(new, world)
    assert found is not None
    assert found.energy_j == pytest.approx(JOULES_PER_MAC * 1e12**EXPONENT, rel=0.2)
    assert any(text.startswith("MACs: ") and "times the most that was measured" in text for text in found.outside)
    assert (found.low_j, found.families, found.measured_j) == (None, 8, None)
    assert "needs 9 model families" in found.note
    again = predict(world[0], world)
    assert again is not None
    assert (again.families, again.measured_j) == (7, pytest.approx(math.exp(world[0].log_energy or 0.0)))
    assert predict(new, world[:3]) is None
    assert outside(world[0], world) == []


def test_a_group_has_the_same_work_in_it_and_a_model_is_in_it_once(tmp_path: Path) -> None:
    write_store(tmp_path / "out", models=3, tactics={"compile": 0.5}, rounds=2)
    sweep = Sweep(out=tmp_path / "out", name="more", noise=0.0)
    sweep.visit("m0", family="f0", energy_j=0.004, tactics={}, batch_size=1, block_id="b-one")
    hyper = '{"epochs": 2, "learning_rate": %s, "precision": "%s", "augmentation": ["crop", "flip"]}'
    for number, settings_ in enumerate((("0.1", "fp32"), ("0.2", "fp32"), ("0.1", "bf16"))):
        sweep.train("m0", family="f0", epochs_j=[10.0, 10.0], hyperparameters=hyper % settings_, block_id=f"t{number}")
    found = {(g.phase, g.batch_size, g.settings): len(p) for g, p in groups(analyse(sweep.finish()).arms).items()}
    assert found == {
        ("inference", 32, ""): 3,
        ("inference", 1, ""): 1,
        ("training", 32, "precision fp32, augmentation crop+flip"): 1,
        ("training", 32, "precision bf16, augmentation crop+flip"): 1,
    }


def test_of_several_trainings_a_model_stands_for_the_one_that_most_models_had(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out", noise=0.0)
    for number in range(3):
        sweep.train(f"m{number}", family=f"f{number}", epochs_j=[10.0] * 6)
    sweep.train("m0", family="f0", epochs_j=[90.0], block_id="once")
    sweep.train("m9", family="f9", epochs_j=[40.0], block_id="other")  # it has no training like the others
    ((group, found),) = groups(analyse(sweep.finish()).arms).items()
    energies = {point.model: math.exp(point.log_energy or 0.0) * 1437 for point in found}
    assert energies == pytest.approx({"m0": 10.0, "m1": 10.0, "m2": 10.0, "m9": 40.0})
    assert group.phase == "training"

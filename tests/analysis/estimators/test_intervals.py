"""Prediction intervals hold what they say, in many worlds whose truth is known."""

import math
from dataclasses import replace

import pytest
from scipy.stats import binom

from greenray.analysis.estimators import candidates as forms
from greenray.analysis.estimators.intervals import LEVEL, coverage, interval
from greenray.analysis.estimators.nested import Fits
from greenray.analysis.estimators.predicted import Prediction, under_tactic
from greenray.analysis.measures import MEASURES, Change
from greenray.analysis.overall import Group, OverallEffect, OverMeasure
from tests.support.described import points

WORLDS = 60


def made(world: int, *, families: int, per_family: int = 1) -> tuple[Fits, int, float]:
    """A world with one model more, never measured, and its true log energy."""
    everyone = points((families + 1) * per_family, seed=world, noise=0.3, per_family=per_family)
    new = everyone[-1]
    known = [*(point for point in everyone if point.family != new.family), replace(new, log_energy=None)]
    candidates = [one for one in forms.candidates(known) if len(one.features) == 1]  # fewer forms, faster worlds
    return Fits(known, candidates), len(known) - 1, new.log_energy or math.nan


@pytest.mark.parametrize(("families", "per_family"), [(10, 1), (12, 2)])
def test_nine_in_ten_new_models_lie_inside(families: int, per_family: int) -> None:
    inside, widths = 0, []
    for world in range(WORLDS):
        fits, index, true = made(world, families=families, per_family=per_family)
        found = interval(fits, index)
        assert found.low is not None
        assert found.high is not None
        inside += found.low <= true <= found.high
        widths.append(found.high - found.low)
    low, high = binom.ppf(0.005, WORLDS, LEVEL), WORLDS
    assert low <= inside <= high
    # Not by being endless: the noise alone spans 2 x 1.64 x 0.3.
    assert 0.9 < sorted(widths)[WORLDS // 2] < 2.5


def test_a_world_of_other_models_is_not_held() -> None:
    """What coverage rests on: the new family must be one like the others."""
    misses = 0
    for world in range(20):
        fits, index, true = made(world, families=10)
        found = interval(fits, index)
        misses += not (found.low or 0) <= true + 2.0 <= (found.high or 0)
    assert misses == 20


def test_too_few_families_have_no_interval_and_a_reason() -> None:
    fits, index, _ = made(0, families=8)
    found = interval(fits, index)
    assert (found.low, found.high) == (None, None)
    assert found.note == "a 90 % interval needs 9 model families besides its own, there are 8"
    assert coverage(fits.points, {point.model: interval(fits, place) for place, point in enumerate(fits.points)}) is None


def test_coverage_is_over_all_models_each_by_its_own_interval() -> None:
    world = points(17, noise=0.3)
    fits = Fits(world, [one for one in forms.candidates(world) if len(one.features) == 1])
    intervals = {point.model: interval(fits, place) for place, point in enumerate(world)}
    found = coverage(world, intervals)
    assert found is not None
    assert found.models == 17
    ends = [(intervals[point.model], point.log_energy or 0.0) for point in world]
    assert found.inside == sum((one.low or 0) <= true <= (one.high or 0) for one, true in ends)
    assert binom.ppf(0.001, 17, 0.8) <= found.inside <= 17


def test_families_weigh_alike_however_many_models_they_have() -> None:
    # One family of forty that are far off, among 20: a tenth is left out, and it is the tenth.
    calm = points(22, noise=0.01)
    off = [replace(calm[0], model=f"off{n}", log_energy=(calm[0].log_energy or 0) + (3 if n % 2 else -3)) for n in range(40)]
    law = [one for one in forms.candidates(calm) if one.name == "power law of MACs"]
    found = interval(Fits([*calm[1:], *off], law), 3)
    assert found.low is not None
    assert found.high is not None
    assert found.high - found.low < 1


GROUP = Group("s", "inference", "image-classification", 32, "cpu", "Some CPU", "cpu", "")


def effect(families: int, half: float | None, basis: str = "model families") -> OverallEffect:
    ends = None if half is None else (math.log(0.8) - half, math.log(0.8) + half)
    (energy,) = (measure for measure in MEASURES if measure.name == "energy_j")
    basis = basis if half is None else f"{families} {basis}"
    change = Change(measure=energy, mean=math.log(0.8), ends=ends, basis=basis)
    measures = {"energy_j": OverMeasure(change=change, models=families, families=families)}
    return OverallEffect(group=GROUP, tactic="compile", unit="image", models=families, measures=measures, modelled=False)


BASELINE = Prediction(energy_j=2.0, low_j=1.0, high_j=4.0, note="", form="f", families=10, models=10, outside=())


def test_a_tactic_on_a_new_family_scatters_more_than_its_mean() -> None:
    families, half = 5, 0.1
    found = under_tactic("compile", BASELINE, [effect(families, half)])
    # s = half sqrt(n) / t(0.975, 4); the new family's half-width is t(0.95, 4) s sqrt(1 + 1/n).
    spread = half * math.sqrt(families) / 2.7764451
    expected = 2.1318468 * spread * math.sqrt(1 + 1 / families)
    assert found.high is not None
    assert math.log(found.high / 0.8) == pytest.approx(expected, rel=1e-6)
    assert found.energy_j == pytest.approx(1.6)
    assert found.low_j == pytest.approx(1.6 * math.exp(-math.hypot(math.log(2), expected)))


def test_a_tactic_without_an_interval_says_why() -> None:
    few = under_tactic("compile", BASELINE, [effect(2, None, "under 3 families")])
    assert (few.low, few.low_j, few.energy_j) == (None, None, pytest.approx(1.6))
    assert few.note == "no interval: under 3 families"
    none = under_tactic("compile", BASELINE, [])
    assert none.ratio is None
    assert "not measured on two models" in none.note
    unsure = under_tactic("compile", replace(BASELINE, low_j=None, high_j=None, note="too few"), [effect(5, 0.1)])
    assert (unsure.low_j, unsure.note) == (None, "too few")
    assert unsure.low is not None

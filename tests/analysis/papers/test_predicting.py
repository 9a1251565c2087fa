"""The claims on predicting energy, in worlds where it is known what decides: each of the three answers, and again."""

import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from greenray.analysis import analyse
from greenray.analysis.estimators import candidates as forms
from greenray.analysis.estimators.found import find
from greenray.analysis.estimators.nested import Fits, judge
from greenray.analysis.estimators.points import Group, Point
from greenray.analysis.estimators.predicted import GroupJudged, judge_group
from greenray.analysis.estimators.profiles import Course, errors
from greenray.analysis.papers.predicting import on_descriptors, on_profiles
from tests.support.described import points, write_store
from tests.support.synthetic import Sweep

GROUP = Group("inference", "image-classification", "cpu", "Some CPU", "cpu", "digits", 32, "", "")
CLAIMS = ("Parameters do not", "MACs predict", "MACs per parameter")


def deciding(name: str, *, noise: float = 0.3, seed: int = 0, run: int = 0, count: int = 12) -> list[Point]:
    """A world in which one descriptor decides and each model has its own way of not following it; runs of it differ by 1 %."""
    own, of_run = random.Random(f"models {seed}"), random.Random(f"run {seed} {run}")
    return [
        replace(point, log_energy=0.8 * point.logs[name] - 20 + own.gauss(0, noise) + of_run.gauss(0, 0.01))
        for point in points(count, seed=seed)
    ]


def judged_simply(world: list[Point]) -> GroupJudged:
    """Without the forms that are chosen from, which the claims on single descriptors do not need."""
    alone, yards = (tuple(judge(form.name, Fits(world, [form])) for form in of(world)) for of in (forms.single, forms.yardsticks))
    few = judge_group(GROUP, world[:2])
    return replace(few, points=tuple(world), singles=alone, yardsticks=yards)


def answers(said: list[str]) -> dict[str, str]:
    found = {name: next(one for one in said if one.startswith(name)) for name in CLAIMS}
    return {name: sentence.split(". Their log errors")[0].split(": ")[-1] for name, sentence in found.items()}


@pytest.mark.parametrize(
    ("decides", "expected"),
    [
        ("MACs", ("holds", "holds", "does not hold")),
        ("parameters", ("does not hold", "does not hold", "does not hold")),
        ("MACs per parameter", (None, None, "holds")),
    ],
)
def test_what_decides_is_found(decides: str, expected: tuple[str | None, ...]) -> None:
    said = on_descriptors(judge_group(GROUP, deciding(decides)))
    for claim, answer in zip(CLAIMS, expected, strict=True):
        assert answer in (None, answers(said)[claim]), said
    assert "12 models, 12 families" in said[0]
    (constant,) = [one for one in said if "better than the constant" in one]
    assert "predict energy of inference better than the constant (geometric mean): holds. Their log errors are 0." in constant


def test_where_nothing_decides_which_is_better_cannot_be_told() -> None:
    said = on_descriptors(judged_simply(deciding("activations")))
    assert answers(said)["MACs predict"] == answers(said)["MACs per parameter"] == "cannot be told"


def test_what_is_told_of_descriptors_that_are_worth_the_same_is_seldom_more_than_that_it_cannot_be_told() -> None:
    told = Counter(
        answers(on_descriptors(judged_simply(deciding("activations", seed=seed))))["MACs predict"] for seed in range(100)
    )
    assert told["cannot be told"] >= 90


@pytest.mark.parametrize("decides", ["MACs", "parameters", "MACs per parameter", "activations"])
def test_a_second_run_never_says_the_opposite(decides: str) -> None:
    for seed in range(10):
        first, second = (answers(on_descriptors(judged_simply(deciding(decides, seed=seed, run=run)))) for run in (0, 1))
        for claim in CLAIMS:
            assert {first[claim], second[claim]} != {"holds", "does not hold"}, (seed, first, second)


def test_few_families_tell_nothing_of_descriptors() -> None:
    (said,) = on_descriptors(judge_group(GROUP, points(4)))
    assert (
        said
        == "Which descriptor predicts energy of inference: cannot be told (needs 5 model families measured alike, there are 4)."
    )


def course(*joules: float, model: str, family: str = "", busy: bool = False) -> Course:
    ones = (1.0,) * len(joules)
    return Course(model=model, family=family or model, modelled=False, amounts=ones, joules=joules, seconds=ones, busy=busy)


def courses(count: int, *joules: float) -> list[Course]:
    return [course(*joules, model=f"m{number}") for number in range(count)]


def test_profiles_that_come_near_in_most_families_predict_the_total() -> None:
    training, inference = on_profiles(errors(courses(5, *[10] * 8), []))
    assert training == (
        "Short profiles predict the total of training within 5 %: holds from the first epoch on. After the first epoch (12 % of "
        "a run) 5 of 5 model families are that near (57 to 100 % of families). Over models the error is 0.0 %, 0.0 %, 0.0 % in "
        "the median after 1, 2, 3 epochs, and 0.0 % at worst."
    )
    assert inference.endswith(
        "of inference within 5 %: cannot be told, no run of known energy is twice as long as its first window."
    )
    late, _ = on_profiles(errors(courses(5, 11, 11.5, 9, *[10] * 6), []))
    assert "holds from the first 3 epochs on. After the first 3 epochs (33 % of a run) 5 of 5" in late


def test_lengths_that_few_families_are_long_enough_for_do_not_decide() -> None:
    long = [course(*[10] * 4, *[30] * 16, model=f"long{number}") for number in range(2)]  # far off, up to 10 epochs
    said, _ = on_profiles(errors([*courses(12, *[10] * 4), *long], []))
    assert "holds from the first epoch on. After the first epoch (22 % of a run) 12 of 14 model families are that near" in said


def test_profiles_that_are_far_off_everywhere_do_not() -> None:
    said, _ = on_profiles(errors(courses(5, 40, 20, *[10] * 6), []))
    assert "within 5 %: does not hold. After the first 3 epochs (38 % of a run) 0 of 5 model families are that near" in said
    assert "166.7 %, 100.0 %, 55.6 % in the median after 1, 2, 3 epochs, and 166.7 % at worst" in said


@pytest.mark.parametrize(
    "runs",
    [
        courses(3, *[10] * 8),  # all near, and too few to say so
        [*courses(3, *[10] * 8), *[course(40, *[10] * 7, model=f"far{number}") for number in range(2)]],
        [course(*[10] * 8, model=f"m{number}", family="one") for number in range(9)],  # near-duplicates are one case
    ],
)
def test_few_families_and_mixed_ones_tell_nothing_of_profiles(runs: list[Course]) -> None:
    said, _ = on_profiles(errors(runs, []))
    assert "within 5 %: cannot be told. After the first" in said


def test_one_epoch_is_no_epochs_and_a_busy_host_is_named() -> None:
    runs = [course(10, 10, model=f"m{number}", busy=True) for number in range(4)]
    said, _ = on_profiles(errors(runs, []))
    assert said.startswith(
        "Short profiles predict the total of training within 5 % (measured on a busy host): holds from the first"
    )
    assert "in the median after 1 epoch, and" in said
    partly, _ = on_profiles(errors([*runs, course(10, 10, model="quiet")], []))
    assert partly.startswith("Short profiles predict the total of training within 5 % (in part measured on a busy host): holds")


def test_a_store_of_modelled_energy_says_what_it_is_about(tmp_path: Path) -> None:
    out = write_store(tmp_path / "out", models=6, tactics={}, rounds=1, modelled=1.0)
    sweep = Sweep(out=out, name="training", noise=0.0)
    for number in range(5):
        sweep.train(f"t{number}", family=f"g{number}", epochs_j=[10.0] * 4)
    found = find(analyse(sweep.finish()))
    training, inference = on_profiles(found.profiles)
    assert "training within 5 %: holds from the first epoch on" in training
    assert "inference within 5 % (estimated from CPU time): holds from the first window on" in inference
    (judged,) = [one for one in found.judged if one.group.phase == "inference"]
    assert any(
        said.startswith("MACs predict energy of inference (estimated from CPU time) better") for said in on_descriptors(judged)
    )

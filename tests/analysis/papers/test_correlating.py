"""A paper's correlations held against stores in which it is known what energy goes with: each of the three answers."""

import math
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from greenray.analysis import analyse
from greenray.analysis.correlations import Matrix, matrices
from greenray.analysis.papers import correlating
from greenray.analysis.papers.figures import MAVROMATIS
from tests.support.papers import models
from tests.support.synthetic import Sweep


def matrix(out: Path, joules: Callable[[float, float], float], *, count: int, modelled: float = 0.0) -> Matrix:
    """Models whose training takes so much, by their parameters and MACs."""
    sweep = Sweep(out=out, noise=0.0, windows=1, modelled=modelled)
    for model, described in models(count).items():
        energy_j = joules(described["parameters"], described["macs_per_sample"])
        sweep.train(model, family=model, epochs_j=[energy_j, energy_j], **described)
    analysis = analyse(sweep.finish())
    (found,) = matrices(analysis.arms, analysis.training)
    return found


def told(found: Matrix) -> dict[str, str]:
    return {held.claim.subject: held.told for held in correlating.hold(MAVROMATIS.claims, found)}


def scattered(parameters: float, macs: float) -> float:
    return math.exp(random.Random(macs).gauss(0, 1.0))


@pytest.mark.parametrize(
    ("joules", "count", "parameters", "macs"),
    [
        (lambda parameters, macs: 1e-6 * macs**0.8 * scattered(parameters, macs) ** 0.3, 40, "holds", "holds"),
        (lambda parameters, macs: 1e-3 * parameters * scattered(parameters, macs) ** 0.2, 24, "does not hold", "cannot be told"),
        (lambda parameters, macs: 1e9 / macs * scattered(parameters, macs) ** 0.2, 40, "holds", "does not hold"),
        (scattered, 5, "cannot be told", "cannot be told"),
    ],
)
def test_what_energy_goes_with_is_told_where_there_are_models_enough(
    tmp_path: Path, joules: Callable[[float, float], float], count: int, parameters: str, macs: str
) -> None:
    found = matrix(tmp_path / "out", joules, count=count)
    assert (told(found)["parameters"], told(found)["macs_per_sample"]) == (parameters, macs)


def test_the_sentence_has_both_sides_with_their_uncertainty_and_what_energy_is(tmp_path: Path) -> None:
    found = matrix(tmp_path / "out", lambda _, macs: 1e-6 * macs**0.8 * scattered(0, macs) ** 0.3, count=24, modelled=1.0)
    held = next(one for one in correlating.hold(MAVROMATIS.claims, found) if one.claim.subject == "macs_per_sample")
    said = correlating.sentence(held, MAVROMATIS)
    assert said.startswith(
        "MACs and training energy (estimated from CPU time): Mavromatis et al. (2024) has r 0.78 to 0.84 over 14 models,"
    )
    assert "taken as 0.43 or more; here r 0." in said
    assert said.endswith(", n = 24): holds.")

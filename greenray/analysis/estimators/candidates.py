"""The forms that energy may be predicted with, all on natural logarithms, where errors are relative ones.

A form is fitted to some models and answers for all of a group at once. Constant, roofline and measured time are yardsticks:
they are never chosen for a new model.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from greenray.analysis.estimators.points import PER_PARAMETER, TIME, Point

Floats = NDArray[np.float64]
Fit = Callable[[Floats, Floats, Floats], Floats]
"""(features of the fitted models, shape (fitted, features); their log energies; features of all) -> log energies of all."""

SINGLE = ("parameters", "MACs", PER_PARAMETER, "activations", "bytes moved")
_SAME = 1e-9
SPARE = 1
"""Models beyond its constants that a form needs, or it would go through every one of them."""
BOOSTING_MODELS, BOOSTING_FAMILIES = 20, 15
"""Trees need as many models to split; with more families leaving out three at a time takes minutes."""
CONSTANT = "constant (geometric mean)"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A form with its features; `least` is the number of models that it can be fitted to."""

    name: str
    features: tuple[str, ...]
    fit: Fit
    least: int


def candidates(points: Sequence[Point]) -> list[Candidate]:
    """Those that may be chosen for these points: what some model lacks is no feature."""
    sets = [(name,) for name in SINGLE] + [("MACs", other) for other in ("parameters", "activations", "bytes moved")]
    everything = tuple(name for name in SINGLE if name != PER_PARAMETER)
    found = [_power_law(names) for names in sets]
    found += [Candidate(f"ridge {alpha:g} on all", everything, linear(alpha), len(everything)) for alpha in (0.1, 1.0, 10.0)]
    if len(points) >= BOOSTING_MODELS and len({point.family for point in points}) <= BOOSTING_FAMILIES:
        found.append(Candidate("gradient boosting on all", everything, boosting, BOOSTING_MODELS // 2))
    return [candidate for candidate in found if known(candidate, points)]


def single(points: Sequence[Point]) -> list[Candidate]:
    """A power law of each descriptor alone, to say what each is worth."""
    return [law for name in SINGLE if known(law := _power_law((name,)), points)]


def yardsticks(points: Sequence[Point]) -> list[Candidate]:
    """What a descriptor has to beat."""
    found = [
        Candidate(CONSTANT, (), constant, 1),
        Candidate("roofline of MACs and bytes moved", ("MACs", "bytes moved"), roofline, 3),
    ]
    return [candidate for candidate in found if known(candidate, points)]


WITH_TIME = Candidate("mean power × measured time", (TIME,), lambda x, y, every: (y - x[:, 0]).mean() + every[:, 0], 1)
"""A model that was never measured has no time, so this is no way to predict one."""


def known(candidate: Candidate, points: Sequence[Point]) -> bool:
    return all(
        feature in point.logs or (feature == TIME and point.log_time is not None)
        for point in points
        for feature in candidate.features
    )


def features(candidate: Candidate, points: Sequence[Point]) -> Floats:
    """Shape (points, features)."""
    rows = [[point.log_time if name == TIME else point.logs[name] for name in candidate.features] for point in points]
    return np.array(rows, dtype=np.float64).reshape(len(points), len(candidate.features))


def _power_law(names: tuple[str, ...]) -> Candidate:
    return Candidate(f"power law of {' and '.join(names)}", names, linear(0.0), len(names) + 1 + SPARE)


def linear(alpha: float) -> Fit:
    """Least squares with an intercept; `alpha` is ridge's penalty on the slopes (0 is a power law)."""

    def fit(x: Floats, y: Floats, every: Floats) -> Floats:
        centre, level = x.mean(axis=0), y.mean()
        # What is the same in all models fitted has no slope; rounding errors around its mean would give it any.
        varied = np.where(np.ptp(x, axis=0) > _SAME, x - centre, 0.0)
        penalty = np.sqrt(alpha) * np.eye(x.shape[1])
        slopes, *_ = np.linalg.lstsq(np.vstack([varied, penalty]), np.concatenate([y - level, np.zeros(x.shape[1])]), rcond=None)
        return np.asarray(level + (every - centre) @ slopes)

    return fit


def constant(x: Floats, y: Floats, every: Floats) -> Floats:
    return np.full(len(every), y.mean())


def boosting(x: Floats, y: Floats, every: Floats) -> Floats:
    """Thirty shallow trees; the same every time."""
    import sklearn  # slow to import, and rarely needed
    from sklearn.ensemble import GradientBoostingRegressor

    trees: Any = GradientBoostingRegressor(n_estimators=30, max_depth=2, learning_rate=0.2, random_state=0)
    with sklearn.config_context(assume_finite=True, skip_parameter_validation=True):  # it is fitted hundreds of times
        return np.asarray(trees.fit(x, y).predict(every))


def roofline(x: Floats, y: Floats, every: Floats) -> Floats:
    """energy = max(MACs / peak, bytes / bandwidth) x power, as max(a MACs, b bytes): J per MAC and J per byte.

    The two constants minimise squared log errors: models are compute-bound from some ratio of MACs to bytes on, so every place
    for that ratio is tried (Williams, Waterman and Patterson, "Roofline", 2009).
    """
    macs, moved = x[:, 0], x[:, 1]
    ratios = np.sort(macs - moved)
    tried = []
    for edge in range(len(ratios) + 1):
        heavy = macs - moved >= (ratios[edge] if edge < len(ratios) else np.inf)
        per_mac = (y - macs)[heavy].mean() if heavy.any() else None
        per_byte = (y - moved)[~heavy].mean() if (~heavy).any() else None
        # Where one roof binds all models the other is known to lie below it: as high as it may be.
        a = per_mac if per_mac is not None else per_byte - ratios[-1]
        b = per_byte if per_byte is not None else per_mac + ratios[0]
        tried.append((float(((np.maximum(a + macs, b + moved) - y) ** 2).sum()), a, b))
    _, a, b = min(tried)
    return np.asarray(np.maximum(a + every[:, 0], b + every[:, 1]))

"""Models whose energy follows from what they are made of, and stores of them: worlds in which the right answer is known."""

import math
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from greenray.analysis.estimators.points import Point, descriptor_logs
from tests.support.synthetic import Sweep

JOULES_PER_MAC = 1e-9
EXPONENT = 0.8


def made_models(count: int, *, seed: int = 0, per_family: int = 1) -> list[dict[str, Any]]:
    """Columns of `cells` of so many models, descriptors all over the place and unrelated to each other."""
    rng = random.Random(seed)
    found = []
    for index in range(count):
        parameters, activations = int(10 ** rng.uniform(5, 7.5)), 10 ** rng.uniform(4, 6)
        found.append(
            {
                "model": f"m{index}",
                "model_family": f"f{index // per_family}",
                "parameters": parameters,
                "macs_per_sample": 10 ** rng.uniform(5.5, 8.5),
                "activations_per_sample": activations,
                "bytes_moved_per_sample": 8 * activations + parameters / 8,
            }
        )
    return found


def true_energy_j(columns: dict[str, Any]) -> float:
    """MACs decide, by a power law."""
    return float(JOULES_PER_MAC * columns["macs_per_sample"] ** EXPONENT)


def points(count: int, *, seed: int = 0, noise: float = 0.0, per_family: int = 1) -> list[Point]:
    """The same models as points; `noise` is the standard deviation of log energy."""
    rng = random.Random(f"noise {seed}")
    return [
        Point(
            model=columns["model"],
            family=columns["model_family"],
            logs=descriptor_logs(
                {
                    "parameters": columns["parameters"],
                    "MACs": columns["macs_per_sample"],
                    "activations": columns["activations_per_sample"],
                    "bytes moved": columns["bytes_moved_per_sample"],
                }
            ),
            log_energy=math.log(true_energy_j(columns)) + rng.gauss(0, noise),
        )
        for columns in made_models(count, seed=seed, per_family=per_family)
    ]


def write_store(
    out: Path,
    *,
    models: int,
    tactics: dict[str, float],
    rounds: int = 1,
    noise: float = 0.0,
    also: Mapping[str, Any] | None = None,
    **options: Any,
) -> Path:
    """A sweep of baselines and tactics over such models; `also` are further columns of all rows."""
    sweep = Sweep(out=out, noise=noise, windows=6, **options)
    for columns in made_models(models):
        row = dict(columns) | dict(also or {})
        model, family = row.pop("model"), row.pop("model_family")
        sweep.rounds(rounds, model, family=family, energy_j=true_energy_j(columns), tactics=tactics, **row)
    return sweep.finish()

"""Stores in the shape of the two papers' sweeps, with known truth: models of many families, descriptors, training."""

import math
import random
from pathlib import Path
from typing import Any

from tests.support.synthetic import Sweep

EXPONENT = 0.8
"""Energy per sample goes with the MACs to this power; parameters say nothing of it."""


def models(count: int, *, seed: int = 3) -> dict[str, dict[str, float]]:
    """Name -> descriptors; parameters are drawn without regard to MACs."""
    rng = random.Random(seed)
    return {
        f"net-{index:02}": {
            "parameters": int(10 ** rng.uniform(5, 7.5)),
            "macs_per_sample": 10 ** (6 + 2.5 * index / count + rng.uniform(-0.2, 0.2)),
            "activations_per_sample": 10 ** rng.uniform(4, 6),
        }
        for index in range(count)
    }


def energy_of(macs: float, rng: random.Random | None = None, spread: float = 0.15) -> float:
    """Joules per sample."""
    return 1e-9 * macs**EXPONENT * math.exp(rng.gauss(0, spread) if rng else 0.0)


def trained_and_served(
    out: Path,
    *,
    count: int = 12,
    rounds: int = 3,
    epochs: int = 10,
    tactics: dict[str, float] | None = None,
    name: str = "quick",
    **columns: Any,
) -> Path:
    """Every model trained once, then served with its tactics: a family each."""
    sweep, rng = Sweep(out=out, name=name, noise=0.002, visit_noise=0.01, windows=2, seed=4), random.Random(5)
    for model, described in models(count).items():
        joules = energy_of(described["macs_per_sample"], rng)
        size = {"size_bytes": int(4 * described["parameters"]), "nonzero_parameters": int(described["parameters"])}
        shared = described | size | {"model": model, "family": model} | columns
        trained = [3 * 1437 * joules * math.exp(rng.gauss(0, 0.02)) for _ in range(epochs)]
        sweep.train(**shared, epochs_j=trained)
        sweep.rounds(rounds, energy_j=joules, tactics=tactics or {"compile": 0.8, "prune-local": 1.0}, **shared)
    return sweep.finish()

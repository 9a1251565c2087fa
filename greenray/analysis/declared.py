"""What the manifests say of rounds: how many were asked for, and how sure the ratio was to be."""

from collections.abc import Mapping
from typing import Any, NamedTuple

Experiment = tuple[str, str]
"""Sweep and name of the experiment."""


class Declared(NamedTuple):
    """`first`: rounds of the first stage, where their variance says how many more there are, else None. `target`: the half-width
    of the ratio that was asked for (0.02 = 2 %), None where nothing was."""

    first: int | None = None
    target: float | None = None


def declared(manifests: Mapping[str, Mapping[str, Any]]) -> dict[Experiment, Declared]:
    found = {}
    for sweep, manifest in manifests.items():
        config = manifest.get("config") or {}
        target = (config.get("measure") or {}).get("target_ci")
        for experiment in config.get("experiments") or ():
            rounds = experiment.get("rounds")
            first = rounds.get("min") if isinstance(rounds, Mapping) else None
            found[sweep, str(experiment.get("name"))] = Declared(first, target)
    return found

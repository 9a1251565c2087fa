"""Two simple estimators, each with the error it made on what was measured.

Short profile: the first k epochs predict a whole training run. Model descriptors: parameters, MACs and MACs per parameter
predict the baseline's energy per sample, judged on models that were left out of the fit.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, median

import numpy as np

from greenray.analysis.analyse import Analysis
from greenray.analysis.arms import Arm
from greenray.analysis.training import TrainingRun
from greenray.report.document import Bullets, Section, Text, grid, section

FIRST_EPOCHS = (1, 2, 3, 5)
DESCRIPTORS = (("parameters",), ("MACs",), ("MACs", "MACs per parameter"))
SPARE_MODELS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimator:
    """Median and worst absolute relative error (0.1 = 10 %) over runs or models; None without any, and `note` says why."""

    name: str
    error: float | None
    worst: float | None
    cases: int
    note: str


def load(analysis: Analysis) -> list[Estimator] | None:
    if not any(arm.ok for arm in analysis.arms):
        return None
    return [*short_profiles(analysis.training), *descriptors(analysis.arms)]


def show(estimators: list[Estimator], analysis: Analysis) -> Section:
    explained = Text("How far off a cheaper look would have been on these measurements. Errors are relative.")
    known = [found for found in estimators if found.error is not None]
    columns = {
        "estimate": lambda e: e.name,
        "median error": lambda e: f"{e.error * 100:.1f} %",
        "worst error": lambda e: f"{e.worst * 100:.1f} %",
        "cases": lambda e: str(e.cases),
    }
    table = grid(known, columns, text=("estimate",)) if known else None
    notes = tuple(f"{found.name}: {found.note}." for found in estimators if found.error is None)
    missing = Bullets(heading="Not enough data", items=notes)
    return section("estimators", "Predicting instead of measuring", explained, table, missing)


def short_profiles(runs: Iterable[TrainingRun]) -> list[Estimator]:
    """Errors of "total = epochs x mean of the first k epochs" over training runs at least twice as long as the profile."""
    complete = [run for run in runs if run.energy_j]
    found = []
    for k in FIRST_EPOCHS:
        profiles = [(run, run.first_energy_j(k)) for run in complete if run.epochs >= 2 * k]
        errors = [
            abs(first_j / k * run.epochs / run.energy_j - 1) for run, first_j in profiles if first_j is not None and run.energy_j
        ]
        name = f"the first {k} epochs predict the training energy" if k > 1 else "the first epoch predicts the training energy"
        why = "is measured in windows that end there" if profiles else f"has {2 * k} epochs"
        found.append(_estimator(name, errors, missing=f"no training run with known energy {why}"))
    return found


def descriptors(arms: Iterable[Arm]) -> list[Estimator]:
    """Leave-one-model-out errors of power laws fitted to baselines, on each kind of hardware, device and batch size by itself."""
    groups: dict[tuple[str, ...], dict[str, list[Arm]]] = defaultdict(lambda: defaultdict(list))
    for arm in (part for whole in arms for part in whole.parts):
        cell = arm.cell
        baseline = arm.ok and cell["phase"] == "inference" and cell["tactic"] == "baseline"
        if baseline and arm.energy_j and cell["parameters"] and cell["macs_per_sample"]:
            group = (arm.hardware, str(arm.scope), cell["device"], str(cell["batch_size"]), cell["dataset"], arm.stage)
            groups[group][cell["model"]].append(arm)
    if not groups:
        missing = "no baseline has energy, parameters and MACs"
        return [_estimator("model descriptors predict energy per sample", [], missing=missing)]
    largest = max(sorted(groups), key=lambda group: len(groups[group]))
    rows = [_row(groups[largest][model]) for model in sorted(groups[largest])]
    return [_left_out(names, rows, of=f" in stage {largest[-1]}" if largest[-1] else "") for names in DESCRIPTORS]


def _row(arms: Sequence[Arm]) -> dict[str, float]:
    cell = arms[0].cell
    macs, parameters = math.log(cell["macs_per_sample"]), math.log(cell["parameters"])
    energy = math.log(fmean(arm.energy_j.mean for arm in arms if arm.energy_j))
    return {"energy": energy, "parameters": parameters, "MACs": macs, "MACs per parameter": macs - parameters}


def _left_out(names: Sequence[str], rows: Sequence[dict[str, float]], *, of: str) -> Estimator:
    title = f"{' and '.join(names)} predict energy per sample{of} of a model left out"
    needed = len(names) + 1 + SPARE_MODELS
    if len(rows) < needed:
        return _estimator(title, [], missing=f"needs {needed} models on the same hardware, there are {len(rows)}")
    design = np.array([[1.0, *(row[name] for name in names)] for row in rows])
    target = np.array([row["energy"] for row in rows])
    errors = []
    for left in range(len(rows)):
        kept = np.arange(len(rows)) != left
        weights, *_ = np.linalg.lstsq(design[kept], target[kept], rcond=None)
        errors.append(abs(math.exp(min(50.0, float(design[left] @ weights - target[left]))) - 1))
    return _estimator(title, errors, missing="")


def _estimator(name: str, errors: Sequence[float], *, missing: str) -> Estimator:
    error, worst = (median(errors), max(errors)) if errors else (None, None)
    return Estimator(name=name, error=error, worst=worst, cases=len(errors), note="" if errors else missing)

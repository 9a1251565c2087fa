"""What the cells ran on and how they were set, each combination once."""

import json
from collections.abc import Sequence

from greenray.analysis.analyse import Analysis
from greenray.analysis.arms import Arm, json_of
from greenray.report.document import Grid, Section, section, without_empty

PARTS = {
    "Machines": ("host", "cpu_name", "gpu_name", "gpu_uuid", "power_limit_w", "driver_version"),
    "Software": ("python_version", "torch_version", "transformers_version", "greenray_version"),
    "Settings of the cells": ("phase", "device", "dtype", "attention", "num_threads", "batch_size", "switches"),
}

_OF_ONE_RUN = ("warmup", "gradient_scale")
"""How these settings begin that are no settings: what became of a run."""


def load(analysis: Analysis) -> Sequence[Arm] | None:
    return [arm for arm in analysis.arms if arm.ok] or analysis.arms or None


def show(arms: Sequence[Arm], analysis: Analysis) -> Section:
    grids = []
    for heading, columns in PARTS.items():
        rows = tuple(sorted({tuple(_value(arm, name) for name in columns) for arm in arms}))
        names, left = tuple(name.replace("_", " ") for name in columns), frozenset(range(len(columns)))
        grids.append(without_empty(Grid(heading=heading, columns=names, rows=rows, text_columns=left)))
    return section("hardware", "Hardware and settings", *grids)


def _value(arm: Arm, column: str) -> str:
    """A column of the row; as switches, those that were set: what was observed on the way (warm-up) is none."""
    if column == "switches":
        given = {key: value for key, value in json_of(arm.cell, "settings").items() if not key.startswith(_OF_ONE_RUN)}
        return ", ".join(f"{key.replace('_', ' ')} {json.dumps(value).strip(chr(34))}" for key, value in sorted(given.items()))
    return "" if arm.cell[column] is None else str(arm.cell[column])

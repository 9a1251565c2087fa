"""Short recorded traces, kept as test data: `<folder>/<board>/<mode>.npz` holds the samples, `<mode>.json` where they are from.

Times begin at 0. `tests/power/test_recorded.py` reads every trace that lies under tests/power/data/.
"""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from greenray.gpu.base import Gpu
from greenray.power.gpu_reading import GpuFacts
from greenray.power.trace import Readings, Series
from tests.gpu_check.rig import Stretch

FORMAT = 1
Kept = tuple[Stretch, dict[str, Any]]


def keep(folder: Path, name: str, stretch: Stretch, *, gpu: Gpu, load: str, seconds: float, period_s: float | None) -> Path:
    """Writes the first `seconds` of a stretch, with the margins before and behind; returns the file of the samples."""
    margin_s = stretch.start_s - float(stretch.series.fast.times[0])
    end_s = min(stretch.start_s + seconds, stretch.end_s)
    fast = stretch.series.fast.within(stretch.start_s - margin_s, end_s + margin_s)
    place = folder / (re.sub(r"[^a-z0-9]+", "-", gpu.name.lower()).strip("-") or "board")
    place.mkdir(parents=True, exist_ok=True)
    origin_s = float(fast.times[0])
    file = place / f"{name}.npz"
    np.savez_compressed(file, allow_pickle=False, times=fast.times - origin_s, **dict(fast.columns))
    about: dict[str, Any] = {
        "format": FORMAT,
        "board": gpu.name,
        "driver": gpu.driver_version,
        "date": datetime.now(UTC).date().isoformat(),
        "load": load,
        "load_period_s": period_s,
        "hz": stretch.hz,
        "start_s": stretch.start_s - origin_s,
        "end_s": end_s - origin_s,
        "power_source": stretch.facts.power_source,
        "counter_missing": stretch.facts.counter_missing,
        "counter_period_s": stretch.facts.period_s,
        "counter_jitter_s": stretch.facts.jitter_s,
    }
    file.with_suffix(".json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    return file


def load(file: Path) -> Kept:
    """A kept trace and what is known about it."""
    about = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
    with np.load(file) as arrays:
        columns = {name: arrays[name] for name in arrays.files}
    fast = Readings(times=columns.pop("times"), columns=columns)
    facts = GpuFacts(
        power_source=about["power_source"],
        counter_missing=about["counter_missing"],
        period_s=about["counter_period_s"],
        jitter_s=about["counter_jitter_s"],
    )
    series = Series(sensor=f"gpu:{about['board']}", part="gpu", fast=fast)
    return Stretch(series=series, facts=facts, start_s=about["start_s"], end_s=about["end_s"], hz=about["hz"]), about

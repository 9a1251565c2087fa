"""Section 15: training with labels that block, with labels that do not, and with all data on the board."""

from typing import Any

from tests.gpu_check.finding import Finding, Table
from tests.gpu_check.measured import measure, of
from tests.gpu_check.rig import Rig

MODELS = ("tiny", "vit-b")
SUPPLIES = ("labels block", "labels pinned", "on the board")


def run(rig: Rig) -> Finding:
    """Each model with each supply, for four seconds."""
    found = measure(rig, "train", models=MODELS, seconds=4.0 * rig.scale)
    rows: list[list[Any]] = []
    told: list[str] = []
    for window in found.windows:
        blocking = of(found.windows, model=window["model"], supply=SUPPLIES[0])
        ratio = None if blocking is None else window["samples_per_s"] / blocking["samples_per_s"]
        kept = ("model", "supply", "samples_per_s", "energy_a_sample_j", "power_w", "utilization")
        rows.append([*(window[name] for name in kept), ratio])
        if window["supply"] == SUPPLIES[-1] and ratio is not None:
            told.append(f"{window['model']} x {ratio:.2f}")
    asked = len(MODELS) * len(SUPPLIES)
    return Finding(
        verdict=found.verdict(complete=len(rows) == asked),
        summary=f"Throughput with all data on the board over labels that block: {', '.join(told) or 'unknown'}.",
        method="fp32, AdamW, batch 32 (tiny) and 64 (ViT-B/16), steps waited for every 16 and every quarter of a second. Labels "
        "block: pixels are pinned and copied without waiting, labels by a copy that waits. Labels pinned: both without waiting. "
        "On the board: both lie there and are gathered there.",
        tables=[
            Table(
                title="Training",
                columns=["model", "data", "images/s", "J an image", "power W", "busy (0-1)", "x blocking"],
                rows=rows,
            )
        ],
        notes=found.notes,
        data={"rows": found.rows},
    )

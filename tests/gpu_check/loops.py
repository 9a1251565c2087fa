"""Section 12: what waiting for the board after every batch costs, in four kinds of arithmetic, on a large and a tiny model."""

from typing import Any

from greenray.cell.launches import BOUND
from tests.gpu_check.finding import Finding, Table
from tests.gpu_check.measured import measure, of
from tests.gpu_check.rig import Rig

MODELS = ("vit-b", "tiny")
ARMS = ("fp32", "tf32", "bf16", "bf16+compile")
LOOPS = ("synchronised", "depth 2", "unsynchronised")


def run(rig: Rig) -> Finding:
    """Every model, arithmetic and loop once, for two seconds."""
    # In short form nothing is compiled: that takes as long as all the rest.
    arms = ARMS if rig.scale >= 0.2 else ARMS[:-1]
    found = measure(rig, "serve", models=MODELS, arms=arms, loops=LOOPS, seconds=2.0 * rig.scale)
    ratios = gained(found.windows)
    bound = [f"{model} {arm} (x {row['unsynchronised']:.2f})" for (model, arm), row in ratios.items() if is_bound(row)]
    asked, done = len(MODELS) * len(arms) * len(LOOPS), len(found.windows)
    columns = [
        "model",
        "arithmetic",
        "loop",
        "images/s",
        "J an image",
        "power W",
        "SM MHz",
        "busy %",
        "p50 ms",
        "p95 ms",
        "x waiting",
    ]
    told = f"bound by launches: {', '.join(bound)}" if bound else f"none is bound by launches (x {BOUND} when not waited for)"
    return Finding(
        verdict=found.verdict(complete=done == asked),
        summary=f"{done} of {asked} loads measured; {told}.",
        method="ViT-B/16 at batch 64 and the quickstart's ViT at batch 32, random weights and pictures; each batch is copied "
        "from pinned memory, computed and reduced to its answers. Synchronised: waited for after every batch, as in cells. Depth "
        "2: the next batch is copied and queued before the last is waited for. Unsynchronised: 50 batches are queued, then "
        "waited for. A second of each goes before it is measured. `x waiting`: throughput over that of the synchronised loop.",
        tables=[Table(title="Loops", columns=columns, rows=[_row(window, ratios) for window in found.windows])],
        notes=[*found.notes, *([] if arms == ARMS else ["In this short form nothing was compiled."])],
        data={"rows": found.rows, "gained": {" ".join(key): row for key, row in ratios.items()}, "bound": bound},
    )


def gained(windows: Any) -> dict[tuple[str, str], dict[str, float]]:
    """Throughput of each loop over that of the synchronised one, by model and arithmetic."""
    found: dict[tuple[str, str], dict[str, float]] = {}
    for window in windows:
        waiting = of(windows, model=window["model"], arm=window["arm"], loop="synchronised")
        if waiting is not None:
            row = found.setdefault((window["model"], window["arm"]), {})
            row[window["loop"]] = window["samples_per_s"] / waiting["samples_per_s"]
    return found


def is_bound(gained: dict[str, float]) -> bool:
    """Whether the figures of one load say that it is bound by launches."""
    return gained.get("unsynchronised", 0.0) > BOUND


def _row(window: dict[str, Any], ratios: dict[tuple[str, str], dict[str, float]]) -> list[Any]:
    kept = [window[name] for name in ("model", "arm", "loop", "samples_per_s", "energy_a_sample_j", "power_w", "sm_clock_mhz")]
    busy = None if window["utilization"] is None else 100 * window["utilization"]
    ratio = ratios.get((window["model"], window["arm"]), {}).get(window["loop"])
    return [*kept, busy, 1000 * window["p50_s"], 1000 * window["p95_s"], ratio]

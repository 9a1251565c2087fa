"""Section 13: dynamic int8 without and with a compiler, beside bf16: torchao's eager path may measure Python."""

from typing import Any

from tests.gpu_check.finding import Finding, Table
from tests.gpu_check.measured import measure, of
from tests.gpu_check.rig import Rig

ARMS = ("bf16", "bf16+int8", "bf16+compile", "bf16+int8+compile")
_CALLS = ("values fetched", "copies to the host", "waits", "operations")


def run(rig: Rig) -> Finding:
    """ViT-B under each, waited for after every batch; then one batch under torch's profiler."""
    arms = ARMS if rig.scale >= 0.2 else ARMS[:2]  # in short form nothing is compiled
    found = measure(rig, "serve", models=["vit-b"], arms=arms, loops=["synchronised"], seconds=4.0 * rig.scale, profile=True)
    rows: list[list[Any]] = []
    for window in found.windows:
        calls = next((row["calls"] for row in found.rows if row["arm"] == window["arm"] and "calls" in row), {})
        rows.append(
            [window["arm"], window["samples_per_s"], window["energy_a_sample_j"], window["power_w"], window["first_calls_s"]]
            + [calls.get(name) for name in _CALLS]
        )
    return Finding(
        verdict=found.verdict(complete=len(rows) == len(arms)),
        summary=_summary(found.windows),
        method="ViT-B/16, batch 64, waited for after every batch. int8: torchao's dynamic activations and weights in all linear "
        "layers but the last. `values fetched`: numbers that Python asks of the board, each of which waits for it; counted with "
        "copies, waits (one is the count's own) and operations over one batch by torch's profiler.",
        tables=[
            Table(
                title="int8",
                columns=[
                    "arithmetic",
                    "images/s",
                    "J an image",
                    "power W",
                    "first calls s",
                    *(f"{name} a batch" for name in _CALLS),
                ],
                rows=rows,
            )
        ],
        notes=[*found.notes, *([] if arms == ARMS else ["In this short form nothing was compiled."])],
        data={"rows": found.rows},
    )


def _summary(windows: Any) -> str:
    told = []
    for arm, base in (("bf16+int8", "bf16"), ("bf16+int8+compile", "bf16+compile")):
        int8, without = of(windows, arm=arm), of(windows, arm=base)
        ratio = "unknown" if int8 is None or without is None else f"x {int8['samples_per_s'] / without['samples_per_s']:.2f}"
        told.append(f"{arm} over {base}: {ratio}")
    return f"Throughput of {'; '.join(told)}."

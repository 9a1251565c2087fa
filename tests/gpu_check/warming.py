"""Section 14: two minutes of fp32 from a cold board: when throughput, power, temperature and clock have come to rest."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from tests.gpu_check.finding import Finding, Table
from tests.gpu_check.measured import measure
from tests.gpu_check.rig import Rig

LENGTH_S, COOL_S = 120.0, 45.0
_SHOWN_S = (0, 1, 2, 5, 10, 20, 30, 45, 60, 90, 119)
_WITHIN = 0.01
RISE_C, OVER_S = 1.0, 5


def run(rig: Rig) -> Finding:
    """Lets the board cool down, then works on it without a pause, second by second."""
    rig.load.play("none")
    waited_s, start_c = cool(rig, longest_s=COOL_S * rig.scale)
    count = max(3, round(LENGTH_S * rig.scale))
    found = measure(rig, "serve", models=["vit-b"], arms=["fp32"], loops=["synchronised"], seconds=1.0, windows=count, warm=False)
    seconds = found.windows
    if len(seconds) < 3:
        return Finding(
            verdict="failed", summary="Fewer than three seconds were measured.", notes=found.notes, data={"rows": found.rows}
        )
    rest = {
        name: at_rest_s([row[name] for row in seconds])
        for name in ("samples_per_s", "power_w", "energy_a_sample_j", "sm_clock_mhz")
    }
    even_s = temperature_even_s([row["temperature_c"] for row in seconds])
    told = ", ".join(
        f"{label} {_after(rest[name])}"
        for name, label in (("samples_per_s", "throughput"), ("power_w", "power"), ("energy_a_sample_j", "energy an image"))
    )
    first, last = seconds[0], seconds[-1]
    columns = ["s", "images/s", "J an image", "power W", "temperature C", "SM MHz", "held back by"]
    rows = [
        [
            n,
            row["samples_per_s"],
            row["energy_a_sample_j"],
            row["power_w"],
            row["temperature_c"],
            row["sm_clock_mhz"],
            ", ".join(row["throttled"] or []) or "-",
        ]
        for n, row in enumerate(seconds)
        if n in _SHOWN_S or row is last
    ]
    return Finding(
        verdict=found.verdict(complete=len(seconds) == count),
        summary=f"From {_c(start_c)} to {_c(last['temperature_c'])}; within {100 * _WITHIN:.0f} % of the last third: {told}; "
        f"the temperature rises by less than {RISE_C:g} C in {OVER_S} s {_after(even_s)}.",
        method=f"ViT-B/16 in fp32, batch 64, waited for after every batch, {count} s in windows of 1 s, from the first batch "
        f"after its first calls on. Before it the board rested until it cooled no more, {COOL_S * rig.scale:.0f} s at most.",
        tables=[Table(title="From cold", columns=columns, rows=rows)],
        notes=[
            f"Rested {waited_s:.0f} s, down to {_c(start_c)}; loading and the first calls have warmed it again before the end of "
            f"the first second ({_c(first['temperature_c'])}).",
            *found.notes,
        ],
        data={"rested_s": waited_s, "start_c": start_c, "at_rest_s": rest, "temperature_even_s": even_s, "rows": found.rows},
    )


def cool(rig: Rig, *, longest_s: float) -> tuple[float, float | None]:
    """Waits until the board has not cooled by a degree for ten seconds; how long, and its temperature."""
    start_s = fell_s = time.monotonic()
    lowest_c = rig.gpu.temperature_c()
    while lowest_c is not None and (now_s := time.monotonic()) - start_s < longest_s and now_s - fell_s < 10:
        time.sleep(0.25)
        celsius = rig.gpu.temperature_c()
        if celsius is not None and celsius < lowest_c:
            lowest_c, fell_s = celsius, time.monotonic()
    return time.monotonic() - start_s, rig.gpu.temperature_c()


def at_rest_s(values: Sequence[float | None]) -> int | None:
    """The second from which on the mean of five stays near the mean of the last third; None when it never does or is unknown."""
    if any(value is None for value in values):
        return None
    known = np.array(values, dtype=np.float64)
    final = float(known[-max(1, len(known) // 3) :].mean())
    width = min(5, len(known))
    smooth = np.convolve(known, np.ones(width) / width, mode="valid")
    away = np.flatnonzero(np.abs(smooth / final - 1) > _WITHIN)
    first = 0 if not len(away) else int(away[-1]) + 1
    return None if first >= len(smooth) else first


def temperature_even_s(celsius: Sequence[float | None]) -> int | None:
    """The first second after which the temperature rose by less than RISE_C in OVER_S seconds; None when it never did."""
    for second in range(OVER_S, len(celsius)):
        now, before = celsius[second], celsius[second - OVER_S]
        if now is not None and before is not None and now - before < RISE_C:
            return second
    return None


def _after(seconds: int | None) -> str:
    return "at no time" if seconds is None else f"after {seconds} s"


def _c(celsius: Any) -> str:
    return "unknown" if celsius is None else f"{celsius:.0f} C"

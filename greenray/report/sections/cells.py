"""What happened to each cell, and what attempts without a result cost."""

from collections import Counter

import polars as pl

from greenray.analysis.analyse import Analysis
from greenray.analysis.arms import Arm
from greenray.analysis.wording import quantity
from greenray.report.document import Section, Text, grid, section, without_empty


def load(analysis: Analysis) -> tuple[int, float] | None:
    """How many attempts there were, and the energy of those that did not end ok, J."""
    attempts = analysis.frames.attempts
    return (attempts.height, float(attempts.filter(pl.col("status") != "ok")["energy_j"].sum())) if analysis.arms else None


def show(attempts: tuple[int, float], analysis: Analysis) -> Section:
    number, wasted_j = attempts
    statuses = Counter(arm.cell["status"].replace("_", " ") for arm in analysis.arms)
    said = ", ".join(f"{count} {status}" for status, count in sorted(statuses.items()))
    text = f"{len(analysis.arms)} cells in {number} attempts: {said}."
    if wasted_j:
        text += f" Attempts without a result cost {quantity(wasted_j, 'J')}."
    table = grid(
        analysis.arms,
        {
            "model": lambda a: analysis.labels[a.key],
            "tactic": lambda a: a.cell["tactic"] + (f" ({a.cell['bracket']})" if a.cell["bracket"] else ""),
            "phase": lambda a: a.cell["phase"] or "",
            "visit": lambda a: "" if a.cell["visit"] is None else f"round {a.cell['round']}, visit {a.cell['visit']}",
            "status": lambda a: a.cell["status"].replace("_", " "),
            "duration": lambda a: quantity(a.cell["duration_s"], "s"),
            "energy": lambda a: quantity(a.cell["energy_j"], "J"),
            "board idle": _idle,
            "board memory": _memory,
            "grade": lambda a: a.grade or "",
            "cell": lambda a: a.cell["cell_id"],
            "remark": lambda a: a.cell["error"] or ("; ".join(a.missing_reasons) if a.windows_without_energy else ""),
        },
        text=("model", "tactic", "phase", "visit", "status", "cell", "remark"),
        folded=len(analysis.arms) > 12,
        heading="All cells",
    )
    return section("cells", "What happened to each cell", Text(text), without_empty(table))


def _memory(arm: Arm) -> str:
    """The peak while it was measured, and beside it that of loading and optimising where that was another."""
    peak, before = (arm.cell[f"peak_gpu_memory{when}_bytes"] for when in ("", "_load"))
    if peak is None:
        return ""
    return quantity(peak, "B") + (f" ({quantity(before, 'B')} before)" if before is not None and before != peak else "")


def _idle(arm: Arm) -> str:
    return "" if arm.idle_w is None else f"{arm.idle_w:.1f} W" + (" (not settled)" if arm.idle_settled is False else "")

"""What cells like these took before: the only basis on which `plan` states times and energies."""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from greenray.store import reader

Key = tuple[str, str, str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """Medians over like cells; `energy_j` is None when no attempt knew its energy."""

    duration_s: float
    energy_j: float | None
    attempts: int


def expectations(out: Path) -> dict[Key, Expectation]:
    """Median duration and energy of ok attempts by (phase, model, device, tactic slug); brackets count as `baseline`.

    A missing key means that nothing like it was measured: the answer then is "unknown", not a guess.

    Raises:
        StoreError: `out` is no store.
    """
    medians = (
        reader.scan(out, table="cells")
        .filter((pl.col("status") == "ok") & pl.col("duration_s").is_not_null())
        .group_by("phase", "model", "device", "tactic")
        .agg(pl.col("duration_s").median(), pl.col("energy_j").median(), pl.len().alias("attempts"))
        .sort("phase", "model", "device", "tactic")
        .collect()
    )
    return {
        (row["phase"], row["model"], row["device"], row["tactic"]): Expectation(
            duration_s=row["duration_s"], energy_j=row["energy_j"], attempts=row["attempts"]
        )
        for row in medians.iter_rows(named=True)
    }

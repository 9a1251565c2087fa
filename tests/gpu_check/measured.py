"""A job's rows with what the board drew meanwhile."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.gpu_check.finding import Verdict
from tests.gpu_check.job import Collected
from tests.gpu_check.rig import Rig, Stretch

_LEFT_S = 8.0  # before the section's end: the figures are read and written


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Rows that have `start_s` and `end_s` bear the figures of `figures`; `problem` says why there are no more rows, if so."""

    rows: list[dict[str, Any]]
    problem: str | None
    timed_out: bool
    stretch: Stretch

    @property
    def windows(self) -> list[dict[str, Any]]:
        return [row for row in self.rows if "start_s" in row]

    def verdict(self, *, complete: bool) -> Verdict:
        """Of a section that asked for a number of figures, and got them or not."""
        if complete:
            return "ok"
        return "cut short" if self.problem is not None and self.timed_out else "off"

    @property
    def notes(self) -> list[str]:
        """What could not be done, in sentences."""
        failed = [
            f"{' '.join(str(row[k]) for k in ('model', 'arm') if k in row)}: {row['error']}"
            for row in self.rows
            if row.get("error")
        ]
        return [*failed, *([] if self.problem is None else [f"{self.problem[:1].upper()}{self.problem[1:]}."])]


def measure(rig: Rig, name: str, **params: Any) -> Measured:
    """Runs a job to its end, or to just before the section's, while the board is recorded."""
    until_s = rig.deadline_s - _LEFT_S
    job = rig.load.job(name, **params)

    def work() -> Collected:
        try:
            return job.collect(until_s=until_s)
        finally:
            job.close()

    collected, stretch = rig.record_while(work)
    rows = [row | figures(stretch, row) if "start_s" in row else row for row in collected.rows]
    return Measured(rows=rows, problem=collected.problem, timed_out=time.monotonic() > until_s, stretch=stretch)


def figures(stretch: Stretch, row: Mapping[str, Any]) -> dict[str, Any]:
    """Samples a second and the board's figures of the row's window; joules a sample are None where the energy is unknown."""
    seconds, samples = row["end_s"] - row["start_s"], row["batches"] * row["batch_size"]
    found = stretch.read(row["start_s"], row["end_s"])
    energy_j = found.energy.energy_j
    return {
        "samples_per_s": samples / seconds,
        "power_w": found.power_w,
        "energy_a_sample_j": None if energy_j is None else energy_j / samples,
        "energy_error": None if not energy_j or found.energy.error_j is None else found.energy.error_j / energy_j,
        "sm_clock_mhz": found.sm_clock_mhz,
        "utilization": found.utilization,
        "temperature_c": found.temperature_end_c,
        "throttled": found.throttle_reasons,
    }


def of(rows: Sequence[Mapping[str, Any]], **wanted: Any) -> Mapping[str, Any] | None:
    """The first row with these values."""
    return next((row for row in rows if all(row.get(name) == value for name, value in wanted.items())), None)

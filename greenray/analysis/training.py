"""What training cost: the whole run, an epoch, and the accuracy that came of it."""

from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl

from greenray.analysis.arms import Arm, json_of
from greenray.analysis.frames import Frames


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRun:
    """One training cell.

    Attributes:
        arm: the settled attempt.
        epochs_j: energy of every epoch in order; None where an epoch's total is unknown.
        active_j: energy of all epochs without idle power x time; None as soon as one is unknown.
        epochs_s: duration of every epoch.
        energy_j: energy of all epochs together; None as soon as one is unknown.
    """

    arm: Arm
    epochs_j: tuple[float | None, ...]
    active_j: float | None
    epochs_s: tuple[float, ...]

    @property
    def energy_j(self) -> float | None:
        known = [energy for energy in self.epochs_j if energy is not None]
        return sum(known) if known and len(known) == len(self.epochs_j) else None

    @property
    def epoch_energy_j(self) -> float | None:
        return None if self.energy_j is None else self.energy_j / len(self.epochs_j)

    @property
    def epoch_time_s(self) -> float | None:
        return sum(self.epochs_s) / len(self.epochs_s) if self.epochs_s else None

    @property
    def settings(self) -> str:
        """The hyperparameters as a reader would say them."""
        given = json_of(self.arm.cell, "hyperparameters")
        return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in given.items())


def runs(frames: Frames, arms: Iterable[Arm]) -> list[TrainingRun]:
    """Every ok training cell with its epochs."""
    training = [arm for arm in arms if arm.ok and arm.cell["phase"] == "training"]
    epochs = frames.windows.filter(pl.col("kind") == "epoch").sort("run_id", "epoch", "window")
    by_run = {str(run_id): rows for (run_id,), rows in epochs.group_by("run_id", maintain_order=True)}
    return [_run(arm, by_run.get(arm.cell["run_id"], epochs.clear())) for arm in training]


def _run(arm: Arm, epochs: pl.DataFrame) -> TrainingRun:
    active = epochs["active_energy_j"]
    return TrainingRun(
        arm=arm,
        epochs_j=tuple(epochs["total_energy_j"].to_list()),
        active_j=None if active.null_count() or active.is_empty() else float(active.sum()),
        epochs_s=tuple(epochs["duration_s"].fill_null(0.0).to_list()),
    )

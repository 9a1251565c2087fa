"""Trainings: what each cost, epoch by epoch, how good it was by then, and what it took to come near its best.

Energy to a quality is that of the epochs until the evaluated quality first reaches it; evaluating is counted apart, for a
training needs none of it. It is known where the model was evaluated after each epoch.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import sqrt
from statistics import fmean, stdev

import polars as pl

from greenray.analysis import applied
from greenray.analysis.arms import Arm, Row, json_of
from greenray.analysis.frames import Frames
from greenray.analysis.stats import t_quantile
from greenray.analysis.wording import setting

SHARES = (0.9, 0.95)
"""Of the best quality that a run reached."""
MIN_ROUNDS = 3
_EXACT = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """The model after an epoch: its quality, J and s of all epochs until then, and J of all evaluations until then."""

    epoch: int
    quality: float
    energy_j: float | None
    time_s: float
    evaluation_j: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRun:
    """One training cell with its windows in order; `energy_j` and `active_j` are of all together, None where one is unknown.

    Attributes:
        held: how many epochs each window holds; short ones are measured together.
        windows_j, windows_s: energy and duration of each window.
        evaluated: the model after each epoch, where it was evaluated there; the finished model is not among them.
    """

    arm: Arm
    held: tuple[int, ...]
    windows_j: tuple[float | None, ...]
    windows_s: tuple[float, ...]
    energy_j: float | None
    active_j: float | None
    evaluated: tuple[Evaluated, ...] = ()

    @property
    def hardly(self) -> bool:
        return applied.is_hardly_in([self.arm.cell])

    @property
    def named(self) -> str:
        """The tactic as tables name it."""
        return applied.marked(self.arm.cell["tactic"], hardly=self.hardly)

    @property
    def epochs(self) -> int:
        return sum(self.held)

    @property
    def epoch_energy_j(self) -> float | None:
        return None if self.energy_j is None else self.energy_j / self.epochs

    @property
    def epoch_time_s(self) -> float | None:
        return sum(self.windows_s) / self.epochs if self.windows_s else None

    def first_energy_j(self, epochs: int) -> float | None:
        """Energy of the first so many epochs; None where it is unknown, or no window ends with the last of them."""
        ends = list(accumulate(self.held))
        return _total(self.windows_j[: ends.index(epochs) + 1]) if epochs in ends else None

    @property
    def settings(self) -> str:
        given = json_of(self.arm.cell, "hyperparameters")
        return ", ".join(setting(name, value) for name, value in given.items())

    @property
    def best(self) -> float | None:
        """The best quality after any epoch; None where it was not evaluated after each."""
        return max((after.quality for after in self.evaluated), default=None)

    @property
    def evaluation_j(self) -> float | None:
        """Energy of the evaluations after all epochs; None where unknown or there were none."""
        return self.evaluated[-1].evaluation_j if self.evaluated else None

    @property
    def why_no_quality_to_reach(self) -> str | None:
        """Why there is no energy to a share of the best quality; None where there is one to ask for."""
        if not self.evaluated:
            return "not evaluated after each epoch (evaluate_each_epoch)"
        measure = self.arm.measure
        if not (measure.share and measure.higher_is_better):
            return f"{measure.name} is no share of a best to reach"
        return None if self.best else f"{measure.name} was 0 after every epoch"

    def reach(self, quality: float) -> Evaluated | None:
        """The model after the first epoch that was as good; None if none was."""
        return next((after for after in self.evaluated if after.quality >= quality - _EXACT), None)

    def to_share(self, share: float) -> Evaluated | None:
        """The model after the first epoch that came to this share of the best; None where that cannot be told."""
        return None if self.best is None or self.why_no_quality_to_reach else self.reach(share * self.best)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """Mean over rounds, with its 95 % t interval from three rounds on, of what cannot be negative."""

    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """All runs of one training: the same model, data, settings and tactic in every round, brackets of a visit included."""

    runs: tuple[TrainingRun, ...]

    @property
    def arm(self) -> Arm:
        return self.runs[0].arm

    @property
    def rounds(self) -> int:
        return len({run.arm.cell["round"] for run in self.runs})

    def over_rounds(self, of: Callable[[TrainingRun], float | None], *, spoiled: bool = True) -> Figure | None:
        """A figure of the runs, those of one round averaged first: the round repeats. None where one is unknown.

        What a busy host spoils (`spoiled`: energy and time) is of quiet runs, or of all without an interval if none was quiet.
        """
        quiet = [run for run in self.runs if not (spoiled and run.arm.contended)]
        by_round: dict[int, list[float | None]] = defaultdict(list)
        for run in quiet or self.runs:
            by_round[run.arm.cell["round"] or 1].append(of(run))
        means = [fmean(known) for values in by_round.values() if (known := [value for value in values if value is not None])]
        if len(means) < len(by_round):
            return None
        mean = fmean(means)
        if len(means) < MIN_ROUNDS or not quiet:
            return Figure(mean=mean, low=None, high=None)
        half = t_quantile(len(means) - 1) * stdev(means) / sqrt(len(means))
        return Figure(mean=mean, low=max(0.0, mean - half), high=mean + half)


def training_runs(frames: Frames, arms: list[Arm]) -> list[TrainingRun]:
    """The training cells that are ok, in the order of the arms."""
    windows = frames.windows.filter(pl.col("kind").is_in(["epoch", "evaluate"])).sort("run_id", "window")
    by_run = windows.partition_by("run_id", as_dict=True)
    found = []
    for arm in (arm for arm in arms if arm.ok and arm.cell["phase"] == "training"):
        rows = by_run.get((arm.cell["run_id"],), windows.clear())
        epochs = rows.filter(pl.col("kind") == "epoch").sort("epoch", "window")
        total_j, active_j = epochs["total_energy_j"], epochs["active_energy_j"]
        energy, active = (None if e.null_count() or e.is_empty() else float(e.sum()) for e in (total_j, active_j))
        held, times = tuple(epochs["epochs"].fill_null(1)), tuple(epochs["duration_s"].fill_null(0.0))
        measured = {"held": held, "windows_j": tuple(total_j), "windows_s": times}
        evaluated = tuple(_evaluated(rows.iter_rows(named=True)))
        found.append(TrainingRun(arm=arm, **measured, energy_j=energy, active_j=active, evaluated=evaluated))
    return found


def trainings(runs: Iterable[TrainingRun]) -> list[Training]:
    """Runs by what they repeat, in the order of the first of each."""
    groups: dict[tuple[str, str], list[TrainingRun]] = defaultdict(list)
    for run in runs:
        cell = run.arm.cell
        groups[cell["sweep"], cell["repeated_id"] or cell["cell_id"]].append(run)
    return [Training(runs=tuple(members)) for members in groups.values()]


def _evaluated(windows: Iterable[Row]) -> Iterable[Evaluated]:
    """What the windows of one run, in their order, say of the model after epochs."""
    epochs_j: list[float | None] = []
    evaluations_j: list[float | None] = []
    time_s = 0.0
    for window in windows:
        if window["kind"] == "epoch":
            epochs_j.append(window["total_energy_j"])
            time_s += window["duration_s"] or 0.0
        elif window["epoch"] is not None and window["accuracy"] is not None:
            evaluations_j.append(window["total_energy_j"])
            yield Evaluated(
                epoch=window["epoch"],
                quality=window["accuracy"],
                energy_j=_total(epochs_j),
                time_s=time_s,
                evaluation_j=_total(evaluations_j),
            )


def _total(joules: Sequence[float | None]) -> float | None:
    known = [value for value in joules if value is not None]
    return sum(known) if len(known) == len(joules) else None

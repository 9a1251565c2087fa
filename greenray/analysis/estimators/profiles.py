"""Short profiles: what the first epochs, windows or seconds say of the whole, and how far off they were.

Two ways, which differ in what is taken to be known. By energy: the rest goes on at the joules per epoch (or per sample) of the
profile; how many epochs or samples there will be is known. By power: the rest draws the mean power of the profile, for a time
that is either known, or the epochs that remain times the median epoch of the profile. Without the first: the first epoch is
counted as measured, and the rest goes on like the others of the profile, since the first one warms up.

Errors are of the whole, of which the profile is a part; of other rounds, they are of what other processes took for the same
work. A model counts once, as the mean of its runs; where models are counted, a family once, as the mean of its models.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from statistics import fmean, median

import polars as pl

from greenray.analysis.arms import Arm
from greenray.analysis.frames import Frames
from greenray.analysis.training import TrainingRun
from greenray.analysis.wording import count

FIRST_EPOCHS = (1, 2, 3, 5, 10, 20)
FIRST_WINDOWS = (1, 2, 3, 5)
FIRST_SECONDS = (1, 2, 5, 10, 30, 60)
BY_ENERGY, WITHOUT_FIRST = "energy", "energy, without the first"
BY_POWER, TIME_KNOWN = "power × predicted time", "power × known time"
OTHER_ROUNDS = "energy, of its other rounds"
WAYS = {"training": (BY_ENERGY, WITHOUT_FIRST, BY_POWER, TIME_KNOWN), "inference": (BY_ENERGY, TIME_KNOWN, OTHER_ROUNDS)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """A run piece by piece, in order.

    Attributes:
        amounts: epochs or samples of each piece; `joules` and `seconds` what they took, joules None where unknown.
        busy: whether others took enough of the host to matter.
        others_j: what as much work took in the mean of the cell's other rounds; None without any.
    """

    model: str
    family: str
    modelled: bool
    amounts: tuple[float, ...]
    joules: tuple[float | None, ...]
    seconds: tuple[float, ...]
    others_j: float | None = None
    busy: bool = False

    @property
    def total_j(self) -> float | None:
        known = [joules for joules in self.joules if joules is not None]
        return sum(known) if known and len(known) == len(self.joules) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileError:
    """How far off one way was with profiles of one length.

    Attributes:
        phase: training or inference; `unit` what lengths are counted in: epoch, window or s; `first` how many.
        median, worst: absolute relative error over models (0.1 = 10 %).
        share: mean part of the whole that the profile took.
        by_family: the error of each family of models.
        runs: runs or cells behind it, `models` of so many models; `busy` the share (0-1) beside which others took enough of the
            host to matter.
    """

    phase: str
    unit: str
    first: int
    way: str
    median: float
    worst: float
    by_family: tuple[float, ...]
    share: float
    models: int
    runs: int
    modelled: bool
    busy: float

    @property
    def beginning(self) -> str:
        """the first epoch, the first 3 windows, the first 5 s"""
        if self.unit == "s":
            return f"the first {self.first} s"
        return f"the first {self.unit}" if self.first == 1 else f"the first {count(self.first, self.unit)}"


def training_courses(runs: Iterable[TrainingRun]) -> list[Course]:
    known = [run for run in runs if run.energy_j]
    return [
        Course(
            model=run.arm.cell["model"] or "",
            family=_family(run.arm),
            modelled=run.arm.modelled,
            busy=run.arm.contended,
            amounts=tuple(map(float, run.held)),
            joules=run.windows_j,
            seconds=run.windows_s,
        )
        for run in [run for run in known if not run.arm.contended] or known
    ]


def inference_courses(frames: Frames, arms: Iterable[Arm]) -> list[Course]:
    """One for every cell, or every stage of it, with its steady windows in order: the quiet ones, or all if none was."""
    quiet = pl.col("contention").is_null()
    steady = frames.work.filter(pl.col("kind") == "steady").filter(quiet | ~quiet.any().over("run_id", "stage"))
    by_run = steady.sort("run_id", "window").partition_by("run_id", as_dict=True)
    found, cells = [], []
    for arm in (part for whole in arms for part in whole.parts):
        rows = by_run.get((arm.cell["run_id"],)) if arm.ok and arm.cell["phase"] == "inference" else None
        if rows is not None and arm.stage:
            rows = rows.filter(pl.col("stage") == arm.stage)
        if rows is not None and not rows.is_empty():
            amounts, seconds = (tuple(map(float, rows[name].fill_null(0))) for name in ("samples", "duration_s"))
            course = Course(
                model=f"{arm.cell['model']}{arm.stage}",
                family=_family(arm),
                modelled=arm.modelled,
                busy=arm.contended,
                amounts=amounts,
                joules=tuple(rows["total_energy_j"]),
                seconds=seconds,
            )
            if course.total_j:
                found.append(course)
                cells.append((*(str(arm.cell[name]) for name in _SAME), arm.stage))
    return _with_others(found, cells)


def _family(arm: Arm) -> str:
    return str(arm.cell["model_family"] or arm.cell["model"] or "")


_SAME = ("sweep", "model", "model_source", "dataset", "batch_size", "device", "tactic")


def _with_others(courses: Sequence[Course], cells: Sequence[tuple[str, ...]]) -> list[Course]:
    """Each with the energy of its other rounds: the runs of the same cell."""
    rates: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for course, cell in zip(courses, cells, strict=True):
        rates[cell].append((course.total_j or 0.0) / sum(course.amounts))
    found = []
    for course, cell in zip(courses, cells, strict=True):
        own, rounds, amount = (course.total_j or 0.0) / sum(course.amounts), len(rates[cell]), sum(course.amounts)
        others_j = (sum(rates[cell]) - own) / (rounds - 1) * amount if rounds > 1 else None
        found.append(replace(course, others_j=others_j))
    return found


def errors(training: Sequence[Course], inference: Sequence[Course]) -> list[ProfileError]:
    """Every length and way that some run is at least twice as long as."""
    found = []
    for phase, courses, unit, lengths in (
        ("training", training, "epoch", FIRST_EPOCHS),
        ("training", training, "s", FIRST_SECONDS),
        ("inference", inference, "window", FIRST_WINDOWS),
        ("inference", inference, "s", FIRST_SECONDS),
    ):
        for first in lengths:
            cut = [(course, pieces) for course in courses if (pieces := _pieces(course, unit=unit, first=first))]
            for way in WAYS[phase]:
                known = [(course, pieces, guess) for course, pieces in cut if (guess := predict(course, pieces=pieces, way=way))]
                if known:
                    found.append(_error(known, phase=phase, unit=unit, first=first, way=way))
    return found


def _pieces(course: Course, *, unit: str, first: int) -> int | None:
    """How many pieces the profile has; None where no piece ends there or soon after, or the run is under twice as long."""
    if unit == "window":
        return first if len(course.amounts) >= 2 * first else None
    reached = list(accumulate(course.amounts if unit == "epoch" else course.seconds))
    place = next((place for place, at in enumerate(reached) if at >= first - 1e-9), None)
    latest = first if unit == "epoch" else 1.5 * first
    if place is None or reached[place] > latest + 1e-9 or reached[-1] < 2 * reached[place] - 1e-9:
        return None
    return place + 1


def predict(course: Course, *, pieces: int, way: str) -> float | None:
    """Joules of the whole by its first pieces; None where their energy is unknown, or the way needs more of them."""
    joules = [piece for piece in course.joules[:pieces] if piece is not None]
    amounts, seconds = course.amounts[:pieces], course.seconds[:pieces]
    if len(joules) < pieces:
        return None
    left, spent_j = sum(course.amounts[pieces:]), sum(joules)
    if way == OTHER_ROUNDS and course.others_j is None:
        return None
    if way in (BY_ENERGY, OTHER_ROUNDS):
        return spent_j + left * spent_j / sum(amounts)
    if way == WITHOUT_FIRST:
        return spent_j + left * sum(joules[1:]) / sum(amounts[1:]) if pieces > 1 else None
    if not sum(seconds) > 0:
        return None
    power_w = spent_j / sum(seconds)
    if way == TIME_KNOWN:
        return power_w * sum(course.seconds)
    return spent_j + power_w * left * median(s / amount for s, amount in zip(seconds, amounts, strict=True))


def _error(known: Sequence[tuple[Course, int, float]], *, phase: str, unit: str, first: int, way: str) -> ProfileError:
    by_model: dict[str, list[float]] = defaultdict(list)
    shares = []
    for course, pieces, guess in known:
        total_j = (course.others_j if way == OTHER_ROUNDS else course.total_j) or guess
        by_model[course.model].append(abs(guess / total_j - 1))
        shares.append(sum(course.seconds[:pieces]) / sum(course.seconds) if sum(course.seconds) else 0.0)
    by_family: dict[str, list[float]] = defaultdict(list)
    for model, family in {course.model: course.family for course, _, _ in known}.items():
        by_family[family].append(fmean(by_model[model]))
    means = [mean for of in by_family.values() for mean in of]
    return ProfileError(
        phase=phase,
        unit=unit,
        first=first,
        way=way,
        median=median(means),
        worst=max(means),
        by_family=tuple(map(fmean, by_family.values())),
        share=fmean(shares),
        models=len(means),
        runs=len(known),
        modelled=any(course.modelled for course, _, _ in known),
        busy=fmean(course.busy for course, _, _ in known),
    )

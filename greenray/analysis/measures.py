"""What a tactic may change besides energy: every measure a line, each on one model.

A measure is compared as a ratio, or as a difference in points where it is a share that may well be 0 (accuracy, utilisation).
Figures that differ between rounds are paired inside visits and get their interval from rounds, as energy does (see `effects`);
figures that do not (sizes, counts, the accuracy of the same predictions) need no rounds for an interval over families.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from operator import attrgetter

from greenray.analysis import effects, stats
from greenray.analysis.accuracy import AccuracyChange
from greenray.analysis.arms import Arm
from greenray.analysis.effects import Step
from greenray.analysis.findings import SAMPLES, Finding
from greenray.analysis.visits import VisitEffect

Value = Callable[[Arm], float | None]
Sides = tuple[float | None, float | None]
"""The baseline's figure and the tactic's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """Something that a tactic may change.

    Attributes:
        name: as in tables for machines, with its unit; `label` and `unit` are for readers, "" is a plain number.
        of: what it says of a tactic on a model.
        points: compared by its difference, in percentage points; else by its ratio.
        repeats: differs from round to round, so that a model's own interval needs rounds.
        tested: a hypothesis of its own, and not another one in other words.
    """

    name: str
    label: str
    unit: str
    of: "Callable[[Measure, Finding], Change]"
    points: bool = False
    repeats: bool = True
    tested: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A measure with a tactic against its baseline, on one model or over families.

    Attributes:
        mean: natural logarithm of the ratio, or the difference in points; None where nothing is known.
        ends: its 95 % interval on the same scale; None where none can be given.
        basis: what the interval rests on, why there is none, or why nothing is known.
        baseline, tactic: the measure itself, mean over the visits compared; None over families.
        currency: of money.
    """

    measure: Measure
    basis: str
    mean: float | None = None
    ends: tuple[float, float] | None = None
    baseline: float | None = None
    tactic: float | None = None
    currency: str | None = None

    def shown(self, value: float) -> float:
        """A value of this scale as a ratio (0.7 is 30 % less), or as a difference."""
        return value if self.measure.points else math.exp(value)

    @property
    def value(self) -> float | None:
        return None if self.mean is None else self.shown(self.mean)

    @property
    def low(self) -> float | None:
        return None if self.ends is None else self.shown(self.ends[0])

    @property
    def high(self) -> float | None:
        return None if self.ends is None else self.shown(self.ends[1])

    @property
    def unit(self) -> str:
        return self.currency or self.measure.unit


def changes(finding: Finding) -> dict[str, Change]:
    """Every measure of a tactic on a model, by name, in order."""
    return {measure.name: measure.of(measure, finding) for measure in MEASURES}


def _visits(value: Value, step: Step | None = None) -> Callable[[Measure, Finding], Change]:
    """Compared inside visits: by `step`, or by the arms' values."""

    def change(measure: Measure, finding: Finding) -> Change:
        effect, compare = finding.effect, step or partial(compared, value=value, points=measure.points)
        found = effects.repeated(effect.visits, compare, first=effect.first)
        if found is None:
            return Change(measure=measure, basis=_why(effect.visits, value))
        mean, half = found.mean, found.half_width if measure.repeats else None
        used = effects.let_alone(effect.visits, compare)
        return Change(
            measure=measure,
            mean=mean,
            ends=None if half is None else (mean - half, mean + half),
            basis=found.basis if measure.repeats else "the same in every round",
            baseline=stats.mean_known(stats.mean_known(map(value, visit.reference)) for visit in used),
            tactic=stats.mean_known(value(visit.arm) for visit in used),
        )

    return change


def compared(visit: VisitEffect, *, value: Value, points: bool = False) -> float | None:
    """What a visit says of a change: the log ratio of the tactic's value to the mean of its baselines', or their difference."""
    ours, theirs = value(visit.arm), stats.mean_known(map(value, visit.reference))
    if ours is None or theirs is None:
        return None
    if points:
        return (ours - theirs) * 100
    return math.log(ours / theirs) if ours > 0 and theirs > 0 else None


def _why(visits: tuple[VisitEffect, ...], value: Value) -> str:
    """Why a change is not known."""
    refused = next((flag for visit in visits for flag in visit.flags if flag.startswith("not compared")), None)
    if refused and not any(visit.baselines for visit in visits):
        return refused
    sides = {
        "the tactic": [value(visit.arm) for visit in visits],
        "the baseline": [value(arm) for visit in visits for arm in visit.reference],
    }
    if unknown := [side for side, found in sides.items() if all(one is None for one in found)]:
        return f"not known of {' and '.join(unknown)}"
    if any(one == 0 for found in sides.values() for one in found):
        return "0 for one of the two: no ratio"
    return "; ".join(dict.fromkeys(flag for visit in visits for flag in visit.flags)) or "not known in the same visits"


def mean_of(column: str) -> Value:
    """The mean over an arm's windows, by the name that the arm has for it."""
    return lambda arm: None if (measured := getattr(arm, column)) is None else measured.mean


def _cell(column: str) -> Value:
    return lambda arm: arm.cell[column]


def _throughput(measure: Measure, finding: Finding) -> Change:
    """One over time per sample, so its interval is the other way round."""
    time = _TIME(measure, finding)
    if finding.effect.learnt_less:
        return Change(measure=measure, basis="learnt from fewer samples: time is that of the whole training")
    if time.mean is None or not time.baseline or not time.tactic:
        return Change(measure=measure, basis=time.basis)
    ends = None if time.ends is None else (-time.ends[1], -time.ends[0])
    return Change(
        measure=measure, basis=time.basis, mean=-time.mean, ends=ends, baseline=1 / time.baseline, tactic=1 / time.tactic
    )


def _cost(amount: str, of: Callable[[Measure, Finding], Change], measure: Measure, finding: Finding) -> Change:
    """Money follows energy or time; there is none where no price is known."""
    change = of(measure, finding)
    before, after = (getattr(cost, amount) for cost in (finding.baseline_cost, finding.tactic_cost))
    if change.mean is None or before is None or after is None:
        return Change(measure=measure, basis=change.basis if change.mean is None else "no price is known")
    currency = getattr(finding.tactic_cost, f"{amount}_currency")
    return Change(
        measure=measure, basis=change.basis, mean=change.mean, ends=change.ends, baseline=before, tactic=after, currency=currency
    )


def _quality(measure: Measure, finding: Finding) -> Change:
    """As a difference in points (of a measure that is no share, in its own scale), or as a ratio."""
    found = finding.accuracy
    if found is None:
        return Change(measure=measure, basis="not known of the tactic or of the baseline")
    make = partial(Change, measure=measure, baseline=found.baseline, tactic=found.tactic)
    if not measure.points:
        return _relative(found, make)
    ends = None if found.low is None or found.high is None else (found.low, found.high)
    basis = f"{found.samples:,} paired samples" if ends and found.samples else "not compared pairwise"
    return make(mean=found.difference, ends=ends, basis=basis)


def _relative(found: AccuracyChange, make: Callable[..., Change]) -> Change:
    """The difference over the baseline, which is taken as known: the pairs say how sure the difference is."""
    if not (found.baseline > 0 and found.tactic > 0):
        return make(basis="0 for one of the two: no ratio")
    shares = (
        [] if found.low is None or found.high is None else [1 + end / 100 / found.baseline for end in (found.low, found.high)]
    )
    ends = (math.log(shares[0]), math.log(shares[1])) if shares and min(shares) > 0 else None
    basis = f"{found.samples:,} paired samples" if ends and found.samples else "no interval of a ratio"
    return make(mean=math.log(found.tactic / found.baseline), ends=ends, basis=basis)


_ENERGY, _TIME = (_visits(mean_of(name), attrgetter(of)) for name, of in (("energy_j", "energy"), ("time_s", "time")))
_PRICED = f"{SAMPLES:,} samples"

MEASURES = (
    Measure(name="energy_j", label="energy", unit="J/sample", of=_ENERGY),
    Measure(name="gpu_energy_j", label="GPU energy", unit="J/sample", of=_visits(mean_of("gpu_energy_j"))),
    Measure(name="gpu_power_w", label="GPU power", unit="W", of=_visits(mean_of("gpu_power_w"))),
    Measure(name="gpu_utilization", label="GPU utilisation", unit="share", of=_visits(mean_of("gpu_utilization")), points=True),
    Measure(name="cpu_energy_j", label="CPU energy", unit="J/sample", of=_visits(mean_of("cpu_energy_j"))),
    Measure(name="time_s", label="time", unit="s/sample", of=_TIME),
    Measure(name="latency_p50_s", label="latency p50", unit="s", of=_visits(mean_of("latency_p50_s"), attrgetter("latency_p50"))),
    Measure(name="samples_per_s", label="throughput", unit="samples/s", of=_throughput, tested=False),
    Measure(name="accuracy", label="accuracy", unit="", of=_quality, points=True, repeats=False),
    Measure(name="accuracy_ratio", label="accuracy, relative", unit="", of=_quality, repeats=False, tested=False),
    Measure(name="size_bytes", label="size, serialised", unit="B", of=_visits(_cell("size_bytes")), repeats=False),
    Measure(
        name="parameters_bytes",
        label="size, parameters() alone",
        unit="B",
        of=_visits(_cell("parameters_bytes")),
        repeats=False,
        tested=False,
    ),
    Measure(
        name="nonzero_parameters", label="parameters not zero", unit="", of=_visits(_cell("nonzero_parameters")), repeats=False
    ),
    Measure(name="peak_gpu_memory_bytes", label="peak GPU memory", unit="B", of=_visits(_cell("peak_gpu_memory_bytes"))),
    Measure(name="peak_host_memory_bytes", label="peak host memory", unit="B", of=_visits(_cell("peak_host_memory_bytes"))),
    Measure(
        name="electricity", label=f"electricity, {_PRICED}", unit="", of=partial(_cost, "electricity", _ENERGY), tested=False
    ),
    Measure(name="rent", label=f"rent, {_PRICED}", unit="", of=partial(_cost, "rent", _TIME), tested=False),
)
"""Energy, time and what follows from them are per sample, in the whole scope that arms of equal scope share."""

"""What these numbers cannot tell, said where it is read."""

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from greenray.analysis.accuracy import FEW_SAMPLES
from greenray.analysis.arms import Arm
from greenray.analysis.contention import busy_hosts
from greenray.analysis.findings import Finding
from greenray.analysis.frames import Frames
from greenray.analysis.launches import waiting_boards
from greenray.analysis.null_check import NullCheck
from greenray.analysis.overall import MIN_FAMILIES, OverallEffect
from greenray.analysis.precision import MIN_ROUNDS
from greenray.analysis.prices import Prices
from greenray.analysis.visits import CUT_SHORT, DRIFT_LIMIT, IDLE_SHARE, IDLE_W, drifted
from greenray.analysis.wording import alike, common, count, merged, plural, quantity

_SENTENCE_END = re.compile(r"(?<=\.) (?=[A-Z])")
NEIGHBOURS_CPUS = 0.5
"""More processors than these kept busy by others are said, where no window tells whether it mattered."""


MANY_INTERVALS = 10
"""From so many on, a reader is reminded that some miss."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caveat:
    """A sentence, and the topic beside whose numbers it is read: energy, accuracy, cost, or wall (their quality).

    A `weighty` one changes how the headline is read, and so stands there.
    """

    topic: str
    text: str
    weighty: bool = False

    @property
    def short(self) -> str:
        """Its first sentence, for a terminal."""
        return _SENTENCE_END.split(self.text, maxsplit=1)[0]


def find(
    frames: Frames,
    *,
    arms: Sequence[Arm],
    findings: Sequence[Finding],
    overall: Sequence[OverallEffect],
    checks: Sequence[NullCheck],
    prices: Prices,
    assumptions: Sequence[str] = (),
) -> list[Caveat]:
    """Every caveat that applies, in reading order; `assumptions` are clauses about processors without a meter."""
    measured = [arm for arm in arms if any(part.energy_j for part in arm.parts)]
    compared = [finding for finding in findings if finding.effect.energy is not None]
    assumed = f" ({'; or '.join(assumptions)})" if assumptions else ""
    busy = busy_hosts(frames, [finding.effect for finding in findings])
    failed = (check.sentence for check in checks if not check.passed)
    parts: list[tuple[str, bool, Iterable[str]]] = [
        ("energy", True, _rehearsed(frames)),
        ("energy", True, (text for weighty, text in busy if weighty)),
        ("energy", True, failed),
        ("energy", True, waiting_boards(arms)),
        ("energy", True, _doubts(measured, compared, assumed, judged=bool(busy))),
        ("energy", False, (text for weighty, text in busy if not weighty)),
        ("energy", False, _limits(arms, measured, assumed)),
        ("energy", False, _shortcomings(arms, findings, compared, overall)),
        ("accuracy", False, _accuracy(findings)),
        ("cost", False, _cost(findings, prices)),
    ]
    return [Caveat(topic=topic, text=text, weighty=weighty) for topic, weighty, texts in parts for text in texts]


def _rehearsed(frames: Frames) -> Iterator[str]:
    """A sweep that was run to see whether it runs."""
    names = sorted(sweep for sweep, manifest in frames.manifests.items() if (manifest.get("config") or {}).get("rehearsal"))
    if names:
        yield (
            f"Rehearsal: {', '.join(names)} went once through everything, with the shortest windows and few samples, "
            "to see that it runs. No figure of it is a result."
        )


def _doubts(measured: Sequence[Arm], compared: Sequence[Finding], assumed: str, *, judged: bool) -> Iterator[str]:
    """What puts the energies themselves in question; `judged`: what neighbours did is said already."""
    if cells := _of([arm.modelled for arm in measured]):
        unit = common((arm.cell["unit"] or "sample" for arm in measured), "sample")
        measure = common((arm.measure.name for arm in measured), "quality")
        yield (
            f"Estimated from CPU time: in {cells} over half of the energy comes from a "
            f"model of watts per busy core{assumed}, not from a meter. It cannot tell spinning (threads that wait busily) "
            "from work, nor see that some instructions draw more power than others, nor clocks, nor memory: differences are "
            f"differences in CPU time. What may be concluded here: time per {unit}, {measure}, size, memory. What may not: "
            "joules, and savings of tactics that change the power drawn at equal CPU time."
        )
    shared = [arm.apportioned or (not judged and (arm.neighbours or 0) > NEIGHBOURS_CPUS) for arm in measured]
    if cells := _of(shared):
        yield (
            f"Shared host: in {cells} other work ran on the same host. The host's energy is divided "
            "by CPU time, and neighbours also slow a cell down through caches, memory and clocks."
        )
    if cells := _of([arm.warmed_up is False for arm in measured]):
        yield (
            f"Not warmed up: in {cells} throughput had not settled when measuring began. "
            "A longer warmup_max_s or a quieter host helps."
        )
    if cells := _of([arm.heating is True for arm in measured]):
        yield (
            f"Still heating up: in {cells} the board became warmer by 1 C or more in the 5 s before measuring began, and a warm "
            "one draws more power. A longer warmup_max_s helps."
        )
    if comparisons := _of([drifted(finding.effect.drift) for finding in compared if not _has_interval(finding)], "comparison"):
        yield (
            f"Drift: in {comparisons} without an interval the two baselines of a visit disagree by more than "
            f"{DRIFT_LIMIT * 100:.0f} %. An effect of that size is not to be believed there."
        )


def _limits(arms: Sequence[Arm], measured: Sequence[Arm], assumed: str) -> Iterator[str]:
    if cells := _of([bool(arm.modelled_share) and not arm.modelled for arm in measured]):
        yield f"In {cells} part of the energy (the processor's) is modelled from CPU time{assumed}, beside a measured board."
    if missing := sum(arm.windows_without_energy for arm in arms):
        reasons = "; ".join(map(merged, alike(sorted({reason for arm in arms for reason in arm.missing_reasons}))))
        why = f" ({reasons})" if reasons else ""
        yield f"{count(missing, 'window')} without a total energy {'was' if missing == 1 else 'were'} left out{why}."
    if measured:
        scopes = sorted({arm.scope for arm in measured if arm.scope})
        yield f"Counted is {' or '.join(scopes)}: not fans, power supplies, disks, network or cooling, unless a PUE is given."


def _shortcomings(
    arms: Sequence[Arm], findings: Sequence[Finding], compared: Sequence[Finding], overall: Sequence[OverallEffect]
) -> Iterator[str]:
    if rejected := [reason for arm in arms if arm.ok for reason in arm.rejected]:
        said = "; ".join(f"{len(reasons)} x {merged(reasons)}" for reasons in alike(rejected))
        yield f"Rejected: {count(len(rejected), 'window')} {'was' if len(rejected) == 1 else 'were'} not used ({said})."
    if comparisons := _of([drifted(finding.effect.drift) for finding in compared if _has_interval(finding)], "comparison"):
        yield (
            f"Drift: in {comparisons} with an interval the two baselines of some round disagree by more than "
            f"{DRIFT_LIMIT * 100:.0f} %. What differs from round to round is in the intervals; a drift that is the same in every "
            "round is not, and the null check tells it."
        )
    if cells := _of([arm.idle_settled is False for arm in arms if arm.idle_w is not None]):
        yield (
            f"Idle not settled: in {cells} the board's power was not steady when its idle window "
            "began, after 10 s of waiting. Active energy is uncertain there, gross energy is not."
        )
    effects = [visit for finding in findings for visit in finding.effect.visits if visit.idle_spread_w is not None]
    visits = {(visit.subject.sweep, visit.visit): visit.idle_drifted for visit in effects}
    if drifting := _of(visits.values(), "visit"):
        yield (
            f"Idle drift: in {drifting} the board's idle power differs between cells by "
            f"more than {IDLE_SHARE * 100:.0f} % and {IDLE_W:g} W (boards warm up, and others may hold contexts on them). Active "
            "energies of such a visit differ by that too; gross ones do not."
        )
    if (sure := sum(map(_has_interval, compared))) >= MANY_INTERVALS:
        yield f"Each interval misses the truth in 5 of 100: of {sure} of them about {sure * 0.05:.1f} do, by chance."
    if few := _of([finding.effect.rounds < MIN_ROUNDS for finding in compared], "comparison"):
        yield (
            f"Too few rounds: {few} rest on fewer than {MIN_ROUNDS} rounds on a quiet host. A ratio is given there and no "
            "interval, and nothing is claimed: the windows of one process do not tell what the next process would give."
        )
    missed = [finding for finding in compared if finding.effect.precise is False]
    if wide := _of([finding.effect.precise is False for finding in compared if finding.effect.precise is not None], "interval"):
        target = common((f"{(finding.effect.target or 0) * 100:g} %" for finding in missed), "the target")
        most = [finding.effect.rounds_needed for finding in missed]
        known = [needed for needed in most if needed is not None]
        needs = [f"{min(known)} to {max(known)} rounds" if min(known) < max(known) else f"{known[0]} rounds"] if known else []
        needs += ["over 1,000"] if len(known) < len(most) else []
        yield f"Not as precise as asked for: {wide} wider than ±{target} (target_ci); that would take {' or '.join(needs)}."
    if cut := _of([CUT_SHORT in finding.effect.flags for finding in compared], "comparison"):
        yield f"Cut short: {cut} have an opening baseline only, so drift is unknown there."
    if any(effect.families < MIN_FAMILIES for effect in overall):
        yield f"Fewer than {MIN_FAMILIES} model families: figures over models hold for these models only, without an interval."


def _accuracy(findings: Sequence[Finding]) -> Iterator[str]:
    changes = [finding.accuracy for finding in findings if finding.accuracy is not None]
    known = [change for change in changes if change.measure.kind == "right-answers"]
    measure = common((change.measure.name for change in known), "quality")
    if few := [(change.samples, change.unit) for change in known if change.samples and change.samples < FEW_SAMPLES]:
        unit, small = common((unit for _, unit in few), "sample"), sorted({samples for samples, _ in few})
        yield (
            f"Few {plural(unit)}: {measure} rests on {' or '.join(f'{one:,}' for one in small)} {plural(unit)}, so one {unit} is "
            f"{100 / small[0]:.2g} points. Losses below about a point cannot be seen."
        )
    if any(change.p_value is None for change in known):
        yield f"Some {plural(measure)} could not be compared pairwise, because no predictions were kept."
    if others := sorted({change.measure.name for change in changes if change not in known}):
        yield f"Changes of {' and '.join(others)} have no interval: only shares of right answers are compared sample by sample."


def _cost(findings: Sequence[Finding], prices: Prices) -> Iterator[str]:
    """What money and carbon leave out; nothing where there are none."""
    if not findings:
        return
    if prices.electricity is None:
        yield f"No electricity price is known for {prices.region_name}, so money for energy is left out; give one with --prices."
    elif prices.default_region:
        yield "No region was given: the electricity price is the world's average. Give yours with --region or --prices."
    if prices.electricity is not None and prices.electricity.date:
        yield f"Prices are averages of {prices.electricity.date} and date fast."
    boards = {f.effect.subject.hardware for f in findings if f.effect.subject.device == "cuda"}
    if unpriced := sorted(board for board in boards if prices.gpu_hour(board) is None):
        yield f"No rental price is known for {', '.join(unpriced)}; give one with --prices."
    if any(f.effect.subject.device == "cpu" for f in findings):
        yield "Work on a processor has no rental price: what an hour of it costs depends on the whole machine."
    if prices.grid is None:
        yield f"No grid intensity is known for {prices.region_name}, so carbon is left out; give one with --prices."
    elif prices.default_region and not prices.grid.source.endswith("--prices"):
        yield "No region was given: carbon is at the world's average grid intensity. Most countries lie between 20 and 800 g/kWh."
    yield "Carbon is operational and at a yearly mean: neither the hour of the day nor the making of the hardware is in it."


def of_wall(frames: Frames) -> Iterator[Caveat]:
    """How much of the energy at the plug its host's parts explain, over work windows; or that they add up to more than it."""
    windows = (
        frames.work.filter(pl.col("wall_energy_j") > 0)
        .join(frames.settled.select("sweep", "run_id", "host"), on=["sweep", "run_id"])
        .with_columns(_share=pl.col("wall_parts_energy_j") / pl.col("wall_energy_j"))
    )
    checked, failed = pl.col("wall_check").is_not_null(), ~pl.col("wall_check")
    summary = windows.group_by("host", "wall_parts").agg(
        pl.len().alias("windows"),
        pl.col("wall_energy_j").sum(),
        pl.col("cpu_apportioned").any().alias("shared"),
        checked.sum().alias("checked"),
        failed.sum().alias("failed"),
        pl.col("_share").filter(failed).max().alias("most"),
        *(getattr(pl.col("_share").filter(checked), name)().alias(name) for name in ("min", "max")),
        (pl.col("wall_parts_energy_j").filter(checked).sum() / pl.col("wall_energy_j").filter(checked).sum()).alias("share"),
    )
    for row in summary.sort("host", "wall_parts").iter_rows(named=True):
        yield Caveat(topic="wall", text=_wall(row), weighty=bool(row["failed"]))


def _wall(row: dict[str, Any]) -> str:
    if row["failed"]:
        return (
            f"The parts add up to more than the plug delivered: on {row['host']}, in {row['failed']} of {row['checked']} "
            f"windows, {row['wall_parts']} took up to {(row['most'] - 1) * 100:.0f} % more than the wall meter saw, beyond the "
            "errors of both. One of the meters, the unit or the clock_offset_s is wrong, and so may be the energies here."
        )
    if not row["checked"]:
        return (
            f"Wall meter: {quantity(row['wall_energy_j'], 'J')} at the plug of {row['host']} in "
            f"{count(row['windows'], 'window')}. The energy of the host's parts is not known there, so they could not be held "
            "against it."
        )
    text = (
        f"Wall meter: on {row['host']}, {row['wall_parts']} explain {row['share'] * 100:.0f} % of the energy at the plug "
        f"({row['min'] * 100:.0f} to {row['max'] * 100:.0f} % in a window). The rest goes to power supply, fans and all that "
        "has no meter of its own."
    )
    if row["shared"]:
        text += " A worker adds up its own board only: other boards of the host are in the rest, and the check is a weak one."
    return text


def _has_interval(finding: Finding) -> bool:
    return finding.effect.energy is not None and finding.effect.energy.clear is not None


def _of(affected: Collection[bool], noun: str = "cell") -> str:
    """How many of them are, in words; empty where none is."""
    part, whole = sum(affected), len(affected)
    if not part:
        return ""
    return f"all {count(whole, noun)}" if part == whole > 1 else f"{part:,} of {count(whole, noun)}"

"""What these numbers cannot tell, said where it is read."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from greenray.analysis.accuracy import FEW_SAMPLES
from greenray.analysis.arms import Arm
from greenray.analysis.effects import MIN_VISITS
from greenray.analysis.findings import Finding
from greenray.analysis.grading import alike, merged
from greenray.analysis.overall import MIN_FAMILIES, OverallEffect
from greenray.analysis.prices import Prices
from greenray.analysis.visits import DRIFT_LIMIT, IDLE_SHARE, IDLE_W, drifted
from greenray.analysis.wording import common, count, plural


@dataclass(frozen=True, slots=True, kw_only=True)
class Caveat:
    """Something that the numbers cannot tell.

    Attributes:
        topic: beside which numbers it is read: energy, accuracy, cost, carbon, or wall for the quality of the measurements.
        text: the sentence.
        weighty: whether it changes how the headline is read, and so stands there.
    """

    topic: str
    text: str
    weighty: bool = False


def find(
    *,
    arms: Sequence[Arm],
    findings: Sequence[Finding],
    overall: Sequence[OverallEffect],
    prices: Prices,
    assumptions: Sequence[str] = (),
) -> list[Caveat]:
    """Every caveat that applies, in reading order; `assumptions` are clauses about processors without a meter."""
    measured = [arm for arm in arms if arm.energy_j is not None]
    compared = [finding for finding in findings if finding.effect.energy is not None]
    assumed = f" ({'; or '.join(assumptions)})" if assumptions else ""
    parts: list[tuple[str, bool, Iterator[str]]] = [
        ("energy", True, _doubts(measured, assumed)),
        ("energy", False, _limits(arms, measured, assumed)),
        ("energy", True, _drift(compared)),
        ("energy", False, _rejected(arms)),
        ("energy", False, _idle(arms, findings)),
        ("energy", False, _effects(compared, overall)),
        ("accuracy", False, _accuracy(findings)),
        ("cost", False, _cost(findings, prices)),
        ("carbon", False, _carbon(findings, prices)),
    ]
    return [Caveat(topic=topic, text=text, weighty=weighty) for topic, weighty, texts in parts for text in texts]


def _doubts(measured: Sequence[Arm], assumed: str) -> Iterator[str]:
    """What puts the energies themselves in question."""
    modelled = [arm for arm in measured if arm.modelled]
    if modelled:
        yield (
            f"Estimated from CPU time: in {_of(len(modelled), len(measured))} over half of the energy comes from a "
            f"model of watts per busy core{assumed}, not from a meter. It follows how long and on how many cores a "
            "cell computes; it cannot see that some instructions draw more power than others, nor clocks, nor memory. "
            "Differences are differences in CPU time."
        )
    shared = [arm for arm in measured if arm.shared_host]
    if shared:
        yield (
            f"Shared host: in {_of(len(shared), len(measured))} other work ran on the same host. The host's energy is divided "
            "by CPU time, and neighbours also slow a cell down through caches, memory and clocks."
        )
    unsettled = [arm for arm in measured if arm.warmed_up is False]
    if unsettled:
        yield (
            f"Not warmed up: in {_of(len(unsettled), len(measured))} throughput had not settled when measuring began. "
            "A longer warmup_max_s or a quieter host helps."
        )


def _limits(arms: Sequence[Arm], measured: Sequence[Arm], assumed: str) -> Iterator[str]:
    """What is counted, and what is not."""
    partly = [arm for arm in measured if arm.modelled_share and not arm.modelled]
    if partly:
        cells = _of(len(partly), len(measured))
        yield (f"In {cells} part of the energy (the processor's) is modelled from CPU time{assumed}, beside a measured board.")
    missing = sum(arm.windows_without_energy for arm in arms)
    if missing:
        reasons = "; ".join(map(merged, alike(sorted({reason for arm in arms for reason in arm.missing_reasons}))))
        yield f"{count(missing, 'window')} without a total energy {'was' if missing == 1 else 'were'} left out" + (
            f" ({reasons})." if reasons else "."
        )
    if measured:
        scopes = sorted({arm.scope for arm in measured if arm.scope})
        yield f"Counted is {' or '.join(scopes)}: not fans, power supplies, disks, network or cooling, unless a PUE is given."


def _drift(compared: Sequence[Finding]) -> Iterator[str]:
    drifting = [finding for finding in compared if drifted(finding.effect.drift)]
    if drifting:
        yield (
            f"Drift: in {_of(len(drifting), len(compared), 'comparison')} the two baselines of a visit disagree by more than "
            f"{DRIFT_LIMIT:.0%}".replace("%", " %")
            + ". An effect of that size is not to be believed there."
        )


def _rejected(arms: Sequence[Arm]) -> Iterator[str]:
    """Windows that were measured and not used, by reason."""
    rejected = [reason for arm in arms if arm.ok for reason in arm.rejected]
    if rejected:
        said = "; ".join(f"{len(reasons)} x {merged(reasons)}" for reasons in alike(rejected))
        yield f"Rejected: {count(len(rejected), 'window')} {'was' if len(rejected) == 1 else 'were'} not used ({said})."


def _idle(arms: Sequence[Arm], findings: Sequence[Finding]) -> Iterator[str]:
    """What puts idle power, and with it active energy, in question; gross energy is not touched."""
    known = [arm for arm in arms if arm.idle_w is not None]
    unsettled = [arm for arm in known if arm.idle_settled is False]
    if unsettled:
        yield (
            f"Idle not settled: in {_of(len(unsettled), len(known))} the board's power was not steady when its idle window "
            "began, after 10 s of waiting. Active energy is uncertain there, gross energy is not."
        )
    effects = [visit for finding in findings for visit in finding.effect.visits if visit.idle_spread_w is not None]
    visits = {(visit.subject.sweep, visit.visit): visit.idle_drifted for visit in effects}
    if any(visits.values()):
        yield (
            f"Idle drift: in {_of(sum(visits.values()), len(visits), 'visit')} the board's idle power differs between cells by "
            f"more than {IDLE_SHARE * 100:.0f} % and {IDLE_W:g} W (boards warm up, and others may hold contexts on them). Active "
            "energies of such a visit differ by that too; gross ones do not."
        )


def _effects(compared: Sequence[Finding], overall: Sequence[OverallEffect]) -> Iterator[str]:
    few = [finding for finding in compared if len(finding.effect.visits) < MIN_VISITS]
    if few:
        yield (
            f"Within one visit: {_of(len(few), len(compared), 'comparison')} rest on fewer than {MIN_VISITS} visits. Their "
            "± covers window noise and drift inside the visit, not what varies from one visit to the next; three rounds or more "
            "in the config would show that too."
        )
    cut = [finding for finding in compared if any("cut short" in flag for flag in finding.effect.flags)]
    if cut:
        yield f"Cut short: {_of(len(cut), len(compared), 'comparison')} have an opening baseline only, so drift is unknown there."
    if overall and min(effect.families for effect in overall) < MIN_FAMILIES:
        yield f"Fewer than {MIN_FAMILIES} model families: figures over models hold for these models only, without an interval."


def _accuracy(findings: Sequence[Finding]) -> Iterator[str]:
    known = [(finding.accuracy, finding.effect) for finding in findings if finding.accuracy is not None]
    measure = common((effect.measure for _, effect in known), "quality")
    small = sorted({change.samples for change, _ in known if change.samples < FEW_SAMPLES})
    if small:
        unit = common((effect.unit for change, effect in known if change.samples < FEW_SAMPLES), "sample")
        yield (
            f"Few {plural(unit)}: {measure} rests on {' or '.join(f'{few:,}' for few in small)} {plural(unit)}, so one {unit} is "
            f"{100 / small[0]:.2g} points. Losses below about a point cannot be seen."
        )
    if any(change.p_value is None for change, _ in known):
        yield f"Some {plural(measure)} could not be compared pairwise, because no predictions were kept."


def _cost(findings: Sequence[Finding], prices: Prices) -> Iterator[str]:
    if not findings:
        return
    if prices.electricity is None:
        yield f"No electricity price is known for {prices.region_name}, so money for energy is left out; give one with --prices."
    elif prices.default_region:
        yield "No region was given: the electricity price is the world's average. Give yours with --region or --prices."
    if prices.electricity is not None and prices.electricity.date:
        yield f"Prices are averages of {prices.electricity.date} and date fast."
    boards = {f.effect.subject.hardware for f in findings if f.effect.subject.device == "cuda"}
    unpriced = sorted(board for board in boards if prices.gpu_hour(board) is None)
    if unpriced:
        yield f"No rental price is known for {', '.join(unpriced)}; give one with --prices."
    if any(f.effect.subject.device == "cpu" for f in findings):
        yield "Work on a processor has no rental price: what an hour of it costs depends on the whole machine."


def _carbon(findings: Sequence[Finding], prices: Prices) -> Iterator[str]:
    if not findings:
        return
    if prices.grid is None:
        yield f"No grid intensity is known for {prices.region_name}, so carbon is left out; give one with --prices."
    elif prices.default_region and not prices.grid.source.endswith("--prices"):
        yield "No region was given: carbon is at the world's average grid intensity. Most countries lie between 20 and 800 g/kWh."
    yield "Carbon is operational and at a yearly mean: neither the hour of the day nor the making of the hardware is in it."


def _of(part: int, whole: int, noun: str = "cell") -> str:
    return f"all {count(whole, noun)}" if part == whole and whole > 1 else f"{part:,} of {count(whole, noun)}"

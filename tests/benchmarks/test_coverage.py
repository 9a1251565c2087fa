"""The benchmark of coverage: what is simulated is found again, and an interval that is not 95 % is told."""

import math
from dataclasses import replace
from statistics import fmean

import numpy as np
import pytest

from greenray.analysis import precision
from greenray.analysis.analyse import Analysis, analyse_frames
from greenray.analysis.stats import Estimate, estimate
from tests.benchmarks.coverage import CHUNK_CELLS, SWEEPS, Count, judge, line, tasks
from tests.benchmarks.paired import MET, MISSED
from tests.benchmarks.simulated import Simulated, adapted
from tests.benchmarks.worlds import CLOSE, OPEN, TACTICS, WORLDS, Sweeps, World, simulate

QUIET = WORLDS[0]
ADAPTIVE = next(world for world in WORLDS if not isinstance(world.rounds, int))


@pytest.fixture(scope="module")
def sweeps() -> Sweeps:
    return simulate(QUIET, models=3, sweeps=80, seed=1)


@pytest.fixture(scope="module")
def analysis(sweeps: Sweeps) -> Analysis:
    return analyse_frames(Simulated(sweeps))


def scaled(analysis: Analysis, factor: float) -> Analysis:
    """The same with every interval of a model that many times as wide."""

    def wide(energy: Estimate | None) -> Estimate | None:
        assert energy is not None
        assert energy.log_half_width is not None
        return estimate(math.log(energy.ratio), energy.log_half_width * factor, basis=energy.basis)

    findings = [replace(one, effect=replace(one.effect, energy=wide(one.effect.energy))) for one in analysis.findings]
    return replace(analysis, findings=tuple(findings))


def test_known_effects_are_found(sweeps: Sweeps, analysis: Analysis) -> None:
    assert len(analysis.findings) == 80 * 3 * len(TACTICS)
    for finding in analysis.findings:
        sweep, model = int(finding.effect.subject.sweep[1:]), int(finding.effect.subject.model[-1])
        truth = sweeps.effects[sweep, model, [tactic.name for tactic in TACTICS].index(finding.tactic)]
        assert finding.effect.energy is not None
        assert math.log(finding.effect.energy.ratio) == pytest.approx(truth, abs=0.02)


def test_good_intervals_meet_the_target_and_broken_ones_miss_it(sweeps: Sweeps, analysis: Analysis) -> None:
    outcome = judge(analysis, sweeps)
    assert line(QUIET, 3, outcome)[1] != MISSED
    assert outcome.counts["model"].share().value == pytest.approx(0.95, abs=0.02)
    assert outcome.counts["given"].share().value == 1
    for factor, held in ((0.5, 0.76), (2, 0.995)):
        broken = judge(scaled(analysis, factor), sweeps)
        assert broken.counts["model"].share().value == pytest.approx(held, abs=0.03)
        text, code = line(QUIET, 3, broken)
        assert code == MISSED
        assert "!" in text
    assert broken.counts["over"].share() == outcome.counts["over"].share()


def test_rounds_that_the_first_ones_asked_for_have_their_interval() -> None:
    frames = Simulated(adapted(simulate(ADAPTIVE, models=1, sweeps=20, seed=3)))
    more = 0
    for finding in analyse_frames(frames).findings:
        ratios = [visit.energy for visit in finding.effect.visits if visit.energy is not None]
        assert finding.effect.energy is not None
        assert finding.effect.energy.log_half_width == pytest.approx(precision.interval(ratios, first=3).half_width)
        more += len(ratios) > 3
    assert more


def test_a_sweep_is_as_the_driver_makes_it(sweeps: Sweeps) -> None:
    assert (sweeps.tactics[..., 0] == OPEN).all()
    assert (sweeps.tactics[..., -1] == CLOSE).all()
    assert (np.sort(sweeps.tactics[..., 1:-1], axis=-1) == np.arange(len(TACTICS))).all()
    assert len({tuple(order) for order in sweeps.tactics[:, 0, 0]}) > 10
    adaptive = adapted(simulate(ADAPTIVE, models=1, sweeps=40, seed=0)).measured
    assert adaptive[:, :3].all()
    assert 0.3 < adaptive.mean() < 1
    assert (adaptive[..., 0] == adaptive[..., 1:-1].any(axis=-1)).all()


def test_rounds_that_others_spoiled_are_made_up_for() -> None:
    world = World(name="busy", busy=0.3, seen=1.0, process=0.002, rounds=(3, 12))
    sweeps = adapted(simulate(world, models=1, sweeps=60, seed=0))
    assert not sweeps.measured[:, 5:].all()
    outcome = judge(analyse_frames(Simulated(sweeps)), sweeps)
    assert outcome.counts["given"].share().value > 0.95
    lost = replace(sweeps, measured=sweeps.measured & (np.arange(12) < 3)[:, None, None])
    assert judge(analyse_frames(Simulated(lost)), lost).counts["given"].share().value < 0.9


@pytest.mark.parametrize("seen", [0.0, 1.0])
def test_only_what_the_evidence_shows_is_left_out(seen: float) -> None:
    world = World(name="busy", busy=0.6, seen=seen)
    sweeps = simulate(world, models=1, sweeps=40, seed=0)
    assert sweeps.contended.any() == bool(seen)
    widths = judge(analyse_frames(Simulated(sweeps)), sweeps).widths["model"]
    assert (fmean(widths) < 3) == bool(seen)


def test_a_share_is_as_sure_as_there_are_sweeps() -> None:
    alike, apart = Count(), Count()
    for sweep in range(400):
        held = sweep % 20 != 0
        alike.add(1, [(0, held)] * 10)
        apart.add(1, [(0, (sweep + number) % 20 != 0) for number in range(10)])
    assert alike.share().value == apart.share().value == 0.95
    assert alike.share().error == pytest.approx(2 * math.sqrt(0.95 * 0.05 / 400), rel=0.01)
    assert (apart.share().error or 1) < (alike.share().error or 0) / 2
    assert Count().share().verdict((0.93, 0.97)) == MET


def test_pieces_add_up_and_fit_into_memory() -> None:
    pieces = list(tasks(WORLDS[:2], (1, 42), scale=1))
    assert sum(sweeps for world, models, sweeps, _ in pieces if (world, models) == (WORLDS[0], 42)) == SWEEPS[42]
    assert len({(world.name, models, seed) for world, models, _, seed in pieces}) == len(pieces)
    assert all(sweeps * models * world.most_rounds * (len(TACTICS) + 2) <= CHUNK_CELLS for world, models, sweeps, _ in pieces)

"""The unit of statistics is the round: three of them on a quiet host give an interval, and nothing else does."""

import math
from pathlib import Path
from typing import Any

import pytest

from greenray.analysis import Analysis, analyse
from greenray.analysis.findings import Finding
from greenray.analysis.precision import stein_rounds
from greenray.analysis.wording import interval_basis, pay_back
from greenray.report import build
from greenray.report.document import Chart, Tiles
from greenray.report.markdown import render
from greenray.store.registry import open_store
from greenray.store.tables import write_manifest
from tests.support.synthetic import Sweep, manifest

BUSY = "others kept 1.4 of 2 processors busy"


def rounds(out: Path, *ratios: float, busy: tuple[int, ...] = (), declared: Any = None, **options: Any) -> Analysis:
    """A round for each ratio of `compile`; `busy` ones ran beside something else, `declared` are the rounds of the manifest."""
    sweep = Sweep(out=out, noise=0.0, **options)
    for number, ratio in enumerate(ratios, 1):
        sweep.contention = BUSY if number in busy else None
        sweep.visit("m", family="f", energy_j=0.004, tactics={"compile": ratio}, round_=number, experiment="serve")
    written = manifest("quick")
    written["config"] |= {"measure": {"target_ci": 0.02}, "experiments": [{"name": "serve", "rounds": declared}]}
    write_manifest(open_store(out), sweep="quick", manifest=written)
    return analyse(out)


def only(analysis: Analysis) -> Finding:
    (finding,) = analysis.findings
    return finding


def interval(finding: Finding) -> tuple[float, float] | None:
    energy = finding.effect.energy
    assert energy is not None
    return None if energy.low is None or energy.high is None else (math.log(energy.low), math.log(energy.high))


@pytest.mark.parametrize(("ratios", "basis"), [((0.5,), "one round"), ((0.5, 0.4), "2 rounds")])
def test_one_or_two_rounds_claim_nothing_anywhere(tmp_path: Path, ratios: tuple[float, ...], basis: str) -> None:
    analysis = rounds(tmp_path / "out", *ratios)
    finding, twin = only(analysis), render(build(analysis))
    assert interval(finding) is None
    assert finding.effect.energy is not None
    assert finding.effect.energy.clear is None
    assert interval_basis(finding.effect) == f"{basis}: no interval; its windows varied by 0.0 %"
    assert pay_back(finding.effect, finding.energy_break_even, finding.effect.energy) == f"not told: {basis}"
    assert "uses" not in finding.sentence
    assert "pays back" not in finding.sentence
    assert f"({basis}: no interval, nothing is claimed; its windows varied by 0.0 %)" in finding.sentence
    assert analysis.clear == ()
    assert f"{basis}, no interval, so nothing is claimed" in analysis.not_clear[0]
    assert [best.why for best in analysis.best] == [f"not told: {basis}"]
    blocks = [block for section in build(analysis).sections for block in section.blocks]
    assert not [label for block in blocks if isinstance(block, Tiles) for _, label in block.items if "at best" in label]
    charts = {block.id: block for block in blocks if isinstance(block, Chart)}
    (trace,) = charts["energy"].figure["data"]
    assert (trace["marker"]["symbol"], "error_x" in trace) == ("circle-open", False)  # a point, and no bar of width 0
    assert "break-even" not in charts
    assert " uses " not in twin
    assert "Too few rounds: 1 of 1 comparison rest on fewer than 3 rounds" in twin


def test_a_single_window_a_process_has_nothing_to_say(tmp_path: Path) -> None:
    finding = only(rounds(tmp_path / "out", 0.5, windows=1))
    assert finding.effect.spread is None
    assert interval_basis(finding.effect) == "one round: no interval"


def test_what_the_windows_did_is_the_widest_of_the_arms(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out", noise=0.0)
    row = {"model": "m", "visit": 1, "block_id": "b1"}
    windows = [
        sweep._window(number, "steady", start=number, end=number + 1, energy_j=joules, samples=1000)
        for number, joules in enumerate((0.9, 1.0, 1.1))
    ]
    sweep.cell("baseline", energy_j=0.001, bracket="open", **row)
    sweep.cell("compile", energy_j=None, windows=windows, **row)
    assert only(analyse(sweep.finish())).effect.spread == pytest.approx(0.1)


def test_rounds_on_a_busy_host_are_out_of_the_interval(tmp_path: Path) -> None:
    calm = only(rounds(tmp_path / "calm", 0.5, 0.52, 0.51))
    spoiled = only(rounds(tmp_path / "spoiled", 0.5, 24.0, 0.52, 30.0, 0.51, busy=(2, 4)))
    assert interval(spoiled) == pytest.approx(interval(calm))
    assert spoiled.effect.energy is not None
    assert spoiled.effect.energy.basis == "3 rounds"
    assert spoiled.effect.tactic_energy_j == pytest.approx(calm.effect.tactic_energy_j)
    assert spoiled.effect.flags == ("host busy in 2 of 5 rounds: not used",)


@pytest.mark.parametrize(
    ("busy", "basis", "ratio"),
    [
        ((1, 2, 3), "host busy in 3 of 5 rounds", math.sqrt(0.5 * 0.52)),
        ((1, 2, 3, 4, 5), "host busy in 5 of 5 rounds", (24 * 30 * 25 * 0.5 * 0.52) ** 0.2),
    ],
)
def test_too_few_quiet_rounds_give_a_point_and_the_reason(
    tmp_path: Path, busy: tuple[int, ...], basis: str, ratio: float
) -> None:
    finding = only(rounds(tmp_path / "out", 24.0, 30.0, 25.0, 0.5, 0.52, busy=busy))
    assert interval(finding) is None
    assert finding.effect.energy is not None
    assert (finding.effect.energy.basis, finding.effect.energy.ratio) == (basis, pytest.approx(ratio))


def test_a_spoiled_baseline_is_left_out_where_the_other_was_let_alone(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out", noise=0.0)
    row = {"model": "m", "visit": 1, "block_id": "b1"}
    sweep.cell("baseline", energy_j=0.004, bracket="open", order_in_visit=0, **row)
    sweep.cell("compile", energy_j=0.002, order_in_visit=1, **row)
    sweep.contention = BUSY
    sweep.cell("baseline", energy_j=0.040, bracket="close", order_in_visit=2, **row)
    effect = only(analyse(sweep.finish())).effect
    assert effect.energy is not None
    assert effect.energy.ratio == pytest.approx(0.5)
    assert (effect.visits[0].contended, effect.drift) == (False, None)
    assert effect.flags == ("one baseline ran while the host was busy: compared with the other alone",)


def test_where_the_rounds_were_chosen_the_interval_is_steins(tmp_path: Path) -> None:
    ratios = (0.5, 0.55, 0.6, 0.5, 0.51, 0.52)
    fixed, chosen = (
        only(rounds(tmp_path / name, *ratios, declared=declared))
        for name, declared in (("fixed", 6), ("chosen", {"min": 3, "max": 12}))
    )
    logs = [math.log(ratio) for ratio in ratios]
    spread = math.sqrt(sum((value - sum(logs[:3]) / 3) ** 2 for value in logs[:3]) / 2)
    found, plain = interval(chosen), interval(fixed)
    assert found is not None
    assert plain is not None
    assert (found[1] - found[0]) / 2 == pytest.approx(4.302652729696142 * spread / math.sqrt(6))
    assert sum(found) / 2 == pytest.approx(sum(plain) / 2)
    assert (plain[1] - plain[0]) < (found[1] - found[0])


def test_what_is_not_as_precise_as_asked_for_is_said_with_the_rounds_it_would_take(tmp_path: Path) -> None:
    wide, narrow = rounds(tmp_path / "wide", 0.5, 0.55, 0.6), rounds(tmp_path / "narrow", 0.5, 0.5005, 0.501)
    assert (only(wide).effect.precise, only(narrow).effect.precise) == (False, True)
    needed = only(wide).effect.rounds_needed
    said = f"Not as precise as asked for: 1 of 1 interval wider than ±2 % (target_ci); that would take {needed} rounds."
    assert said in render(build(wide))
    assert "| rounds needed |" in render(build(wide))
    assert "Not as precise" not in render(build(narrow))
    assert "rounds needed" not in render(build(narrow))


def test_rounds_needed_go_by_the_first_stage_where_the_interval_does(tmp_path: Path) -> None:
    """Its three rounds were wild and the others calm: the plain interval of all is narrow enough already, Stein's is not."""
    effect = only(rounds(tmp_path / "out", 0.49, 0.5, 0.51, *[0.5] * 5, declared={"min": 3, "max": 8})).effect
    assert effect.precise is False
    first = [math.log(ratio) for ratio in (0.49, 0.5, 0.51)]
    assert effect.rounds_needed == stein_rounds(first, target=0.02) > 8


def test_a_drift_that_is_the_same_in_every_round_is_not_said_to_be_in_the_intervals(tmp_path: Path) -> None:
    drift = next(
        caveat.text for caveat in rounds(tmp_path / "out", 0.5, 0.51, 0.52, drift=0.06).caveats if "Drift" in caveat.text
    )
    assert "with an interval" in drift
    assert drift.endswith("a drift that is the same in every round is not, and the null check tells it.")


def test_only_attempts_with_empty_caches_count_as_one_off_cost(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out", noise=0.0)
    costs = [(12.0, None), (14.0, False), (0.5, True)]
    for number, (joules, warm) in enumerate(costs, 1):
        row = {"model": "m", "visit": 1, "block_id": f"b{number}", "round": number}
        sweep.cell("baseline", energy_j=0.004, bracket="open", **row)
        sweep.cell("compile", energy_j=0.002, optimize_energy_j=joules, optimize_s=joules / 30, warm=warm, **row)
    finding = only(analyse(sweep.finish()))
    assert (finding.optimize_energy_j, finding.optimize_time_s) == (13.0, pytest.approx(13 / 30))
    alone = Sweep(out=tmp_path / "warm", noise=0.0)
    alone.rounds(3, "m", family="f", energy_j=0.004, tactics={"compile": 0.5}, warm=True)
    finding = only(analyse(alone.finish()))
    assert (finding.optimize_energy_j, finding.energy_break_even) == (None, "unknown")
    assert render(build(analyse(alone.out))).count("| inference | cpu |") == 1  # warm or not is no setting


def test_a_one_off_cost_beside_something_else_pays_nothing_back(tmp_path: Path) -> None:
    """The cold attempt was spoiled, the others were warm: what it costs to apply is not known."""
    sweep = Sweep(out=tmp_path / "out", noise=0.0)
    for number in range(1, 5):
        sweep.contention = BUSY if number == 1 else None
        sweep.visit("m", family="f", energy_j=0.004, tactics={"compile": 0.5}, round_=number, warm=number > 1)
    finding = only(analyse(sweep.finish()))
    assert (finding.optimize_energy_j, finding.optimize_time_s, finding.energy_break_even) == (None, None, "unknown")
    assert finding.sentence.endswith("pay-back unknown.")


@pytest.mark.parametrize(
    ("spoiled", "said"), [((), "5 model families"), ((3, 4, 5), "host busy in 3 of 5 rounds of 1 of 5 models")]
)
def test_over_models_every_model_needs_an_interval_of_its_own(tmp_path: Path, spoiled: tuple[int, ...], said: str) -> None:
    sweep = Sweep(out=tmp_path / "out", visit_noise=0.01)
    for model in "abcde":
        for number in range(1, 6):
            sweep.contention = BUSY if model == "a" and number in spoiled else None
            sweep.visit(model, family=model, energy_j=0.004, tactics={"compile": 0.5}, round_=number)
    (overall,) = analyse(sweep.finish()).overall
    assert overall.energy is not None
    assert (overall.energy.basis, overall.energy.low is None) == (said, bool(spoiled))


def test_rounds_with_different_numbers_of_threads_are_said(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out", noise=0.0)
    for number, threads in enumerate((2, 10, 2), 1):
        sweep.visit("m", family="f", energy_j=0.004, tactics={"compile": 0.5}, round_=number, num_threads=threads)
    assert only(analyse(sweep.finish())).effect.flags == ("rounds ran with different numbers of threads: 2, 10",)


@pytest.mark.parametrize("lost", [(2,), (2, 3), (1, 2, 3, 4, 5)])
def test_rounds_without_a_comparison_are_said_with_the_reason(tmp_path: Path, lost: tuple[int, ...]) -> None:
    sweep = Sweep(out=tmp_path / "out", noise=0.0)
    for number in range(1, 6):
        row = {"model": "m", "visit": 1, "block_id": f"b{number}", "round": number}
        sweep.cell("baseline", energy_j=0.004, bracket="open", **row)
        sweep.cell("compile", energy_j=0.002, **row | ({"host": "host-2"} if number in lost else {}))
        sweep.cell("baseline", energy_j=0.004, bracket="close", **row)
    effect = only(analyse(sweep.finish())).effect
    why = "not compared: the baseline ran on another device"
    assert (effect.energy is None) is (len(lost) == 5)
    assert why in " ".join(effect.flags)
    if len(lost) < 5:
        verb = "has" if len(lost) == 1 else "have"
        (flag,) = effect.flags
        assert flag.startswith(f"{len(lost)} of 5 rounds {verb} no comparison of energy ({why}")

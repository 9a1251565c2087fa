"""The comparing part of the benchmark that repeats a command: on stores whose truth is known, and on made answers."""

import math
from pathlib import Path

import pytest

from greenray.analysis.stats import estimate
from tests.benchmarks.paired import MET, MISSED
from tests.benchmarks.repeat import Run, agreement, false_claims, read, report, table
from tests.support.synthetic import MODELS, Sweep


def run(name: str, *, seconds: float | None = None, half_width: float | None = 0.02, **tactics: float) -> Run:
    """What a run might have said: ratios by tactic (`_` for `-`), all about one model and equally sure, for energy and time."""
    said = {
        ("m", tactic.replace("_", "-")): estimate(math.log(ratio), half_width, basis="5 rounds")
        for tactic, ratio in tactics.items()
    }
    return Run(name=name, energy=said, time=said, caveats=(f"a caveat of {name}",), seconds=seconds)


def test_what_stores_say_is_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = []
    for number in (1, 2):
        sweep = Sweep(out=tmp_path / str(number), visit_noise=0.005, seed=number)
        for model, (family, energy_j) in MODELS.items():
            for round_ in (1, 2, 3):
                sweep.visit(model, family=family, energy_j=energy_j, tactics={"compile": 0.8}, round_=round_)
        runs.append(read(sweep.finish(), name=f"run {number}", seconds=200))
    found = agreement("energy", [(runs[0], runs[1])])
    assert (found.pairs, found.contradicting, found.opposite) == (len(MODELS) + 1, 0, 0)
    assert 0 < (found.half_width or 0) < 6
    assert report(runs, []) == MET
    shown = capsys.readouterr().out
    assert "| vit-tiny, compile | **" in shown
    assert "| over models, compile | **" in shown
    assert "MISSED" not in shown


def test_runs_that_contradict_each_other_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    one, other = run("run 1", compile=0.8, bf16=0.9), run("run 2", compile=1.3, bf16=0.92)
    found = agreement("energy", [(one, other)])
    assert (found.pairs, found.contradicting, found.opposite, found.met) == (2, 1, 1, False)
    assert report([one, other], []) == MISSED
    assert (
        "energy, quiet runs: 1 of 2 pairs contradict each other (50%), 1 with both clear and opposite" in capsys.readouterr().out
    )


def test_a_few_contradictions_are_chance_and_more_are_not() -> None:
    tactics = {f"t{number}": 0.8 for number in range(20)}
    one, same = run("run 1", **tactics), run("run 2", **tactics)
    assert agreement("time", [(one, run("run 2", **tactics | {"t0": 0.9}))]).met
    assert not agreement("time", [(one, run("run 2", **tactics | {"t0": 0.9, "t1": 0.9}))]).met
    assert agreement("time", [(one, same)]).contradicting == 0


def test_what_is_clear_and_wrong_beside_a_busy_program_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    quiet, busy = [run("run 1", compile=0.8, bf16=0.9)], run("busy 1", compile=1.2, prune_local=1.5, bf16=0.95)
    no_effect, opposite = sorted(false_claims(busy, "energy", quiet=quiet), key=lambda claim: "prune" not in claim)
    assert no_effect == "busy 1, m, prune-local: energy +50 % (+47 to +53), where there is no effect"
    assert opposite == "busy 1, m, compile: energy +20 % (+18 to +22), opposite to −20.0 % (−21.6 to −18.4) on the quiet host"
    assert report(quiet, [busy]) == MISSED
    assert "a caveat of busy 1" in capsys.readouterr().out


def test_one_that_claims_nothing_contradicts_nothing() -> None:
    quiet, busy = [run("run 1", compile=0.8), run("run 2", compile=0.8)], run("busy 1", half_width=None, compile=9.0)
    assert agreement("energy", [(quiet[0], busy)]).pairs == 0
    assert report(quiet, [busy]) == MET


def test_a_run_that_took_too_long_or_knows_too_little_misses() -> None:
    quick = run("run 1", seconds=299, compile=0.8)
    assert report([quick, run("run 2", seconds=200, compile=0.8)], []) == MET
    assert report([quick, run("run 2", seconds=301, compile=0.8)], []) == MISSED
    assert report([run(name, half_width=0.2, compile=0.8) for name in ("run 1", "run 2")], []) == MISSED
    assert report([run(name, half_width=None, compile=0.8) for name in ("run 1", "run 2")], []) == MISSED


def test_a_table_has_a_column_for_each_run_and_blanks_where_nothing_is_known() -> None:
    head, _, first, second = table([run("run 1", compile=0.5), run("run 2", bf16=1.0)], "energy")
    assert head == "| energy | run 1 | run 2 |"
    assert first.startswith("| m, compile | **−50")
    assert first.endswith("| unknown |")
    assert second.startswith("| m, bf16 | unknown | ")
    assert "**" not in second

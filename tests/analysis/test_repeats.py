"""How many rounds are wanted: by the first ones alone, never by what came after, and no more where a host is never quiet."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from greenray.analysis.precision import stein_rounds
from greenray.analysis.repeats import wanted_rounds
from greenray.config.matrix import Asked
from greenray.store.registry import open_store
from tests.support.synthetic import Sweep

BUSY = "others kept 1.4 of 2 processors busy"
CALM, WIDE = (0.5, 0.5, 0.5), (0.5, 0.53, 0.51)


def swept(
    out: Path, tactics: dict[str, Sequence[float | None]], *, busy: tuple[int, ...] = (), model: str = "m", **cell: Any
) -> Sweep:
    """A round for each ratio; None is a tactic that crashed there."""
    sweep = Sweep(out=out, noise=0.0, seed=sum(map(ord, model)))
    for number in range(1, max(map(len, tactics.values())) + 1):
        sweep.contention = BUSY if number in busy else None
        row = {"experiment": "serve", "visit": 1, "round": number, "block_id": f"{model}-{number}", "model": model} | cell
        sweep.cell("baseline", energy_j=0.004, bracket="open", order_in_visit=0, **row)
        for tactic, ratios in tactics.items():
            if number <= len(ratios):
                ratio = ratios[number - 1]
                status: dict[str, Any] = {"status": "crashed", "error": "signal 11"} if ratio is None else {}
                status["repeated_id"] = f"{model} {tactic}"
                sweep.cell(tactic, energy_j=None if ratio is None else 0.004 * ratio, **row, **status)
        sweep.cell("baseline", energy_j=0.004, bracket="close", order_in_visit=9, **row)
    return sweep


def wanted(sweep: Sweep, bounds: tuple[int, int] = (3, 12), target: float = 0.02) -> dict[str, int]:
    """By tactic, of the model `m`."""
    asked = {f"m {tactic}": Asked(*bounds) for tactic in ("compile", "prune", "sometimes", "never")}
    told = wanted_rounds(open_store(sweep.out), sweep="quick", bounds=asked, target=target)
    return {repeated_id.removeprefix("m "): total for repeated_id, total in told.items()}


def test_each_tactic_wants_as_many_as_its_first_rounds_say(tmp_path: Path) -> None:
    needed = stein_rounds([math.log(ratio) for ratio in WIDE], target=0.02)
    assert needed > 12
    assert wanted(swept(tmp_path / "out", {"compile": CALM, "prune": WIDE})) == {"compile": 3, "prune": 12}
    assert wanted(swept(tmp_path / "more", {"prune": WIDE}), bounds=(3, 1000)) == {"prune": needed}


def test_what_comes_after_the_first_stage_changes_nothing(tmp_path: Path) -> None:
    told = [
        wanted(swept(tmp_path / name, {"prune": [*WIDE, *more]}), target=0.05)["prune"]
        for name, more in (("few", []), ("calm", [0.51]), ("wild", [9.0]))
    ]
    assert told[0] == told[1] == told[2] > 4


def test_rounds_on_a_busy_host_are_made_up_for(tmp_path: Path) -> None:
    assert wanted(swept(tmp_path / "one", {"compile": CALM}, busy=(2,))) == {"compile": 4}
    assert wanted(swept(tmp_path / "later", {"compile": (*CALM, 0.5)}, busy=(2,))) == {"compile": 4}  # three quiet ones by now
    assert wanted(swept(tmp_path / "most", {"compile": CALM}, busy=(2, 3))) == {"compile": 5}
    assert wanted(swept(tmp_path / "all", {"compile": CALM}, busy=(1, 2, 3))) == {"compile": 3}  # never quiet: no more
    assert wanted(swept(tmp_path / "long", {"compile": 2 * CALM}, busy=(2, 3, 4, 6))) == {"compile": 6}


def test_crashes_are_made_up_for_and_what_never_runs_is_left(tmp_path: Path) -> None:
    sweep = swept(tmp_path / "out", {"compile": CALM, "sometimes": (0.5, None, 0.5), "never": (None, None, None)})
    assert wanted(sweep) == {"compile": 3, "sometimes": 4, "never": 3}


def test_the_maximum_is_kept_and_nothing_is_taken_back(tmp_path: Path) -> None:
    assert wanted(swept(tmp_path / "out", {"prune": (*WIDE, 0.5, 0.5, 0.5)}), bounds=(3, 4)) == {"prune": 6}
    assert wanted(swept(tmp_path / "few", {"prune": WIDE[:2]}), bounds=(3, 4)) == {"prune": 3}


@pytest.mark.parametrize("batches", [(8, 32)])
def test_repetitions_do_not_mix_and_others_are_left_alone(tmp_path: Path, batches: tuple[int, int]) -> None:
    sweep = swept(tmp_path / "out", {"prune": CALM}, batch_size=batches[0])
    swept(tmp_path / "out", {"prune": WIDE}, batch_size=batches[1], model="n")
    swept(tmp_path / "out", {"prune": WIDE}, model="fixed")
    bounds = dict.fromkeys(("m prune", "n prune", "absent"), Asked(3, 12))
    assert wanted_rounds(open_store(sweep.out), sweep="quick", bounds=bounds, target=0.02) == {"m prune": 3, "n prune": 12}


def test_without_energy_time_is_asked(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out", noise=0.0)
    for number, slow in enumerate(WIDE, 1):
        row = {"experiment": "serve", "visit": 1, "round": number, "block_id": f"b{number}", "model": "m", "energy_scope": "gpu"}
        for order, (tactic, bracket, seconds) in enumerate(
            (("baseline", "open", 1.0), ("prune", None, slow), ("baseline", "close", 1.0))
        ):
            window = sweep._window(0, "steady", start=0.0, end=seconds, energy_j=None, samples=1000)
            more = {"bracket": bracket, "order_in_visit": order, "repeated_id": f"m {tactic}"}
            sweep.cell(tactic, energy_j=None, windows=[window], **more, **row)
    assert wanted(sweep) == {"prune": 12}

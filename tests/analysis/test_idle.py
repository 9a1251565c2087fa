"""Gross and active energy, idle power that drifts or never settled, windows that were rejected, and the table of comparisons."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from greenray.analysis import Analysis, analyse, comparisons
from greenray.analysis.visits import VisitEffect
from greenray.report import build
from greenray.report.markdown import render
from greenray.store.schema import arrow_schema
from tests.support.synthetic import Sweep, quickstart

BLOCK = {"model": "vit-tiny", "model_family": "vit", "visit": 1, "block_id": "b1"}


def visit(
    out: Path, *, idle_w: tuple[float | None, float | None, float | None], settled: bool = True, joules: float = 3.2
) -> Analysis:
    """Opening baseline, a tactic, closing baseline. Windows of 1 s and 1000 samples: baselines use 4 J, the tactic `joules`."""
    sweep = Sweep(out=out, device="cuda", scope="gpu+cpu", noise=0.0)
    arms = (("baseline", "open", 4.0), ("compile", None, joules), ("baseline", "close", 4.0))
    for order, ((tactic, bracket, energy_j), watts) in enumerate(zip(arms, idle_w, strict=True)):
        windows = [
            sweep._window(number, "steady", start=number, end=number + 1.0, energy_j=energy_j, samples=1000)
            for number in range(3)
        ]
        sweep.cell(
            tactic,
            energy_j=None,
            windows=windows,
            bracket=bracket,
            order_in_visit=order,
            idle_w=watts,
            idle_settled=settled or bracket is not None,
            **BLOCK,
        )
    return analyse(sweep.finish())


def only(analysis: Analysis) -> VisitEffect:
    (finding,) = analysis.findings
    (effect,) = finding.effect.visits
    return effect


def texts(analysis: Analysis) -> str:
    return " ".join(caveat.text for caveat in analysis.caveats)


def test_active_energy_is_compared_beside_gross(tmp_path: Path) -> None:
    analysis = visit(tmp_path / "out", idle_w=(2.0, 2.0, 2.0))
    (finding,) = analysis.findings
    assert finding.effect.energy is not None
    assert finding.effect.active is not None
    assert finding.effect.energy.ratio == pytest.approx(0.8)
    assert finding.effect.active.ratio == pytest.approx((3.2 - 2) / (4 - 2))
    assert finding.effect.baseline_active_j == pytest.approx(0.002)
    assert finding.effect.tactic_active_j == pytest.approx(0.0012)
    page = render(build(analysis))
    assert "Gross and active" in page
    row = next(line for line in page.splitlines() if "compile" in line and "2.0 W" in line)
    for part in ("−20 %", "−40 %", "2.00 mJ", "1.20 mJ", "50 %"):
        assert part in row
    assert "measured 20 % less energy" in analysis.findings[0].sentence  # gross stays the headline
    assert "active" not in analysis.headline[0]


@pytest.mark.parametrize(
    ("idle_w", "flagged"),
    [
        ((80.0, 80.0, 80.0), False),
        ((80.0, 83.9, 80.0), False),  # within 5 %
        ((80.0, 84.1, 80.0), True),
        ((80.0, 80.0, 84.1), True),  # a baseline's idle counts like any other's
        ((84.1, 80.0, 80.0), True),
        ((15.0, 16.9, 15.0), False),  # 13 %, but under 2 W
        ((15.0, 17.1, 15.0), True),
    ],
)
def test_idle_that_drifts_between_the_cells_of_a_visit_is_flagged(
    tmp_path: Path, idle_w: tuple[float, float, float], flagged: bool
) -> None:
    analysis = visit(tmp_path / "out", idle_w=idle_w, joules=180.0)
    effect = only(analysis)
    assert effect.idle_spread_w == pytest.approx(max(idle_w) - min(idle_w))
    assert effect.idle_drifted is flagged
    assert any("idle power" in flag for flag in effect.flags) is flagged
    assert ("Idle drift: in 1 of 1 visit " in texts(analysis)) is flagged
    (row,) = comparisons.rows(analysis)
    assert row["idle_drifted"] is flagged
    assert row["idle_spread_w"] == pytest.approx(max(idle_w) - min(idle_w))


def test_idle_of_one_cell_only_cannot_drift(tmp_path: Path) -> None:
    analysis = visit(tmp_path / "out", idle_w=(2.0, None, None))
    effect = only(analysis)
    assert (effect.idle_spread_w, effect.idle_drifted, effect.active) == (None, False, None)
    assert comparisons.rows(analysis)[0]["idle_drifted"] is None


def test_idle_that_never_settled_is_said(tmp_path: Path) -> None:
    calm, restless = (visit(tmp_path / name, idle_w=(2.0, 2.0, 2.0), settled=name == "calm") for name in ("calm", "restless"))
    assert "Idle not settled" not in texts(calm)
    assert "Idle not settled: in 1 of 3 cells" in texts(restless)
    assert "2.0 W (not settled)" in render(build(restless))
    assert "not settled)" not in render(build(calm))


def test_without_a_known_idle_power_nothing_is_said_of_active_energy(tmp_path: Path) -> None:
    analysis = visit(tmp_path / "out", idle_w=(None, None, None))
    assert analysis.findings[0].effect.active is None
    page = render(build(analysis))
    assert "Gross and active" not in page
    assert "board idle" not in page


def test_rejected_windows_are_said_with_their_reasons(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out", noise=0.0)
    window = sweep._window(0, "steady", start=0, end=1.0, energy_j=4.0, samples=1000)
    clock = "the SM clock went from {} to 1410 MHz inside the window"
    reasons = [None, None, None, clock.format(1980), clock.format(1965), "code was compiled once inside the window"]
    windows = [window | {"window": number, "rejected": reason} for number, reason in enumerate(reasons)]
    sweep.cell("compile", energy_j=None, windows=windows, model="vit-tiny")
    sweep.cell("prune-local", energy_j=0.004, model="vit-tiny")
    analysis = analyse(sweep.finish())
    assert [len(arm.rejected) for arm in analysis.arms] == [3, 0]
    (said,) = (caveat.text for caveat in analysis.caveats if caveat.text.startswith("Rejected"))
    assert "3 windows were not used" in said
    assert "2 x the SM clock went from 1965–1980 to 1410 MHz inside the window" in said
    assert "1 x code was compiled once" in said


def test_an_effect_without_a_window_says_why_all_were_rejected(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out", noise=0.0)
    window = sweep._window(0, "steady", start=0, end=1.0, energy_j=4.0, samples=1000)
    windows = [window | {"window": number, "rejected": "code was compiled once inside the window"} for number in range(3)]
    sweep.cell("baseline", energy_j=0.004, bracket="open", **BLOCK)
    sweep.cell("compile", energy_j=None, windows=windows, energy_scope="cpu", **BLOCK)
    flags = only(analyse(sweep.finish())).flags
    assert "energy unknown: code was compiled once inside the window" in flags
    assert not any("not compared" in flag for flag in flags)  # both count the same parts


def test_the_table_of_comparisons_is_that_of_the_data_dictionary(tmp_path: Path) -> None:
    analysis = analyse(quickstart(tmp_path / "out", drift=0.05, rounds=3))
    path = tmp_path / "out" / "comparisons.parquet"
    comparisons.write(analysis)
    first = path.read_bytes()
    comparisons.write(analysis)
    assert path.read_bytes() == first
    table = pl.read_parquet(path)
    assert table.columns == arrow_schema("comparisons").names
    assert table.height == 27
    assert table["round"].to_list() == [1, 2, 3] * 9
    assert table["rounds"].to_list() == [3] * 27
    assert not table["contended"].any()
    assert table.select("drifted", "energy_low", "energy_ratio", "energy_high").null_count().row(0) == (0, 0, 0, 0)
    assert table["drifted"].all()
    assert table["drift"].to_list() == pytest.approx([0.05] * 27, abs=0.03)
    energies = {(f.effect.subject.model, f.tactic): f.effect.energy for f in analysis.findings}
    for row in table.iter_rows(named=True):
        energy = energies[row["model"], row["tactic"]]
        assert energy is not None
        assert (row["energy_low"], row["energy_high"]) == (energy.low, energy.high)  # of the effect, in all of its rounds
    assert all(any("disagree" in flag for flag in flags) for flags in table["flags"])


def test_a_store_without_comparisons_has_an_empty_table(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out")
    sweep.train("vit-tiny", family="vit", epochs_j=[10.0])
    comparisons.write(analyse(sweep.finish()))
    assert pl.read_parquet(tmp_path / "out" / "comparisons.parquet").height == 0


def test_training_says_what_is_active(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out")
    fields: dict[str, Any] = {"idle_w": 3.0}
    sweep.train("vit-tiny", family="vit", epochs_j=[10.0, 12.0], **fields)  # epochs of 2 s
    analysis = analyse(sweep.finish())
    assert analysis.training[0].active_j == pytest.approx(22 - 4 * 3)
    assert "10.0 J" in next(line for line in render(build(analysis)).splitlines() if "22.0 J" in line)


def test_a_tactic_whose_idle_power_leaves_nothing_active_is_shown_as_unknown(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out", noise=0.0)
    sweep.cell("baseline", energy_j=0.004, bracket="open", idle_w=2.0, **BLOCK)
    sweep.cell("compile", energy_j=0.0032, idle_w=2.0, **BLOCK)
    sweep.cell("prune-local", energy_j=0.004, idle_w=20.0, **BLOCK)
    rows = [line for line in render(build(analyse(sweep.finish()))).splitlines() if "2.0 W" in line or "20.0 W" in line]
    (compiled,) = (line for line in rows if "compile" in line and "prune" not in line and "%" in line)
    (pruned,) = (line for line in rows if "prune-local" in line and "unknown" in line)
    assert "unknown" not in compiled
    assert "2.0 to 20.0 W" in pruned

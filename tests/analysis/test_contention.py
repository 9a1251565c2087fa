"""A host that is never quiet ends with the truth, and one that was busy now and then says what that cost."""

from pathlib import Path

import pytest

from greenray.analysis import Analysis, analyse
from greenray.report import build
from greenray.report.markdown import render
from tests.support.synthetic import Sweep

BUSY = "others kept 1.4 of 2 processors busy"


def busy_sentences(analysis: Analysis) -> list[tuple[bool, str]]:
    return [(one.weighty, one.text) for one in analysis.caveats if "usy host" in one.text or "hared host" in one.text]


def test_a_host_that_is_never_quiet_ends_with_no_claims(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out", contention=BUSY)
    for model in ("a", "b"):
        sweep.rounds(4, model, family=model, energy_j=0.004, tactics={"compile": 24.7, "prune-local": 0.3})
    analysis = analyse(sweep.finish())
    ((weighty, said),) = busy_sentences(analysis)
    assert weighty
    assert said.startswith("Busy host: this host was busy with other work in 100 % of windows; no claims. ")
    assert analysis.clear == ()
    assert analysis.not_clear[0].startswith("a and b: host busy in 4 of 4 rounds, no interval, so nothing is claimed")
    assert {best.why for best in analysis.best} == {"not told: host busy in 4 of 4 rounds"}
    twin = render(build(analysis))
    assert said in twin.split("## ")[1]
    assert "uses" not in twin


def test_what_is_left_out_is_named_where_others_are_clear(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out")
    for model in ("a", "b"):
        for number in range(1, 5):
            sweep.contention = BUSY if model == "b" and number > 2 else None
            sweep.visit(model, family=model, energy_j=0.004, tactics={"compile": 0.5}, round_=number)
    ((weighty, said),) = busy_sentences(analyse(sweep.finish()))
    assert weighty
    assert "in 25 % of windows; no claims on 1 comparison (of b). " in said


def test_windows_that_were_taken_again_spoil_nothing(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out")
    sweep.rounds(3, "a", family="a", energy_j=0.004, tactics={"compile": 0.5})
    row = {"model": "a", "model_family": "a", "visit": 1, "block_id": "b1-a-1"}
    window = sweep._window(0, "steady", start=0, end=1, energy_j=4.0, samples=1000)
    spoiled = window | {"window": 1, "contention": BUSY, "rejected": BUSY, "total_energy_j": 99.0}
    sweep.cell("prune-local", energy_j=None, windows=[window, spoiled], **row)
    analysis = analyse(sweep.finish())
    ((weighty, said),) = busy_sentences(analysis)
    assert not weighty
    expected = "in 3 % of windows; those were taken again, and no figure is from them."
    assert said == f"Busy host: this host was busy with other work {expected}"
    assert not any(arm.contended for arm in analysis.arms)
    assert all(f.effect.energy and f.effect.energy.clear for f in analysis.findings if f.tactic == "compile")


def test_each_of_several_hosts_has_its_own_sentence(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out")
    for host, contention in (("one", None), ("two", BUSY), ("three", BUSY)):
        sweep.contention = contention
        sweep.rounds(3, f"on-{host}", family=host, energy_j=0.004, tactics={"compile": 0.5}, host=host)
    said = [text for _, text in busy_sentences(analyse(sweep.finish()))]
    assert [text.split(" with")[0] for text in said] == ["Busy host: three was busy", "Busy host: two was busy"]


@pytest.mark.parametrize("spoiled", [False, True])
def test_training_keeps_its_contended_epochs(tmp_path: Path, spoiled: bool) -> None:
    sweep = Sweep(out=tmp_path / "out", contention=BUSY if spoiled else None)
    sweep.train("vit-tiny", family="vit", epochs_j=[10.0, 12.0])
    analysis = analyse(sweep.finish())
    assert analysis.training[0].energy_j == 22
    assert analysis.frames.work.height == 2
    assert bool(busy_sentences(analysis)) is spoiled


def trained(out: Path, busy: tuple[int, ...]) -> Analysis:
    """Three rounds of a training of four epochs; the `busy` ones of a tactic's epochs cost tenfold beside something else."""
    sweep = Sweep(out=out, noise=0.0)
    for number in (1, 2, 3):
        row = {"visit": 1, "round": number, "block_id": f"t{number}", "model": "m", "model_family": "f", "phase": "training"}
        for tactic, energy_j, bracket in (("baseline", 20.0, "open"), ("amp", 10.0, None), ("baseline", 20.0, "close")):
            windows = []
            for epoch in range(4):
                spoiled = bracket is None and epoch in busy
                joules = energy_j * (10 if spoiled else 1)
                window = sweep._window(epoch, "epoch", start=2 * epoch, end=2 * epoch + 2, energy_j=joules, samples=1000)
                windows.append(window | {"epoch": epoch + 1} | ({"contention": BUSY, "grade": "B"} if spoiled else {}))
            sweep.cell(tactic, energy_j=None, windows=windows, bracket=bracket, accuracy=0.9, **row)
    return analyse(sweep.finish())


@pytest.mark.parametrize(("busy", "contended"), [((1,), False), ((1, 2), False), ((1, 2, 3), True), ((0, 1, 2, 3), True)])
def test_a_training_is_compared_by_its_quiet_epochs(tmp_path: Path, busy: tuple[int, ...], contended: bool) -> None:
    analysis = trained(tmp_path / "out", busy)
    (finding,) = analysis.findings
    assert [visit.contended for visit in finding.effect.visits] == [contended] * 3
    assert finding.effect.energy is not None
    assert finding.effect.energy.ratio == pytest.approx(0.5 if len(busy) < 4 else 5)
    assert (finding.effect.energy.clear is None) is contended
    assert finding.grade == ("A" if len(busy) < 4 else "B")
    assert "Trainings are compared by their quiet epochs" in busy_sentences(analysis)[0][1]
    (total, *_) = [run.energy_j for run in analysis.training if run.arm.cell["tactic"] == "amp"]
    assert total == pytest.approx(40 + 90 * len(busy))  # what it took is what it took


@pytest.mark.parametrize("rounds", [1, 3])
def test_no_claims_is_said_only_where_the_host_is_the_reason(tmp_path: Path, rounds: int) -> None:
    """One spoiled epoch of a training that nobody compares takes no interval from a single round."""
    sweep = Sweep(out=tmp_path / "out")
    sweep.rounds(rounds, "a", family="a", energy_j=0.004, tactics={"compile": 0.5})
    sweep.contention = BUSY
    sweep.train("a", family="a", epochs_j=[10.0])
    ((_, said),) = busy_sentences(analyse(sweep.finish()))
    assert "no claims" not in said

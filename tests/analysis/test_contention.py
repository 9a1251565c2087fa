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

"""Energy to accuracy, and trainings that are compared as a whole: figures of a store whose epochs and qualities are given."""

import json
from pathlib import Path

import pytest

from greenray.analysis import analyse
from greenray.analysis.measures import changes
from greenray.analysis.reaching import sentences
from greenray.analysis.training import trainings
from greenray.analysis.wording import throughput_change
from greenray.report import build, markdown
from tests.support.synthetic import Sweep


def train(
    sweep: Sweep, model: str, epochs_j: list[float | None], qualities: list[float], *, rounds: int = 1, **columns: object
) -> None:
    for number in range(1, rounds + 1):
        shared: dict[str, object] = {"round": number, "block_id": f"{model}-{number}", "repeated_id": f"r1-{model}"}
        sweep.train(model, family=model, epochs_j=epochs_j, qualities=qualities, **shared | columns)


def test_energy_to_a_share_of_the_best_is_that_of_the_epochs_alone(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out")
    train(sweep, "vit", [10.0, 20.0, 30.0, 40.0], [0.5, 0.72, 0.70, 0.8])
    (run,) = analyse(sweep.finish()).training
    assert (run.energy_j, run.best, run.evaluation_j) == (100, 0.8, 4)
    assert [after.epoch for after in run.evaluated] == [1, 2, 3, 4]  # the finished model's is none of an epoch
    ninety, ninety_five = run.to_share(0.9), run.to_share(0.95)
    assert ninety is not None
    assert (ninety.epoch, ninety.energy_j, ninety.time_s, ninety.evaluation_j) == (2, 30, 4, 2)  # that it fell later is no matter
    assert ninety_five is not None
    assert (ninety_five.epoch, ninety_five.energy_j) == (4, 100)
    assert run.reach(0.9) is None


def test_what_is_unknown_has_a_reason(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out")
    train(sweep, "plain", [10.0, 20.0], [])
    train(sweep, "dark", [10.0, None, 30.0], [0.5, 0.6, 0.9])
    train(sweep, "words", [10.0], [12.0], quality_measure="perplexity", quality_kind="number", quality_higher_is_better=False)
    found = {run.arm.cell["model"]: run for run in analyse(sweep.finish()).training}
    assert found["plain"].to_share(0.9) is None
    assert found["plain"].why_no_quality_to_reach == "not evaluated after each epoch (evaluate_each_epoch)"
    assert found["words"].why_no_quality_to_reach == "perplexity is no share of a best to reach"
    dark = found["dark"].to_share(0.9)
    assert dark is not None
    assert (dark.epoch, dark.energy_j) == (3, None)


def test_rounds_give_an_interval_and_brackets_of_one_round_are_one(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out")
    for number, joules in enumerate((10.0, 12.0, 14.0), start=1):
        for bracket, extra in (("open", -1.0), ("close", 1.0)):
            shared = {"round": number, "block_id": f"b{number}", "repeated_id": "r1", "bracket": bracket, "visit": 1}
            sweep.train("vit", family="vit", epochs_j=[joules + extra], qualities=[0.8], **shared)
    (training,) = trainings(analyse(sweep.finish()).training)
    assert (len(training.runs), training.rounds) == (6, 3)
    figure = training.over_rounds(lambda run: run.energy_j)
    assert figure is not None
    assert figure.mean == pytest.approx(12)
    assert figure.high == pytest.approx(12 + 4.302653 * 2 / 3**0.5)  # t of 2 degrees


@pytest.mark.parametrize("rounds", [1, 3])
def test_who_is_first_and_cheapest_is_told_as_far_as_it_is_known(tmp_path: Path, rounds: int) -> None:
    sweep = Sweep(out=tmp_path / "out")
    train(sweep, "lenet", [10.0, 10.0, 10.0], [0.5, 0.7, 0.75], rounds=rounds)
    train(sweep, "resnet", [50.0, 50.0, 50.0], [0.73, 0.8, 0.8], rounds=rounds)
    train(sweep, "linear", [1.0, 1.0, 1.0], [0.3, 0.3, 0.3], rounds=rounds)  # soon at its own best, and never at theirs
    analysis = analyse(sweep.finish())
    (said,) = sentences(trainings(analysis.training))
    assert "On digits in batches of 32, lenet reaches 72.0 % accuracy (90 % of the best of 3 models) at the least energy" in said
    assert "After the fewest epochs it is resnet (1)." in said
    assert "1 of them does not reach it" in said
    sure = "Their intervals do not overlap." if rounds == 3 else "Fewer than 3 rounds give no interval"
    assert sure in said
    shown = markdown.render(build(analysis))
    assert said in shown
    assert "energy to 95 %" in shown


def test_beside_other_work_nothing_is_called_clear(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out", contention="others kept 1.5 of 2 processors busy", modelled=1.0)
    train(sweep, "lenet", [10.0, 10.0], [0.5, 0.7], rounds=3)
    train(sweep, "resnet", [50.0, 50.0], [0.5, 0.7], rounds=3)
    (said,) = sentences(trainings(analyse(sweep.finish()).training))
    assert said.endswith("Energies are estimated from CPU time. Others kept the host busy, so which is cheapest is not clear.")


def test_busy_rounds_are_left_out_where_others_were_quiet(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out")
    for number, joules in enumerate((10.0, 10.5, 11.0, 90.0), start=1):
        sweep.contention = "others kept 1.5 of 2 processors busy" if number == 4 else None
        shared = {"round": number, "block_id": f"b{number}", "repeated_id": "r1"}
        sweep.train("vit", family="vit", epochs_j=[joules], qualities=[0.5 + number / 10], **shared)
    (training,) = trainings(analyse(sweep.finish()).training)
    energy, best = (
        training.over_rounds(lambda run: run.energy_j),
        training.over_rounds(lambda run: run.best, spoiled=False),
    )
    assert energy is not None
    assert (energy.mean, energy.low is None) == (10.5, False)
    assert best is not None
    assert best.mean == pytest.approx(0.75)  # right answers are right on a busy host


def test_a_figure_that_scatters_is_not_said_to_go_below_nothing(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out")
    for number, joules in enumerate((1.0, 1.0, 30.0), start=1):
        sweep.train("vit", family="vit", epochs_j=[joules], round=number, block_id=f"b{number}", repeated_id="r1")
    (training,) = trainings(analyse(sweep.finish()).training)
    figure = training.over_rounds(lambda run: run.energy_j)
    assert figure is not None
    assert figure.low == 0


def test_fields_of_other_settings_are_told_apart(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out")
    for rate in (0.1, 0.01):
        for place, model in enumerate(("lenet", "resnet")):
            given = json.dumps({"epochs": 1, "learning_rate": rate})
            shared = {"hyperparameters": given, "repeated_id": f"r-{model}-{rate}"}
            shared["cell_id"] = f"c1-{place}{round(rate * 100):015x}"
            sweep.train(model, family=model, epochs_j=[10.0 * rate], qualities=[0.7], round=1, **shared)
    said = sentences(trainings(analyse(sweep.finish()).training))
    assert [one.split("), ")[0] for one in said] == [
        "On digits in batches of 32 (learning rate 0.01",
        "On digits in batches of 32 (learning rate 0.1",
    ]


def test_of_a_best_of_nothing_there_is_no_share(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out")
    train(sweep, "m", [1.0, 1.0], [0.0, 0.0])
    analysis = analyse(sweep.finish())
    assert analysis.training[0].to_share(0.9) is None
    assert "Energy to 90 % of the best is unknown of 1 training: accuracy was 0 after every epoch." in markdown.render(
        build(analysis)
    )


def test_one_model_is_compared_with_none(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out")
    train(sweep, "lenet", [10.0, 10.0], [0.5, 0.7])
    train(sweep, "other", [10.0, 10.0], [0.5, 0.7], batch_size=64)
    assert sentences(trainings(analyse(sweep.finish()).training)) == ()


def test_the_chart_has_a_line_for_each_training_and_says_how_many_it_leaves_out(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out")
    for number in range(16):
        train(sweep, f"m{number}", [10.0, 10.0], [0.5, 0.6])
    (shown,) = (section for section in build(analyse(sweep.finish())).sections if section.id == "training")
    (chart,) = (block for block in shown.blocks if hasattr(block, "figure"))
    assert len(chart.figure["data"]) == 14
    assert chart.figure["data"][0]["x"] == [10.0, 20.0]
    assert chart.figure["data"][0]["y"] == [50.0, 60.0]
    assert "Shown are 14 of 16 trainings" in chart.caption


def test_a_training_that_ended_early_is_compared_by_all_that_was_asked_for(tmp_path: Path) -> None:
    """Per sample that it learnt from it costs the same."""
    sweep = Sweep(out=tmp_path / "out", noise=0.0)
    hyperparameters = json.dumps({"epochs": 10})
    for number in (1, 2, 3):
        shared = {"visit": 1, "round": number, "block_id": f"t{number}", "hyperparameters": hyperparameters}
        for order, bracket in enumerate(("open", "close")):
            sweep.train(
                "m", family="f", epochs_j=[20.0] * 10, training_share=1.0, bracket=bracket, order_in_visit=order, **shared
            )
        sweep.train("m", family="f", epochs_j=[20.0] * 4, tactic="early-stopping", training_share=0.4, order_in_visit=2, **shared)
    analysis = analyse(sweep.finish())
    (finding,) = analysis.findings
    assert finding.effect.energy is not None
    assert finding.effect.energy.ratio == pytest.approx(0.4)
    assert finding.effect.time is not None
    assert finding.effect.time.ratio == pytest.approx(0.4)
    said = "learnt from 40 % of the samples that it was asked to: compared by what the whole training used"
    assert said in finding.effect.visits[0].flags
    # That it took less time does not mean that it did more in a second.
    assert throughput_change(finding.effect) == ""
    assert changes(finding)["samples_per_s"].value is None
    assert "speed" not in {section.id for section in build(analysis).sections}


def test_settings_are_told_in_words(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out")
    given = {"epochs": 2, "augmentation": ["crop", "flip"], "evaluate_each_epoch": True}
    train(sweep, "m", [1.0, 1.0], [0.5, 0.6], hyperparameters=json.dumps(given))
    (run,) = analyse(sweep.finish()).training
    assert run.settings == "epochs 2, augmentation crop+flip, evaluate each epoch"


def test_labels_name_the_settings_in_which_trainings_differ(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out")
    for rate in (0.1, 0.01):
        given = {"epochs": 2, "learning_rate": rate, "evaluate_each_epoch": True}
        train(sweep, "m", [1.0, 1.0], [0.5, 0.6], hyperparameters=json.dumps(given), cell_id=f"c1-{round(100 * rate):016x}")
    labels = set(analyse(sweep.finish()).labels.values())
    assert labels == {"m (learning rate 0.1)", "m (learning rate 0.01)"}

"""`greenray predict`, run for real on small stores of known truth."""

import io
import json
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from greenray.cli.app import main
from greenray.cli.sweep import one_model
from greenray.store.registry import open_store
from greenray.store.tables import write_manifest
from greenray.tasks.registry import DEFAULT, task_class
from tests.support.described import EXPONENT, JOULES_PER_MAC, made_models, true_energy_j, write_store
from tests.support.driving import drive, make_task, preset
from tests.support.running import sentence
from tests.support.synthetic import Sweep, manifest


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eleven families whose energy follows MACs; compile saves 20 %, in three rounds."""
    out = tmp_path_factory.mktemp("store") / "out"
    return write_store(out, models=11, tactics={"compile": 0.8}, rounds=3, noise=0.01, modelled=1.0)


def said(*arguments: str | Path, columns: int = 160) -> str:
    text = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(text):
        patch.setattr(sys, "argv", ["greenray", "predict", *map(str, arguments)])
        patch.setenv("COLUMNS", str(columns))  # a test runner may have set another width
        with pytest.raises(SystemExit) as ended:
            main()
    assert ended.value.code in (0, None), text.getvalue()
    return text.getvalue()


def as_json(*arguments: str | Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(said(*arguments, "--json"))
    return found


def test_the_estimators_stand_beside_their_errors_and_what_others_report(store: Path) -> None:
    text = said(store)
    for part in (
        "first 2 windows",
        "power law of MACs per parameter",
        "roofline of MACs and bytes moved",
        "constant (geometric mean)",
        "mean power × measured time",
        "MACs predict energy of inference (estimated from CPU time) better than parameters: holds. Their log errors are",
        "Short profiles predict the total of training within 5 %: cannot be told, no run",
        "estimated from CPU time",
        "WattGPU (2026-07-02)",
        "NeuralPower",
        "IrEne",
    ):
        assert part in text, part
    found = as_json(store)
    (inference,) = found["descriptors"]
    assert inference["coverage"]["models"] == 11
    assert inference["coverage"]["inside"] >= 8
    assert f"held {inference['coverage']['inside']} of 11 models" in text
    chosen, *_ = inference["estimators"]
    assert chosen["median"] < 0.05
    assert sum(chosen["chosen"].values()) == 11
    assert found["profiles"]
    assert all(figure["source"].startswith("https://") for figure in found["reference_figures"])


def test_a_narrow_terminal_cuts_no_word_of_a_table(store: Path) -> None:
    tables, _, _ = said(store, columns=80).partition("What others report")
    assert "…" not in tables
    lines = [line for line in tables.splitlines() if "interval" not in line]  # sentences are wrapped by the terminal
    assert max(map(len, lines)) <= 80
    assert "inference" in tables


def test_a_model_that_was_never_measured_is_built_without_weights_and_predicted(store: Path) -> None:
    found = as_json(store, "--model", "resnet-tiny", "--dataset", "digits", "--tactic", "compile", "--batch-size", "32")
    done = drive(make_task(model=preset("resnet"), batch_size=32)).done
    told = {
        "parameters": done.parameters,
        "MACs": done.macs_per_sample,
        "activations": done.activations_per_sample,
        "bytes moved": done.bytes_moved_per_sample,
    }
    assert {name: found["descriptors"][name] for name in told} == pytest.approx(told)  # what its cell would tell
    assert found["family"] == done.model_family == "resnet"
    true_j = JOULES_PER_MAC * (done.macs_per_sample or 0) ** EXPONENT
    prediction, tactic = found["prediction"], found["tactic"]
    assert prediction["energy_j"] == pytest.approx(true_j, rel=0.05)
    assert prediction["low_j"] < prediction["energy_j"] < prediction["high_j"]
    assert prediction["measured_j"] is None
    assert prediction["outside"]
    assert tactic["energy_j"] == pytest.approx(0.8 * prediction["energy_j"], rel=0.01)
    assert tactic["low_j"] < 0.8 * prediction["low_j"] * 1.001
    assert found["coverage"]["models"] == 11
    text = said(store, "--model", "resnet-tiny", "--tactic", "compile")
    for part in (
        "per 1,000 images",
        "Wh",
        "fitted to 11 models of 11 other families",
        "extrapolated: parameters",
        "compile, predicted",
    ):
        assert part in text, part
    assert "measured already" not in text


def test_every_preset_is_a_model_by_its_name() -> None:
    for architecture, kind in task_class(DEFAULT).presets:
        (model,) = one_model(f"{architecture}-{kind}", dataset=None, tactics="baseline").experiments[0].models
        assert (model.architecture, model.preset) == (architecture, kind)


def test_a_measured_model_is_shown_beside_its_prediction(store: Path) -> None:
    found = as_json(store, "--model", "m3")
    assert found["prediction"]["measured_j"] == pytest.approx(true_energy_j(made_models(11)[3]), rel=0.02)
    assert found["prediction"]["families"] == 10
    assert "it was measured already" in said(store, "--model", "m3")


def test_what_a_tactic_did_to_its_own_family_predicts_nothing(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out", noise=0.0, windows=1)
    for number, columns in enumerate(made_models(6)):
        family = columns.pop("model_family")
        ratio, touched = 0.2 if number == 1 else 0.8, {"touched_macs_share": 0.001 if number in (1, 2) else 1.0}
        tactics = {"compile": ratio, "null-check": 1.0}
        sweep.visit(family=family, energy_j=true_energy_j(columns), tactics=tactics, **columns, **touched)
    found = as_json(sweep.finish(), "--model", "m1", "--tactic", "compile")["tactic"]
    assert (found["ratio"], found["families"]) == (pytest.approx(0.8), 5)
    assert "hardly applied to 1 of 5 models" in said(tmp_path / "out", "--model", "m1", "--tactic", "compile")
    sentence("predict", tmp_path / "out", "--model", "m1", "--tactic", "fold", parts=("was not measured", "there are compile."))


def test_a_model_without_descriptors_is_left_out_and_takes_them_from_no_other(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out", noise=0.0, windows=1)
    for number, columns in enumerate(made_models(7)):
        unknown = {"macs_per_sample": None, "activations_per_sample": None} if number == 3 else {}
        family, energy_j = columns.pop("model_family"), true_energy_j(columns)
        sweep.visit(family=family, energy_j=energy_j, tactics={}, **columns | unknown)
    (inference,) = as_json(sweep.finish())["descriptors"]
    assert inference["left_out"] == ["m3"]
    assert {one["name"]: one["models"] for one in inference["estimators"]}["power law of MACs"] == 6
    assert "Left out, for they lack descriptors that most models have: m3." in said(tmp_path / "out")


def test_too_few_families_for_an_interval_give_none_and_say_why(tmp_path: Path) -> None:
    few = {"touched_parameters_share": 0.002, "touched_macs_share": 0.001}
    out = write_store(tmp_path / "out", models=6, tactics={"compile": 0.8}, rounds=1, also=few)
    found = as_json(out, "--model", "m1", "--tactic", "compile")
    assert (found["prediction"]["low_j"], found["coverage"], found["tactic"]["low"]) == (None, None, None)
    assert found["tactic"]["ratio"] == pytest.approx(0.8, rel=0.01)
    text = said(out, "--model", "m1", "--tactic", "compile")
    assert "no interval: a 90 % interval needs 9 model families besides its own, there are 5" in text
    assert "compile: no interval: one round of each model" in text
    assert "; hardly applied to 5 of 5 models" in text
    assert found["tactic"]["hardly"] == 5  # its own family is left out
    assert "estimated from CPU time" not in text


def test_what_a_user_can_get_wrong_is_a_sentence(store: Path, tmp_path: Path) -> None:
    write_manifest(open_store(tmp_path / "empty"), sweep="quick", manifest=manifest("quick"))
    sentence("predict", tmp_path / "empty", parts=("no cell was measured there yet",))
    sentence("predict", tmp_path / "nothing", parts=("nothing",))
    sentence("predict", store, "--tactic", "compile", parts=("give --model too",))
    sentence("predict", store, "--model", "m1", "--tactic", "fold", parts=("'fold' was not measured", "there are compile"))
    sentence("predict", store, "--model", "m1", "--batch-size", "3", parts=("nothing was measured with 3", "there is 32"))
    sentence("predict", store, "--model", "m1", "--device", "cuda", parts=("--device", "there is cpu"))
    sentence("predict", store, "--model", "./nowhere", parts=("model ./nowhere", "there is no folder"))
    few = write_store(tmp_path / "few", models=3, tactics={})
    sentence("predict", few, "--model", "m1", parts=("2 model families besides that of m1", "4 are needed"))
    trained = Sweep(out=tmp_path / "trained")
    trained.train("m", family="f", epochs_j=[1.0, 1.0])
    sentence("predict", trained.finish(), "--model", "m", parts=("no baseline of inference has known energy",))


def test_the_table_needs_neither_torch_nor_ray(store: Path) -> None:
    code = (
        "import sys; sys.argv = ['greenray', 'predict', sys.argv[1]]; from greenray.cli.app import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "assert not {'torch', 'transformers', 'ray'} & set(sys.modules), 'heavy imports'"
    )
    subprocess.run([sys.executable, "-c", code, str(store)], check=True, timeout=60, capture_output=True)

"""Configs: what is right is loaded as frozen data, what is wrong ends in one sentence that names the place."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from greenray.config.load import build, load
from greenray.config.settings import Measure, resolve_path
from greenray.errors import ConfigError
from tests.support import ROOT

QUICKSTART = ROOT / "configs" / "quickstart.yaml"


def write(folder: Path, change: Any = None) -> Path:
    data = yaml.safe_load(QUICKSTART.read_text())
    if change is not None:
        change(data)
    path = folder / "c.yaml"
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    return path


def message(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load(path)
    text = str(caught.value)
    assert "\n" not in text
    assert text.endswith(".")
    return text


def test_the_quickstart_is_valid_and_frozen() -> None:
    config = load(QUICKSTART)
    assert [e.name for e in config.experiments] == ["train", "serve", "serve-cpu"]
    assert config.experiments[1].rounds == config.experiments[2].rounds >= 4
    with pytest.raises(ValidationError):
        config.seed = 1  # type: ignore[misc]


def test_defaults_are_those_of_the_contract() -> None:
    assert Measure().model_dump() == {
        "window_s": 5,
        "min_windows": 1,
        "max_windows": 4,
        "min_counter_updates": 50,
        "target_ci": 0.02,
        "idle_s": 5,
        "warmup_max_s": 60,
        "sampling_hz": 50,
        "threads": "auto",
        "quiet_wait_s": 20,
        "in_flight": 1,
    }


@pytest.mark.parametrize(
    ("threads", "cores", "workers", "expected"),
    [
        ("auto", 2, 1, 1),
        ("auto", 1, 1, 1),  # there is no core to spare, and none is no number of threads
        ("auto", 16, 1, 15),
        ("auto", 16, 4, 3),
        ("auto", 4, 8, 1),
        (2, 2, 1, 2),
        (3, 16, 4, 3),
    ],
)
def test_a_core_is_left_to_the_recorder_unless_threads_are_named(threads: Any, cores: int, workers: int, expected: int) -> None:
    assert Measure(threads=threads).threads_of(usable_cores=cores, workers_sharing=workers) == expected


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda d: d.update(nme="x"), ["nme", "unknown key"]),
        (lambda d: d["experiments"][1].update(tactics=["prune"]), ["experiments[1].tactics[0]", "'prune'", "prune-global"]),
        (
            lambda d: d["experiments"][1].update(tactics=[{"prune-global": {"amount": 2}}]),
            ["experiments[1].tactics[0]", "prune-global", "amount"],
        ),
        (lambda d: d["experiments"][1].update(tactics=[["bf16", "default"]]), ["experiments[1].tactics[0]", "default", "beside"]),
        (lambda d: d["experiments"][1].update(tactics=[{"default": {"amount": 1}}]), ["experiments[1].tactics[0]", "'default'"]),
        (lambda d: d["experiments"][1].update(tactics=[{"prune-global": {"amnt": 0.1}}]), ["amnt", "its parameters: amount"]),
        (lambda d: d["experiments"][0]["models"][0].update(architecture="vti"), ["experiments[0].models[0]", "vti", "convnext"]),
        (lambda d: d["experiments"][0]["models"][0].update(preset="huge"), ["huge", "tiny, small"]),
        (lambda d: d["experiments"][0].update(datasets=["digit"]), ["experiments[0].datasets[0]", "'digit'", "digits"]),
        (lambda d: d["experiments"][0].update(epochs=-1), ["experiments[0].epochs", "-1"]),
        (lambda d: d["experiments"][0].update(epochs=None), ["epochs"]),
        (lambda d: d["experiments"][0].update(batch_sizes=[]), ["experiments[0].batch_sizes"]),
        (lambda d: d["experiments"][0].update(learning_rates=[-0.1]), ["experiments[0].learning_rates[0]", "-0.1"]),
        (lambda d: d["experiments"][0].update(learning_rates=[float("nan")]), ["learning_rates"]),
        (lambda d: d["experiments"][1].update(devices=["gpu"]), ["experiments[1].devices[0]", "'gpu'", "cuda"]),
        (lambda d: d["experiments"][1].update(models=[{"from": "trian"}]), ["serve", "trian"]),
        (lambda d: d["experiments"][1].update(epochs=3), ["epochs", "training"]),
        (lambda d: d["experiments"][1].update(precision="bf16"), ["precision", "training"]),
        (lambda d: d["experiments"][0].update(precision="int8"), ["experiments[0].precision", "'int8'", "tf32"]),
        (lambda d: d["experiments"][0].update(gradient_accumulation=0), ["experiments[0].gradient_accumulation", "0"]),
        (lambda d: d["experiments"][0].update(augmentation=["crop", "crop"]), ["[0].augmentation: crop is there 2 times"]),
        (lambda d: d["measure"].update(in_flight=3), ["measure.in_flight", "3", "1 or 2"]),
        (lambda d: d["experiments"][1].update(name="train"), ["train"]),
        (lambda d: d["experiments"][1].update(tactics=[["bf16", "default"]]), ["default stands for several tactics"]),
        (lambda d: d["experiments"][1].update(tactics=[[{"batch-size": {"size": 2}}, "batch-size"]]), ["batch-size", "twice"]),
        (lambda d: d.update(name="Quick Start"), ["name", "'Quick Start'"]),
        (lambda d: d["measure"].update(window_s=0), ["measure.window_s", "0"]),
        (lambda d: d["measure"].update(sampling_hz=1e9), ["measure.sampling_hz"]),
        (lambda d: d["measure"].update(min_windows=9), ["min_windows (9)", "max_windows (4)"]),
        (lambda d: d["measure"].update(quiet_wait_s=-1), ["measure.quiet_wait_s", "-1"]),
        (lambda d: d["measure"].update(threads=0), ["measure.threads", "0"]),
        (lambda d: d["measure"].update(threads="all"), ["measure.threads", "'all'", "auto"]),
        (lambda d: d["limits"].update(max_attempts=0), ["limits.max_attempts", "0"]),
        (lambda d: d.update(host={"exclusive_hosts": "maybe"}), ["host.exclusive_hosts", "'maybe'"]),
        (lambda d: d.update(host={"wall_meter": {}}), ["host.wall_meter", "exactly one of url, command or csv"]),
        (lambda d: d.update(host={"wall_meter": {"url": "http://a/", "csv": "b"}}), ["exactly one of url, command or csv"]),
        (lambda d: d.update(host={"wall_meter": {"url": "http://a/", "unit": "kW"}}), ["host.wall_meter.unit", "'kW'", "kWh"]),
        (lambda d: d.update(host={"wall_meter": {"url": "http://a/", "every": 1}}), ["host.wall_meter.every", "unknown key"]),
        (lambda d: d.update(host={"wall_meter": {"url": "http://a/", "period_s": 0}}), ["host.wall_meter.period_s", "0"]),
        (lambda d: d.update(host={"wall_meter": {"url": "http://a/", "clock_offset_s": "x"}}), ["clock_offset_s", "'x'"]),
        (lambda d: d.update(host={"wall_meter": {"csv": "log.csv"}}), ["host.wall_meter", "csv needs value"]),
        (lambda d: d.update(host={"wall_meter": {"command": []}}), ["host.wall_meter.command"]),
        (lambda d: d.update(seed="x"), ["seed", "'x'"]),
        (lambda d: d.update(folder="/x"), ["folder", "unknown key"]),
        (lambda d: d.pop("experiments"), ["experiments", "is required"]),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, change: Any, expected: list[str]) -> None:
    text = message(write(tmp_path, change))
    for part in [str(tmp_path / "c.yaml"), *expected]:
        assert part in text


def test_the_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(
        "name: a\nexperiments:\n  - name: e\n    phase: inference\n    models: [org/m]\n    datasets: [digits]\n    rounds: 0\n"
    )
    assert message(path).startswith(f"{path}:7: experiments[0].rounds: 0 is not right")


@pytest.mark.parametrize(("text", "part"), [("a: [", "not valid YAML"), ("- 1", "mapping"), ("", "mapping"), ("\x00", "YAML")])
def test_what_is_no_config_is_said(tmp_path: Path, text: str, part: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    assert part in message(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: 2026-13-45\n", ":1: not valid YAML: '2026-13-45' is no timestamp (month must be in 1..12)"),
        ("name: a\nseed: " + 5000 * "9", ":2: not valid YAML: '99999999"),
        ("a: !!bool maybe", ":1: not valid YAML: 'maybe' is no bool"),
        ("name: a\nseed: 1\nname: b\n", ":3: not valid YAML: the key 'name' is given twice, first in line 1"),
        ("name: a\nexperiments:\n  - {rounds: 1, 'rounds': 2}\n", ":3: not valid YAML: the key 'rounds' is given twice"),
        ("a: &a {x: 1}\nb: {<<: *a, x: 2, x: 3}", ":2: not valid YAML: the key 'x' is given twice"),
    ],
)
def test_a_value_that_is_none_and_a_key_given_twice_are_said_with_their_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    found = message(path)
    assert found.startswith(f"{path}{said}")
    assert len(found) < 300


def test_keys_that_are_merged_in_may_be_overridden(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(
        "name: a\nexperiments:\n"
        "  - &one {name: e, phase: inference, models: [o/m], datasets: [digits], rounds: 2}\n"
        "  - &two {name: f, rounds: 3, <<: *one}\n"
        "  - {name: g, <<: [*two, *one], batch_sizes: [1]}\n"
    )
    assert [(e.name, e.rounds, e.batch_sizes) for e in load(path).experiments] == [
        ("e", 2, (32,)),
        ("f", 3, (32,)),
        ("g", 3, (1,)),
    ]


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ("{a: ", "}")])
@pytest.mark.parametrize("place", ["name: ", "name: x\nexperiments: "])
def test_a_config_a_thousand_levels_deep_is_one_sentence(tmp_path: Path, place: str, opening: str, closing: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(place + 1000 * opening + 1000 * closing)
    assert "nested too deep" in message(path)


def test_missing_and_unreadable_files_are_said(tmp_path: Path) -> None:
    assert "no such file" in message(tmp_path / "none.yaml")
    assert "cannot be read" in message(tmp_path)
    binary = tmp_path / "b.yaml"
    binary.write_bytes(b"\xff\xfe\xfa")
    assert "UTF-8" in message(binary)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://u:hush@plug/",
        "http://u:hush@/x",
        "http://u:hush@plug:port/",
        "u:hush@plug",
        "http://u:hush@plug/a b",
        "http://u:1/hush@plug/",
    ],
)
def test_an_address_of_a_meter_that_is_wrong_is_not_quoted(tmp_path: Path, url: str) -> None:
    text = message(write(tmp_path, lambda d: d.update(host={"wall_meter": {"url": url}})))
    assert "url is no address of the form http://host/path" in text
    assert "hush" not in text


def test_a_wall_meter_changes_no_cell_and_shows_no_credentials(tmp_path: Path) -> None:
    from greenray.config.matrix import expand

    def meter(**source: Any) -> Any:
        return load(write(tmp_path, lambda d: d.update(host={"wall_meter": {**source, "value": "watts"}})))

    plain = load(QUICKSTART)
    config = meter(url="http://u:hush@plug.lan:8080/{host}/x?key=hush")
    ids = [[cell.cell_id for block in expand(c, auto_device="cpu") for cell in block.cells] for c in (plain, config)]
    assert ids[0] == ids[1]
    assert config.model_dump(mode="json")["host"]["wall_meter"]["url"] == "http://***@plug.lan:8080/{host}/x?***"
    assert "hush" not in repr(config)
    command = meter(command=["curl", "-s", "https://u:hu/sh@plug/?a=hush&b"]).model_dump(mode="json")["host"]["wall_meter"]
    assert command["command"] == ["curl", "-s", "https://***@plug/?***"]
    assert meter(command="curl 'http://plug/?a=hush' | jq .w").model_dump(mode="json")["host"]["wall_meter"]["command"] == (
        "curl 'http://plug/?***' | jq .w"
    )
    assert meter(csv="logs/{host}.csv").host.wall_meter.starting_at(str(tmp_path)).csv == f"{tmp_path}/logs/{{host}}.csv"


def test_relative_paths_start_at_the_configs_folder(tmp_path: Path) -> None:
    from greenray.config.matrix import expand

    path = tmp_path / "c.yaml"
    path.write_text("name: a\nexperiments: [{name: e, phase: inference, models: [./m], datasets: [./d], devices: [cpu]}]\n")
    cell = expand(load(path), auto_device="cpu")[0].cells[0]
    assert (cell.model.id, cell.model.path) == ("./m", str(tmp_path / "m"))
    assert (cell.dataset.id, cell.dataset.path) == ("./d", str(tmp_path / "d"))


@pytest.mark.parametrize("name", ["~nosuchuser/x", "./a\0b"])
def test_a_path_that_nothing_can_have_is_said(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"{name!r} cannot be a path (")):
        resolve_path(name, folder=str(tmp_path))


def test_a_chain_drops_the_baseline_and_fills_in_defaults() -> None:
    experiment = {
        "name": "e",
        "phase": "inference",
        "models": ["o/m"],
        "datasets": ["digits"],
        "tactics": [["baseline", "prune-local"]],
    }
    chain = build({"name": "a", "experiments": [experiment]}).experiments[0].tactics[0]
    assert [step.name for step in chain] == ["prune-local"]
    assert set(chain[0].params) == {"amount", "permanent"}

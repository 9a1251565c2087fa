"""The README keeps its word: commands exist, links lead somewhere, and its examples work as they are printed."""

import importlib
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from greenray.errors import NotApplied
from greenray.power import sensors
from greenray.power.instrument import Instrument
from greenray.tactics import registry
from tests.support import ROOT

README = (ROOT / "README.md").read_text()


def section(title: str) -> tuple[str, str, str]:
    """An "Add a ..." section: the module that it tells to write, its code, and the registry's line."""
    text = README.split(f"## {title}\n")[1].split("\n## ")[0]
    file = re.search(r"One file, `([^`]+)`", text)
    assert file
    code, line = re.findall(r"```python\n(.*?)```", text, flags=re.S)
    return file[1].removesuffix(".py").replace("/", "."), code, line


def entry(line: str) -> dict[str, str]:
    found = eval(f"{{{line}}}")
    assert len(found) == 1
    return dict(found)


@pytest.fixture
def written() -> Iterator[dict[str, ModuleType]]:
    """Modules made of the README's code under the names that it gives them."""
    made: dict[str, ModuleType] = {}
    for title in ("Add a tactic", "Add a task", "Add a sensor"):
        name, code, _ = section(title)
        module = ModuleType(name)
        exec(compile(code, name, "exec"), module.__dict__)
        sys.modules[name] = made[title] = module
    yield made
    for module in made.values():
        del sys.modules[module.__name__]


def test_the_tactic_takes_one_file_and_one_line(written: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from greenray.config.load import build
    from greenray.tactics.base import Context

    new = entry(section("Add a tactic")[2])
    for name, target in new.items():
        monkeypatch.setitem(registry.TACTICS, name, target)
    experiment = {"name": "e", "phase": "inference", "models": ["o/m"], "datasets": ["digits"], "tactics": ["fuse-conv-bn"]}
    (chain,) = build({"name": "x", "experiments": [experiment]}).experiments[0].tactics
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU())
    example = torch.rand(2, 1, 8, 8)
    model(example)  # moves the statistics
    expected = model.eval()(example)
    tactic = registry.build(chain[0].name, chain[0].params)
    tactic.check(Context(device="cpu"))
    optimised = tactic.apply(model, Context(device="cpu", example={"pixel_values": example}))
    assert torch.allclose(optimised(example), expected, atol=1e-6)
    assert tactic.evidence(optimised) == {"layers_fused": 1}
    with pytest.raises(NotApplied):
        registry.build("fuse-conv-bn").apply(torch.nn.Linear(2, 2), Context(device="cpu", example={}))


def test_the_task_takes_one_file_and_one_line(
    written: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from greenray.config.load import build
    from greenray.config.matrix import expand
    from greenray.tasks.registry import TASKS
    from tests.support.driving import drive, make_task

    ((name, where),) = entry(section("Add a task")[2]).items()
    monkeypatch.setitem(TASKS, name, where)
    lines = {"id": "standard-library", "samples": 800}
    training = {"name": "t", "phase": "training", "epochs": 2, "learning_rates": [0.01], "task": name, "datasets": [lines]}
    training["models"] = [{"architecture": "bert", "preset": "tiny"}]
    serving = {"name": "s", "phase": "inference", "task": name, "models": [{"from": "t"}], "datasets": [lines]}
    trained, served = (b.cells[0] for b in expand(build({"name": "x", "experiments": [training, serving]}), auto_device="cpu"))
    shared = {"task": name, "dataset": trained.dataset}
    done = drive(
        make_task(phase="training", model=trained.model, hyperparameters=trained.hyperparameters, save_to=tmp_path, **shared)
    ).done
    assert done.accuracy_low is not None
    assert done.accuracy_low > 1 / 3  # by chance, of three packages
    measured = drive(make_task(model=served.model, checkpoint=tmp_path, tactic=("dynamic-quantization",), **shared)).done
    assert measured.evidence["dynamic-quantization"]["modules_converted"] == 8
    assert measured.macs_per_sample is not None


def test_the_sensor_takes_one_file_and_one_line(
    written: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from greenray.config.settings import CpuModel

    (tmp_path / "hwmon0").mkdir()
    (tmp_path / "hwmon0" / "power1_average").write_text("250000000\n")
    monkeypatch.setattr(written["Add a sensor"], "ROOT", tmp_path)
    monkeypatch.setattr(sensors, "SENSORS", {**sensors.SENSORS, **entry(section("Add a sensor")[2])})
    instrument = Instrument(accelerator=None, hz=100, cpu_model=CpuModel())
    recording = instrument.record()
    for _ in range(5):
        begin_s = time.monotonic()
        reading = recording.read(start_s=begin_s, end_s=begin_s + 0.3, device="cpu", gpu_idle_w=None)
        if reading.wall.energy_j is not None:  # else the recorder was held up, on a busy machine
            break
    trace = recording.stop().rows()
    instrument.close()
    assert reading.wall.energy_j == pytest.approx(250 * 0.3, rel=0.02)
    assert "wall:hwmon0" in set(trace["sensor"])


@pytest.mark.parametrize("page", ["README.md", "greenray/README.md", "configs/README.md", "docker/README.md", "k8s/README.md"])
def test_links_lead_somewhere(page: str) -> None:
    found = [target for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / page).read_text()) if "://" not in target]
    assert [target for target in found if not (ROOT / page).parent.joinpath(target).exists()] == []
    assert len(found) > 1 or page != "greenray/README.md"


def test_every_command_is_in_the_readme_and_every_one_there_exists() -> None:
    from greenray.cli.app import app

    commands = {command.callback.__name__ for command in app.registered_commands if command.callback}
    assert commands == set(re.findall(r"`greenray ([a-z]+)", README))


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) < 210


def test_importing_the_command_line_imports_neither_torch_nor_ray() -> None:
    import subprocess

    heavy = "{'torch', 'ray', 'transformers', 'polars'}"
    code = f"import sys, greenray.cli.app; print(sorted({{m.split('.')[0] for m in sys.modules}} & {heavy}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
    assert importlib.util.find_spec("torch") is not None
